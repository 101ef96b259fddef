//! Commands as a user types them, with their output and exit code.

use anyhow::{Context, Result, ensure};
use std::{
    ffi::OsStr,
    io::Write,
    process::{Command, Output, Stdio},
};

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
    /// The exit code; -1 for an end by a signal.
    pub code: i32,
}

impl Finished {
    /// The command's standard output, if it succeeded.
    ///
    /// # Errors
    /// If the exit code is not 0; the error carries both outputs.
    pub fn success(self) -> Result<String> {
        ensure!(self.code == 0, "exit code {}\nstdout: {}\nstderr: {}", self.code, self.stdout, self.stderr);
        Ok(self.stdout)
    }
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            code: output.status.code().unwrap_or(-1),
        }
    }
}

/// Runs the command to its end.
///
/// # Errors
/// If it can't be started.
pub fn run(command: &mut Command) -> Result<Finished> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    Ok(output.into())
}

/// Runs the command with `input` on its standard input.
///
/// # Errors
/// If it can't be started or doesn't take its input.
pub fn run_with_input(command: &mut Command, input: &[u8]) -> Result<Finished> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {command:?}"))?;
    child.stdin.take().context("the child has a standard input")?.write_all(input)?;
    Ok(child.wait_with_output()?.into())
}

/// A command with its arguments.
pub fn command<S: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}
