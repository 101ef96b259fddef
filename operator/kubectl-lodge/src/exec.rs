//! `kubectl lodge exec`: runs a command in a workspace and takes over its output, its exit code, and the signals that
//! come here.
//!
//! ```text
//!  no -i          POST exec, output as events                   the runner kills it 5 s after its last reader
//!  -i             POST processes, output as events, input in pieces to processes/PID/stdin
//!  -i, short      as without -i: input that is there at once goes along
//!  -t             POST shells, a WebSocket to its terminal
//! ```

pub(crate) mod input;
pub(crate) mod stream;
mod terminal;

use std::time::Duration;

use vm_api::process::MAX_OUTPUT_BUFFER_BYTES;
use vm_api::{
    Base64, ExecRequest, OutputMessage, ProcessExit, ProcessInfo, ProcessRequest, StdinMode, WireDuration,
};

use self::input::Begun;
use self::stream::OutputStream;
use crate::args::{ClusterArgs, Setting};
use crate::error::{self, Error};
use crate::gateway::Ask;
use crate::remote::Remote;
use crate::signals::{Signals, Wish};
use crate::terminal::{Input, Terminal, write};

/// Input up to this goes along with the request, if it is there at once.
const SHORT_INPUT_BYTES: usize = 1 << 20;
/// How long "at once" is.
const AT_ONCE: Duration = Duration::from_millis(100);
/// How long a signal may take to the other end.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// So many signals end the plugin, whatever the command does about them.
const MAX_WISHES: u32 = 3;

const EXAMPLES: &str = "\
Examples:
  # A program with its arguments, passed on as they are
  kubectl lodge exec ada -- ls -la /home/agent

  # A shell command line
  kubectl lodge exec ada -c 'make test 2>&1 | tail -20'

  # In another namespace, in a directory, with a variable and a time limit
  kubectl lodge exec ada -n team-a -w /work -e CI=1 --timeout 5m -- make

  # Standard input from here, standard output to here
  kubectl lodge exec ada -i -- tar xzf - < project.tgz
  kubectl lodge exec ada -- tar czf - project > project.tgz

  # In a terminal; ctrl-p ctrl-q leaves it running
  kubectl lodge exec ada -it -- sh

Signals: SIGINT (ctrl-c), SIGTERM, SIGHUP and SIGQUIT are sent on to the command and what it has
started; the third one ends this program at once, and the command with it.

Broken connections: output is taken up again where it broke, for up to 30 s. The command is never
run twice.

Exit codes:
  that of the command, or 128 and the number of the signal that ended it;
  124 if --timeout ended it, 127 if there is no such command, 126 if it cannot be run,
  125 if Lodge could not run it or not deliver all of its output";

/// Run a command in a workspace; it wakes up if it sleeps
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
#[command(override_usage = "kubectl lodge exec NAME [OPTIONS] -- COMMAND [ARG]...\n       \
                            kubectl lodge exec NAME [OPTIONS] -c SCRIPT")]
pub(crate) struct ExecArgs {
    /// Name of the workspace
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// Program and arguments, run without a shell
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "shell")]
    pub(crate) command: Vec<String>,
    /// Shell command line, run by /bin/sh -c
    #[arg(short = 'c', long, value_name = "SCRIPT", conflicts_with = "command")]
    pub(crate) shell: Option<String>,
    /// Give the command the standard input of this command
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// Run the command in a terminal, which has the size of this one
    #[arg(short = 't', long, conflicts_with = "timeout")]
    pub(crate) tty: bool,
    /// Keys that leave the command running in its terminal (with -t); none turns them off
    #[arg(long, value_name = "KEYS", default_value = crate::detach::DEFAULT, env = "LODGE_DETACH_KEYS")]
    pub(crate) detach_keys: crate::detach::DetachKeys,
    #[command(flatten)]
    pub(crate) setting: Setting,
    /// End the command after this, such as 30s or 5m; default and most is spec.limits.commandTimeout
    #[arg(long, value_name = "DURATION")]
    pub(crate) timeout: Option<WireDuration>,
}

/// Runs the command.
pub(crate) async fn run(
    args: ExecArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let remote = Remote::open(&args.name, &cluster_args).await?;
    if args.tty {
        return terminal::run(args, &remote, terminal).await;
    }
    let mut signals = Signals::listen()?;
    if !args.stdin {
        let ask = Ask::post(remote.route.exec()).json(&exec_request(args, None)).events();
        return begin(&remote, ask, &mut signals, terminal).await;
    }
    let patience = if terminal.tty.is_some() { Duration::ZERO } else { AT_ONCE };
    let mut input = terminal.input();
    let begun = Begun::read(&mut input, patience, SHORT_INPUT_BYTES).await?;
    if begun.is_all {
        let ask =
            Ask::post(remote.route.exec()).json(&exec_request(args, Some(begun.bytes.to_vec()))).events();
        return begin(&remote, ask, &mut signals, terminal).await;
    }
    let ask = Ask::post(remote.route.processes()).json(&process_request(args));
    let ProcessInfo { pid, .. } = remote.document(ask, terminal).await?;
    let outcome = Running {
        remote: &remote,
        output: OutputStream::of_process(&remote, pid),
        signals: &mut signals,
        terminal,
        wishes: 0,
    }
    .follow(Some((pid, begun, input)))
    .await;
    if outcome.is_err() {
        // Nobody follows it any more. It may have ended, or not be reachable.
        let _ = tokio::time::timeout(KILL_TIMEOUT, remote.kill(pid, "SIGKILL", true)).await;
    }
    outcome
}

async fn begin(
    remote: &Remote,
    ask: Ask,
    signals: &mut Signals,
    terminal: &mut Terminal,
) -> Result<u8, Error> {
    let reply = tokio::select! {
        reply = remote.ask(ask, terminal) => reply?,
        wish = signals.next() => return Err(Error::Interrupted(wish.number())),
    };
    let output = OutputStream::new(remote, reply);
    Running { remote, output, signals, terminal, wishes: 0 }.follow(None).await
}

fn exec_request(args: ExecArgs, input: Option<Vec<u8>>) -> ExecRequest {
    let ExecArgs { name: _, command, shell, stdin: _, tty: _, detach_keys: _, setting, timeout } = args;
    let Setting { env, workdir, run_as } = setting;
    ExecRequest {
        argv: shell.is_none().then_some(command),
        command: shell,
        env,
        cwd: workdir,
        user: run_as,
        stdin: None,
        stdin_base64: input.map(Base64),
        timeout,
        output_limit: None,
    }
}

fn process_request(args: ExecArgs) -> ProcessRequest {
    let ExecRequest { command, argv, env, cwd, user, timeout, .. } = exec_request(args, None);
    let output_buffer = Some(MAX_OUTPUT_BUFFER_BYTES);
    ProcessRequest { command, argv, env, cwd, user, stdin: StdinMode::Pipe, timeout, output_buffer }
}

/// A command that runs at the other end.
struct Running<'a> {
    remote: &'a Remote,
    output: OutputStream<'a>,
    signals: &'a mut Signals,
    terminal: &'a mut Terminal,
    wishes: u32,
}

impl Running<'_> {
    /// Follows it to its end.
    async fn follow(mut self, input: Option<(i32, Begun, Input)>) -> Result<u8, Error> {
        let remote = self.remote;
        let mut is_fed = input.is_none();
        let feeding = async {
            match input {
                Some((pid, begun, input)) => input::feed(remote, pid, begun, input).await,
                None => Ok(()),
            }
        };
        let mut feeding = std::pin::pin!(feeding);
        loop {
            tokio::select! {
                message = self.output.next() => {
                    if let Some(code) = self.take(message?).await? {
                        return Ok(code);
                    }
                }
                wish = self.signals.next() => self.forward(wish).await?,
                outcome = feeding.as_mut(), if !is_fed => {
                    outcome?;
                    is_fed = true;
                }
            }
        }
    }

    /// Takes a message; the last one has the exit code.
    async fn take(&mut self, message: OutputMessage) -> Result<Option<u8>, Error> {
        let written = match message {
            OutputMessage::Started { .. } => Ok(()),
            OutputMessage::Stdout(data) => write(&mut *self.terminal.stdout, data.as_bytes()),
            OutputMessage::Stderr(data) => match write(&mut *self.terminal.stderr, data.as_bytes()) {
                // As for a program here: what it says there is lost, and it goes on.
                Err(Error::Unread) => Ok(()),
                written => written,
            },
            OutputMessage::Lost { bytes } => Err(Error::OutputLost(bytes)),
            OutputMessage::Exited(exit) => return Ok(Some(self.end(&exit))),
        };
        if let (Err(Error::Unread), Some(pid)) = (&written, self.output.pid()) {
            // `… | head` has seen enough.
            let _ = tokio::time::timeout(KILL_TIMEOUT, self.remote.kill(pid, "SIGPIPE", true)).await;
        }
        written.map(|()| None)
    }

    fn end(&mut self, exit: &ProcessExit) -> u8 {
        if let Some(limit) = &exit.limit {
            self.terminal.tell(&format!("note: the command ran into {limit} of the workspace"));
        }
        if !exit.timed_out {
            return shell_code(exit);
        }
        let limits = "--timeout or by the workspace's own limit (spec.limits.commandTimeout)";
        self.terminal.tell(&format!("error: the command was ended by {limits}"));
        error::TIMED_OUT
    }

    /// Sends a signal on to the command and what it has started.
    async fn forward(&mut self, wish: Wish) -> Result<(), Error> {
        self.wishes += 1;
        let gone = Error::Interrupted(wish.number());
        let Some(pid) = self.output.pid() else { return Err(gone) };
        let signal = if self.wishes < MAX_WISHES { wish.name() } else { "SIGKILL" };
        let sent = tokio::time::timeout(KILL_TIMEOUT, self.remote.kill(pid, signal, true)).await;
        if self.wishes >= MAX_WISHES {
            return Err(gone);
        }
        match sent {
            Ok(Ok(())) => Ok(()),
            // It ends by itself.
            Ok(Err(error)) if error.is(vm_api::ProblemCode::ProcessEnded) => Ok(()),
            Ok(Err(error)) => {
                self.terminal.tell(&format!("{} cannot be sent on to the command: {error}", wish.name()));
                Err(gone)
            }
            Err(_) => Err(gone),
        }
    }
}

/// What a shell would report as `$?`.
pub(crate) fn shell_code(exit: &ProcessExit) -> u8 {
    let ProcessExit { exit_code, signal, .. } = exit.clone();
    vm_api::ExecResponse { exit_code, signal, ..vm_api::ExecResponse::default() }.shell_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_has_the_code_that_shells_know() {
        let killed = ProcessExit { signal: Some("SIGKILL".to_owned()), ..ProcessExit::default() };
        assert_eq!(shell_code(&killed), 137);
        assert_eq!(shell_code(&ProcessExit { exit_code: Some(3), ..ProcessExit::default() }), 3);
    }
}
