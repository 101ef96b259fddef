//! The kubectl plugin of Lodge: everything that one does with a workspace, from a command line.
//!
//! It asks the gateway with the credentials of the kubeconfig (`cluster`, `plugin`), at the gateway's address or through
//! a port-forward to its pods (`gateway`, `remote`). Each command has its own file, with its arguments and its help; what several
//! share is beside them: terminals (`attach`, `tty`, `detach`), lists (`table`), paths in workspaces (`place`), signals. `error`
//! has what can go wrong and the exit codes.
//!
//! Neighbours: the gateway, whose API it speaks with the types of `vm-api`; the Kubernetes API, for the gateway's ConfigMap
//! and pods, Workspaces and CronJobs. It must never print or keep a token, never run a command twice, and never talks to a
//! runner.
//!
//! # Lock order
//! Both locks (the idle connection, the name of the gateway's pod) are leaves: nothing is locked or awaited under them.

mod args;
mod attach;
mod cat;
mod cluster;
mod complete;
mod completion;
mod cp;
mod cron;
mod detach;
mod edit;
mod error;
mod events;
mod exec;
mod gateway;
mod kill;
mod ls;
mod place;
mod plugin;
mod ps;
mod remote;
mod shell;
mod signals;
mod sleep;
mod status;
mod table;
mod task;
mod terminal;
mod top;
mod tty;
mod wake;
mod workspace;

use std::ffi::OsString;

use clap::Parser as _;

use crate::args::{Args, Command};
use crate::error::Error;
pub use crate::terminal::Terminal;

/// Runs a command line, program name first, and gives the exit code.
pub async fn run<I>(arguments: I, terminal: &mut Terminal) -> u8
where
    I: IntoIterator<Item = OsString>,
{
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let outcome = match complete::asked(&arguments) {
        Some(words) => complete::run(&words, terminal).await,
        None => match Args::try_parse_from(arguments) {
            Ok(args) => carry_out(args, terminal).await,
            Err(refusal) => explain(&refusal, terminal),
        },
    };
    outcome.unwrap_or_else(|error| {
        if error.is_news() {
            terminal.tell(&format!("error: {error}"));
        }
        error.exit_code()
    })
}

async fn carry_out(args: Args, terminal: &mut Terminal) -> Result<u8, Error> {
    let Args { command, cluster } = args;
    match command {
        Command::Exec(args) => exec::run(args, cluster, terminal).await,
        Command::Shell(args) => shell::run(args, cluster, terminal).await,
        Command::Cp(args) => cp::run(args, cluster, terminal).await,
        Command::Ls(args) => ls::run(args, cluster, terminal).await,
        Command::Cat(args) => cat::run(args, cluster, terminal).await,
        Command::Edit(args) => edit::run(args, cluster, terminal).await,
        Command::Ps(args) => ps::run(args, cluster, terminal).await,
        Command::Kill(args) => kill::run(args, cluster, terminal).await,
        Command::Top(args) => top::run(args, cluster, terminal).await,
        Command::Events(args) => events::run(args, cluster, terminal).await,
        Command::Wake(args) => wake::run(args, cluster, terminal).await,
        Command::Sleep(args) => sleep::run(args, cluster, terminal).await,
        Command::Status(args) => status::run(args, cluster, terminal).await,
        Command::Cron(args) => cron::run(args, cluster, terminal).await,
        Command::Completion(args) => completion::run(&args, terminal),
        Command::Version => version(terminal),
    }
}

/// Prints help or says what is wrong with a command line.
fn explain(refusal: &clap::Error, terminal: &mut Terminal) -> Result<u8, Error> {
    let text = refusal.render();
    if refusal.use_stderr() {
        // Who closed standard error has no use for the text.
        let _ = write!(terminal.stderr, "{text}");
        return Ok(error::OWN_FAILURE);
    }
    terminal.print(text.to_string().as_bytes())?;
    Ok(0)
}

fn version(terminal: &mut Terminal) -> Result<u8, Error> {
    terminal.print(concat!("kubectl-lodge ", env!("CARGO_PKG_VERSION"), "\n").as_bytes())?;
    Ok(0)
}
