//! The kubectl plugin of Lodge: `kubectl lodge exec`, `status` and `version`.
//!
//! It asks the gateway with the credentials of the kubeconfig (`cluster`, `plugin`), at the gateway's address or through
//! a port-forward to its pods (`gateway`). Each command has its own file (`exec`, `status`); `error` has what can go
//! wrong and the exit codes.
//!
//! Neighbours: the gateway, whose API it speaks with the types of `vm-api`; the Kubernetes API, for the gateway's ConfigMap
//! and pods. It must never print or keep a token, and never talks to a runner.

mod args;
mod cluster;
mod error;
mod exec;
mod gateway;
mod plugin;
mod status;

use std::ffi::OsString;
use std::io::{Read, Write};

use clap::Parser as _;

use crate::args::{Args, Command};
use crate::error::Error;

/// Where a command reads and writes.
pub struct Terminal<'a> {
    /// Standard input.
    pub stdin: &'a mut (dyn Read + Send),
    /// Standard output.
    pub stdout: &'a mut (dyn Write + Send),
    /// Standard error.
    pub stderr: &'a mut (dyn Write + Send),
}

/// Runs a command line, program name first, and gives the exit code.
pub async fn run<I>(arguments: I, terminal: &mut Terminal<'_>) -> u8
where
    I: IntoIterator<Item = OsString>,
{
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(refusal) => return explain(&refusal, terminal),
    };
    let Args { command, cluster } = args;
    let outcome = match command {
        Command::Exec(exec) => exec::run(exec, cluster, terminal).await,
        Command::Status(status) => status::run(status, cluster, terminal).await,
        Command::Version => version(terminal),
    };
    outcome.unwrap_or_else(|error| {
        // Who closed standard error has no use for the text.
        let _ = writeln!(terminal.stderr, "error: {error}");
        error.exit_code()
    })
}

/// Prints help or says what is wrong with a command line.
fn explain(refusal: &clap::Error, terminal: &mut Terminal<'_>) -> u8 {
    let text = refusal.render();
    if refusal.use_stderr() {
        let _ = write!(terminal.stderr, "{text}");
        error::OWN_FAILURE
    } else {
        let _ = write!(terminal.stdout, "{text}");
        0
    }
}

fn version(terminal: &mut Terminal<'_>) -> Result<u8, Error> {
    writeln!(terminal.stdout, "kubectl-lodge {}", env!("CARGO_PKG_VERSION")).map_err(Error::Output)?;
    Ok(0)
}
