//! Starting, watching and stopping vm processes.
//!
//! A vm process gets a cleared environment, no file descriptor but its control line (as standard input) and standard
//! error, a slot of the data folder, and dies with the supervisor. The files of a workspace move to its slot before the
//! boot and back after its end (`slot`). All are started from one thread that lives as long as the supervisor, because
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
use super::slot::{self, Slot, Slots};
use super::uid::Uid;
use crate::config::{Isolation, Volume};
use crate::control;
use crate::task;

/// What a vm process gets for the last answers and for making its files durable, once its guests have ended.
const FLUSH_GRACE: Duration = Duration::from_secs(10);

/// How vm processes are started.
#[derive(Clone, Debug)]
pub(crate) struct ChildOptions {
    /// The software folder, absolute.
    pub(crate) software: PathBuf,
    /// Whether they go on where the kernel cannot bound access to files.
    pub(crate) isolation: Isolation,
    /// What guests get to end when their VM stops.
    pub(crate) guest_grace: Duration,
    /// Flags for logging.
    pub(crate) log_arguments: Vec<String>,
}

/// A running vm process. Killed when dropped.
#[derive(Debug)]
pub(crate) struct VmProcess {
    client: Arc<VmClient>,
    child: Child,
    slot: Slot,
}

impl VmProcess {
    pub(crate) fn client(&self) -> &Arc<VmClient> {
        &self.client
    }

    /// Its number; absent once it was waited for.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
    }

    /// Gives it the files of a workspace. Takes one rename, for which a wake does not change threads twice; if the disk
    /// makes it wait, the other tasks of this thread go on elsewhere.
    pub(crate) fn claim(&mut self, uid: &Uid, epoch: u64) -> Result<(), slot::Error> {
        task::in_place(|| self.slot.claim(uid, epoch))
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

    /// Asks the process to end; gives its guests `grace`, kills it when it has not ended long after, and gives back its
    /// files.
    pub(crate) async fn stop(mut self, grace: Duration) {
        let grace = grace + FLUSH_GRACE;
        // The child was not waited for yet, so the pid is still its own.
        if let Some(pid) = self.pid() {
            let ended = kill_process(pid, Signal::TERM).is_ok()
                && tokio::time::timeout(grace, self.child.wait()).await.is_ok();
            if !ended {
                let pid = pid.as_raw_nonzero().get();
                tracing::warn!(pid, ?grace, "vm process did not stop in time and is killed");
                return self.kill().await;
            }
        }
        self.release().await;
    }

    /// Ends the process at once, and gives back its files.
    pub(crate) async fn kill(mut self) {
        if let Err(error) = self.child.kill().await {
            tracing::error!(%error, "killing a vm process failed");
        }
        self.release().await;
    }

    /// Gives back the files of a process that has ended.
    pub(crate) async fn release(self) {
        let Self { client: _, child: _, slot } = self;
        let released = tokio::task::spawn_blocking(move || slot.release()).await;
        if let Ok(Err(error)) = released {
            tracing::error!(%error, "the files of a workspace could not be moved back; the next boot tries again");
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("the vm process exited with code {code}"),
        (None, Some(signal)) => {
            let name = u8::try_from(signal).ok().and_then(|raw| vm_abi::Signal::from_raw(i32::from(raw)));
            match name {
                // What the system call filter does (`vm/lockdown`).
                Some(vm_abi::Signal::SIGSYS) => {
                    "the vm process was ended by SIGSYS: it made a system call that no vm process needs"
                        .to_owned()
                }
                Some(name) => format!("the vm process was ended by {}", name.name()),
                None => format!("the vm process was ended by signal {signal}"),
            }
        }
        (None, None) => "the vm process ended".to_owned(),
    }
}

/// A process that is asked for: its volumes, and where it goes.
type Demand = (Vec<Volume>, oneshot::Sender<io::Result<VmProcess>>);

/// The thread that starts vm processes. Ends when the last clone of this is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Spawner {
    demands: mpsc::SyncSender<Demand>,
}

impl Spawner {
    /// Starts the thread. Must be called within the runtime that will wait for the processes.
    pub(crate) fn start(options: ChildOptions, slots: Slots) -> io::Result<Self> {
        let (demands, inbox) = mpsc::sync_channel::<Demand>(64);
        let runtime = Handle::current();
        std::thread::Builder::new().name("vm-spawner".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            for (volumes, reply) in inbox {
                // Who asked may be gone; then the process is dropped, and killed.
                let _ = reply.send(start(&options, &slots, &volumes));
            }
        })?;
        Ok(Self { demands })
    }

    /// Starts a vm process that can reach these volumes. It may still be warming up when this returns.
    pub(crate) async fn spawn(&self, volumes: Vec<Volume>) -> io::Result<VmProcess> {
        let (reply, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts vm processes is gone");
        self.demands.try_send((volumes, reply)).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => io::Error::other("too many vm processes are being started"),
            mpsc::TrySendError::Disconnected(_) => gone(),
        })?;
        answer.await.map_err(|_| gone())?
    }
}

fn start(options: &ChildOptions, slots: &Slots, volumes: &[Volume]) -> io::Result<VmProcess> {
    let slot = slots.make().map_err(|error| match error {
        slot::Error::Io { source, .. } => source,
        other => io::Error::other(other),
    })?;
    let (ours, theirs) = control::line()?;
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("vm-runner")
        .args(&options.log_arguments)
        .arg("vm")
        .arg("--software")
        .arg(&options.software)
        .arg("--guest-grace")
        .arg(options.guest_grace.as_millis().to_string())
        .arg("--slot")
        .arg(slot.path())
        .arg("--isolation")
        .arg(options.isolation.name());
    for volume in volumes {
        command.arg("--volume").arg(volume.to_string());
    }
    let child = command
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()?;
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok(VmProcess { client: Arc::new(VmClient::new(ours, pid)), child, slot })
}
