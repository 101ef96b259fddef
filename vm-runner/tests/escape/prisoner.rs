//! The vm process: the real one, with an escaped guest in it.
//!
//! The escaped guest takes orders from a file in its slot, which is the one place that it and the test both reach.
#![expect(clippy::disallowed_methods, reason = "an escaped guest does not ask")]

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser as _;
use vm_runner::{Args, Config};

use crate::attempt::{self, Scene};

/// What is to be tried: see [`Scene::to_text`].
pub(crate) const ORDER: &str = "order";
/// What came of it.
pub(crate) const OUTCOME: &str = "outcome";
/// Said of an attempt that got through.
pub(crate) const GOT_THROUGH: &str = "got through";

pub(crate) fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let slot = args.iter().position(|arg| arg == "--slot").and_then(|at| args.get(at + 1));
    let slot = PathBuf::from(slot.unwrap());
    let config = Config::try_from(Args::parse()).unwrap();
    vm_runner::init_telemetry(&config).unwrap();
    let process = vm_runner::lock_down(config).unwrap();
    let found = Found::now();
    std::thread::spawn(move || obey(&slot, &found));
    // As the real main does.
    vm_runner::run(process).unwrap()
}

/// What the process had before it opened anything itself.
pub(crate) struct Found {
    pub(crate) descriptors: Vec<i32>,
    pub(crate) variables: usize,
}

impl Found {
    fn now() -> Self {
        let is_open =
            |fd: &i32| attempt::call(libc::SYS_fcntl, &[*fd as usize, libc::F_GETFD as usize]).is_ok();
        Self { descriptors: (3..4096).filter(is_open).collect(), variables: std::env::vars_os().count() }
    }
}

fn obey(slot: &Path, found: &Found) {
    loop {
        if let Ok(order) = std::fs::read_to_string(slot.join(ORDER))
            && let Some((name, scene)) = Scene::from_text(&order)
        {
            std::fs::remove_file(slot.join(ORDER)).unwrap();
            let outcome = match try_one(&name, &scene, found) {
                Ok(()) => GOT_THROUGH.to_owned(),
                Err(error) => error.to_string(),
            };
            std::fs::write(slot.join("outcome.new"), outcome).unwrap();
            std::fs::rename(slot.join("outcome.new"), slot.join(OUTCOME)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn try_one(name: &str, scene: &Scene, found: &Found) -> io::Result<()> {
    match name {
        "use a descriptor that was left open" if found.descriptors.is_empty() => {
            Err(io::Error::other("none is"))
        }
        "use a descriptor that was left open" => Ok(()),
        "read an inherited environment" if found.variables == 0 => Err(io::Error::other("it is empty")),
        "read an inherited environment" => Ok(()),
        _ => {
            let attempt = attempt::all().into_iter().find(|attempt| attempt.name == name);
            (attempt.unwrap().run)(scene)
        }
    }
}
