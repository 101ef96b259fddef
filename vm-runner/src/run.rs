//! `vm-runner run`: one command in a throw-away VM, with this process's streams connected.

use std::io::{self, Read as _, Write};
use std::process::ExitCode;

use bytes::Bytes;
use tokio::sync::mpsc;
use vm_abi::Errno;
use vm_api::{EnvVar, Problem, SoftwareRef, StorageType, WorkspaceConfig};
use vm_kernel::{Command, ExitStatus, HostReader, HostWriter, Stdio};

use crate::config::{Isolation, RunConfig};
use crate::task;
use crate::validate::{check_env, validate};
use crate::vm::boot::Grants;
use crate::vm::lockdown;
use crate::vm::machine_room::{self, MachineRoom};

/// Bytes read from standard input at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Why the command was not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Lockdown(#[from] lockdown::Error),
    #[error(transparent)]
    MachineRoom(#[from] machine_room::Error),
    #[error("{0}")]
    Refused(#[from] Problem),
    #[error("standard input: {0}")]
    Input(#[source] io::Error),
    #[error("standard error: {0}")]
    Output(#[source] io::Error),
}

/// Gives up what one VM for one command does not need: the guests are trusted as little as a runner's, but the user is.
pub(crate) fn lock_down(config: &RunConfig) -> Result<(), Error> {
    let grants = lockdown::Grants { software: &config.software, slot: None, volumes: &[] };
    let landlock = lockdown::confine(grants, Isolation::BestEffort)?;
    tracing::debug!(%landlock, "locked down");
    Ok(())
}

/// Runs the command and answers its exit code, 128 and the signal's number if one ended it.
pub(crate) async fn run(config: RunConfig) -> Result<ExitCode, Error> {
    let RunConfig { software, packages, env, cwd, user, argv } = config;
    let room = MachineRoom::open(&software, Grants::default())?;
    let mut workspace = WorkspaceConfig::new("local", "lodge");
    workspace.storage.kind = StorageType::Ephemeral;
    workspace.software = packages.into_iter().map(|name| SoftwareRef { name, version: None }).collect();
    validate(&workspace, room.catalog())?;
    check_env(&env, "--env")?;
    let vm = room.boot("run", &workspace)?;
    let user = vm.user(user.as_deref())?;
    let name = argv.first().cloned().unwrap_or_default();
    let mut command = Command::new(name.clone().into_bytes())
        .args(argv.into_iter().skip(1).map(String::into_bytes))
        .cwd(cwd.unwrap_or(user.home).into_bytes())
        .credentials(user.credentials)
        .stdin(Stdio::Piped)
        .stdout(Stdio::Piped)
        .stderr(Stdio::Piped);
    let given = env.into_iter().map(|EnvVar { name, value }| (name, value));
    for (name, value) in vm.settings().env.iter().cloned().chain(given) {
        command = command.env(name, value);
    }
    let mut process = match vm.kernel().spawn(command) {
        Ok(process) => process,
        Err(errno) => return refuse(&name, errno),
    };
    let _input = match process.stdin.take() {
        Some(writer) => Some(forward_input(writer)?),
        None => None,
    };
    let output = forward_output(process.stdout.take(), io::stdout());
    let errors = forward_output(process.stderr.take(), io::stderr());
    let ((), (), status) = tokio::join!(output, errors, process.wait());
    Ok(match status {
        ExitStatus::Exited(code) => ExitCode::from(code),
        ExitStatus::Signaled(signal) => ExitCode::from(128_u8.saturating_add(signal.raw())),
    })
}

/// Says why there is no such program, with the exit code of a shell.
fn refuse(name: &str, errno: Errno) -> Result<ExitCode, Error> {
    writeln!(io::stderr(), "vm-runner: {name}: {}", errno.message()).map_err(Error::Output)?;
    Ok(ExitCode::from(if errno == Errno::ENOENT { 127 } else { 126 }))
}

/// Reads standard input on a thread of its own, because such a read cannot be taken back. The thread ends with the
/// process.
fn forward_input(mut writer: HostWriter) -> Result<task::Task<()>, Error> {
    let (sender, mut chunks) = mpsc::channel::<Bytes>(4);
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || {
            let mut buffer = vec![0; CHUNK_BYTES];
            let mut input = io::stdin().lock();
            while let Ok(count @ 1..) = input.read(&mut buffer) {
                if sender.blocking_send(Bytes::copy_from_slice(&buffer[..count])).is_err() {
                    return;
                }
            }
        })
        .map_err(Error::Input)?;
    Ok(task::spawn(async move {
        while let Some(chunk) = chunks.recv().await {
            if writer.write(chunk).await.is_err() {
                return;
            }
        }
    }))
}

async fn forward_output(reader: Option<HostReader>, mut output: impl Write) {
    let Some(mut reader) = reader else { return };
    while let Some(chunk) = reader.read().await {
        // Whoever reads slowly holds up this command, and nothing else.
        let written = tokio::task::block_in_place(|| output.write_all(&chunk).and_then(|()| output.flush()));
        if written.is_err() {
            // Nobody reads any more: the command sees a broken pipe.
            return;
        }
    }
}
