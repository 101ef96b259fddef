//! A guest that has escaped: what could it do?
//!
//! This program has three faces. Started by cargo, it is the test: it starts itself as a supervisor, which starts vm
//! processes as it always does, from its own executable and with its own arguments, so that they are this program too.
//! A vm process goes the way of the real one (`vm_runner::lock_down`, then `vm_runner::run`), and beside the VM runs a
//! thread that stands for the escaped guest (`prisoner`): native code with everything that the process has. It tries what
//! the test asks for (`attempt`) and tells what came of it.
#![expect(clippy::unwrap_used, clippy::panic, clippy::print_stdout, reason = "a test ends where it fails")]

mod attempt;
mod prisoner;
#[expect(dead_code, reason = "shared with tests/it, which needs more of it")]
#[path = "../it/runner.rs"]
mod runner;
mod trial;

use std::process::ExitCode;

use clap::Parser as _;
use vm_runner::{Args, Config};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| arguments.iter().any(|argument| argument == word);
    if has("vm") {
        return prisoner::main();
    }
    if has("serve") {
        return serve();
    }
    if has("--list") {
        return ExitCode::SUCCESS;
    }
    if !has("--ignored") && !has("--include-ignored") {
        println!("an escaped guest: ignored, needs the guest software: make test runs it");
        return ExitCode::SUCCESS;
    }
    trial::main()
}

fn serve() -> ExitCode {
    let config = Config::try_from(Args::parse()).unwrap();
    vm_runner::init_telemetry(&config).unwrap();
    vm_runner::run(vm_runner::lock_down(config).unwrap()).unwrap()
}
