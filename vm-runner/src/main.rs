//! The vm-runner: supervisor and vm process.

use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::SUCCESS
}
