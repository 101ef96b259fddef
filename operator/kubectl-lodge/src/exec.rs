//! `kubectl lodge exec`: runs a command in a workspace and takes over its output and its exit code.

use std::io::Read as _;
use std::time::{Duration, Instant};

use vm_api::exec::MAX_OUTPUT_LIMIT_BYTES;
use vm_api::{Base64, ExecRequest, ExecResponse, Problem, WireDuration, route};

use crate::Terminal;
use crate::args::{ClusterArgs, ExecArgs};
use crate::cluster::Cluster;
use crate::error::{self, Error};
use crate::gateway::{Answer, Gateway};

/// Largest standard input: what fits into the gateway's limit for an exec, in base64.
const INPUT_MIB: usize = 11;
const MIB: u64 = 1024 * 1024;
/// First pause before a request is sent again; doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Runs the command.
pub(crate) async fn run(
    args: ExecArgs,
    cluster_args: ClusterArgs,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Error> {
    let input = if args.stdin { Some(read_input(terminal)?) } else { None };
    let cluster = Cluster::load(&cluster_args).await?;
    let path = route::Workspace::at_gateway(&cluster.namespace, &args.name).exec();
    let gateway = Gateway::find(cluster, &cluster_args).await?;
    let (request, name, wait) = request(args, input);
    // Text, numbers and lists: cannot fail.
    let body = serde_json::to_vec(&request).unwrap_or_default();
    let answer = ask(&gateway, &path, body, &name, wait, terminal).await?;
    deliver(&answer, &request, terminal)
}

/// The request that the arguments mean.
fn request(args: ExecArgs, input: Option<Vec<u8>>) -> (ExecRequest, String, WireDuration) {
    let ExecArgs { name, command, shell, stdin: _, env, workdir, run_as, timeout, wait } = args;
    let request = ExecRequest {
        argv: shell.is_none().then_some(command),
        command: shell,
        env,
        cwd: workdir,
        user: run_as,
        stdin: None,
        stdin_base64: input.map(Base64),
        timeout,
        output_limit: Some(MAX_OUTPUT_LIMIT_BYTES),
    };
    (request, name, wait)
}

fn read_input(terminal: &mut Terminal<'_>) -> Result<Vec<u8>, Error> {
    let most = INPUT_MIB as u64 * MIB;
    let mut input = Vec::new();
    terminal.stdin.take(most + 1).read_to_end(&mut input).map_err(Error::Input)?;
    if input.len() as u64 > most { Err(Error::InputTooLong(INPUT_MIB)) } else { Ok(input) }
}

/// Asks until the workspace is there.
async fn ask(
    gateway: &Gateway,
    path: &str,
    body: Vec<u8>,
    name: &str,
    wait: WireDuration,
    terminal: &mut Terminal<'_>,
) -> Result<ExecResponse, Error> {
    let began = Instant::now();
    let mut has_told = false;
    let mut pause = FIRST_PAUSE;
    loop {
        let problem: Problem = match gateway.post(path, body.clone()).await? {
            Answer::Done(document) => {
                return serde_json::from_slice(&document).map_err(|error| {
                    Error::Api(format!("the gateway's answer cannot be understood: {error}"))
                });
            }
            Answer::NotYet(problem) => problem,
        };
        if began.elapsed() + pause > wait.0 {
            return Err(Error::Problem(Box::new(problem)));
        }
        if !std::mem::replace(&mut has_told, true) {
            // Who closed standard error has no use for the text.
            let _ =
                writeln!(terminal.stderr, "waiting up to {wait} for workspace {name}: {}", problem.detail);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Writes the output and gives the exit code.
fn deliver(answer: &ExecResponse, request: &ExecRequest, terminal: &mut Terminal<'_>) -> Result<u8, Error> {
    write(terminal.stdout, answer.stdout_bytes())?;
    write(terminal.stderr, answer.stderr_bytes())?;
    let most = MAX_OUTPUT_LIMIT_BYTES / MIB;
    if answer.stdout_truncated {
        return Err(Error::OutputTooLong(most, "standard output"));
    }
    if answer.stderr_truncated {
        return Err(Error::OutputTooLong(most, "standard error"));
    }
    if answer.timed_out {
        let limit = request.timeout.map_or_else(
            || "the workspace's time limit (spec.limits.commandTimeout)".to_owned(),
            |timeout| {
                format!("--timeout {timeout} or the workspace's own limit (spec.limits.commandTimeout)")
            },
        );
        let _ = writeln!(terminal.stderr, "error: the command was ended by {limit}");
        return Ok(error::TIMED_OUT);
    }
    Ok(answer.shell_code())
}

fn write(stream: &mut (dyn std::io::Write + Send), bytes: &[u8]) -> Result<(), Error> {
    match stream.write_all(bytes).and_then(|()| stream.flush()) {
        // `… | head` has seen enough; that is not a failure of anybody.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome.map_err(Error::Output),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Outcome {
        code: Result<u8, Error>,
        stdout: Vec<u8>,
        stderr: String,
    }

    fn outcome(answer: &ExecResponse) -> Outcome {
        let (mut stdin, mut stdout, mut stderr) = (std::io::empty(), Vec::new(), Vec::new());
        let mut terminal = Terminal { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr };
        let code = deliver(answer, &ExecRequest::default(), &mut terminal);
        Outcome { code, stdout, stderr: String::from_utf8(stderr).unwrap() }
    }

    #[test]
    fn output_and_exit_code_are_those_of_the_command() {
        let answer = ExecResponse {
            exit_code: Some(3),
            stdout: "\u{fffd}".to_owned(),
            stdout_base64: Some(Base64(vec![0xff, 0x00])),
            stderr: "oops\n".to_owned(),
            ..ExecResponse::default()
        };
        let Outcome { code, stdout, stderr } = outcome(&answer);
        assert_eq!((code.unwrap(), stdout, stderr.as_str()), (3, vec![0xff, 0x00], "oops\n"));
    }

    #[test]
    fn a_signal_and_a_time_limit_have_the_codes_that_shells_know() {
        let killed = ExecResponse { signal: Some("SIGKILL".to_owned()), ..ExecResponse::default() };
        assert_eq!(outcome(&killed).code.unwrap(), 137);
        let late = outcome(&ExecResponse { timed_out: true, ..killed });
        assert_eq!(late.code.unwrap(), 124);
        assert!(late.stderr.contains("spec.limits.commandTimeout"), "{}", late.stderr);
    }

    #[test]
    fn output_that_was_cut_is_never_taken_for_all_of_it() {
        let cut = ExecResponse { exit_code: Some(0), stdout_truncated: true, ..ExecResponse::default() };
        let error = outcome(&cut).code.unwrap_err();
        assert_eq!(error.exit_code(), 125);
        assert!(error.to_string().contains("64 MiB to standard output"), "{error}");
    }

    #[test]
    fn input_that_is_too_long_is_refused_with_a_way_out() {
        let (mut stdin, mut stdout, mut stderr) = (std::io::repeat(0), Vec::new(), Vec::new());
        let mut terminal = Terminal { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr };
        let error = read_input(&mut terminal).unwrap_err().to_string();
        assert!(error.contains("longer than 11 MiB"), "{error}");
    }
}
