//! Starting, watching and stopping vm processes.
//!
//! A vm process gets a cleared environment, no file descriptor but its control line (as standard input) and standard
//! error, and dies with the supervisor. All are started from one thread that lives as long as the supervisor, because
//! Linux ties "dies with its parent" to the parent's thread.
#![expect(clippy::disallowed_methods, reason = "host-facing: the only place that starts processes")]

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::client::VmClient;
use crate::control;

/// How vm processes are started.
#[derive(Clone, Debug)]
pub(crate) struct ChildOptions {
    /// The software folder, absolute.
    pub(crate) software: PathBuf,
    /// Flags for logging.
    pub(crate) log_arguments: Vec<String>,
}

/// A running vm process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct VmProcess {
    client: Arc<VmClient>,
    child: Child,
}

impl VmProcess {
    pub(crate) fn client(&self) -> &Arc<VmClient> {
        &self.client
    }

    /// Waits until the process has ended by itself. May be cancelled and called again.
    pub(crate) async fn wait(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => format!("waiting for the vm process failed: {error}"),
        }
    }

    /// Whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the process to end, and kills it when `grace` is over.
    pub(crate) async fn stop(mut self, grace: Duration) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let Some(pid) = pid else { return };
        // The child was not waited for yet, so the pid is still its own.
        if kill_process(pid, Signal::TERM).is_ok()
            && tokio::time::timeout(grace, self.child.wait()).await.is_ok()
        {
            return;
        }
        tracing::warn!(
            pid = pid.as_raw_nonzero().get(),
            ?grace,
            "vm process did not stop in time and is killed"
        );
        if let Err(error) = self.child.kill().await {
            tracing::error!(%error, "killing a vm process failed");
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("the vm process exited with code {code}"),
        (None, Some(signal)) => {
            let name = u8::try_from(signal).ok().and_then(|raw| vm_abi::Signal::from_raw(i32::from(raw)));
            match name {
                Some(name) => format!("the vm process was ended by {}", name.name()),
                None => format!("the vm process was ended by signal {signal}"),
            }
        }
        (None, None) => "the vm process ended".to_owned(),
    }
}

type Reply = oneshot::Sender<io::Result<VmProcess>>;

/// The thread that starts vm processes. Ends when the last clone of this is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    requests: mpsc::SyncSender<Reply>,
}

impl Spawner {
    /// Starts the thread. Must be called within the runtime that will wait for the processes.
    pub(crate) fn start(options: ChildOptions) -> io::Result<Self> {
        let (requests, inbox) = mpsc::sync_channel::<Reply>(64);
        let runtime = Handle::current();
        std::thread::Builder::new().name("vm-spawner".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            for reply in inbox {
                // Who asked may be gone; then the process is dropped, and killed.
                let _ = reply.send(start(&options));
            }
        })?;
        Ok(Self { requests })
    }

    /// Starts a vm process. It may still be warming up when this returns.
    pub(crate) async fn spawn(&self) -> io::Result<VmProcess> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts vm processes is gone");
        self.requests.try_send(reply).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => io::Error::other("too many vm processes are being started"),
            mpsc::TrySendError::Disconnected(_) => gone(),
        })?;
        answer.await.map_err(|_| gone())?
    }
}

fn start(options: &ChildOptions) -> io::Result<VmProcess> {
    let (ours, theirs) = control::line()?;
    let child = Command::new("/proc/self/exe")
        .arg0("vm-runner")
        .args(&options.log_arguments)
        .arg("vm")
        .arg("--software")
        .arg(&options.software)
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    Ok(VmProcess { client: Arc::new(VmClient::new(ours)), child })
}
