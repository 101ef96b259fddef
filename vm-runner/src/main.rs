//! The vm-runner: supervisor and vm process. What it does is in the library; this is where the process begins and ends.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use vm_runner::{Args, Config};

fn main() -> ExitCode {
    match start() {
        Ok(code) => code,
        Err(error) => {
            // A closed standard error is no reason to do anything else.
            let _ = writeln!(std::io::stderr(), "vm-runner: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> anyhow::Result<ExitCode> {
    let config = Config::try_from(Args::parse())?;
    vm_runner::init_telemetry(&config)?;
    Ok(vm_runner::run(vm_runner::lock_down(config)?)?)
}
