//! Programs that try a way out, or a way to take everything for themselves: `tests/programs/hostile`. Each ends as it
//! should, a neighbour answers all the while, and the VM runs the next program.

use std::collections::BTreeSet;

use bytes::Bytes;
use vm_abi::Signal;
use vm_kernel::{Command, ExitStatus, Limits, ProcessHandle, Stdio};
use vm_wasm::EngineOptions;

use crate::machine::{Machine, Programs, programs_folder, user_command};

/// How each program ends; a program that checks itself exits with the number of the step that failed.
const ENDS: &[(&str, ExitStatus)] = &[
    ("hostile/bad_names", ExitStatus::Exited(0)),
    ("hostile/buffer_lists", ExitStatus::Exited(0)),
    ("hostile/closed_pipe", ExitStatus::Signaled(Signal::SIGPIPE)),
    ("hostile/deep_handlers", ExitStatus::Signaled(Signal::SIGSEGV)),
    ("hostile/deep_recursion", ExitStatus::Signaled(Signal::SIGSEGV)),
    ("hostile/endless_loop", ExitStatus::Signaled(Signal::SIGKILL)),
    ("hostile/escape_paths", ExitStatus::Exited(0)),
    ("hostile/far_offsets", ExitStatus::Exited(0)),
    ("hostile/fd_exhaustion", ExitStatus::Exited(0)),
    ("hostile/huge_random", ExitStatus::Exited(0)),
    ("hostile/long_arguments", ExitStatus::Exited(0)),
    // Six times 16 MiB fit into the VM's 100.
    ("hostile/many_memories", ExitStatus::Exited(6)),
    ("hostile/memory_bomb", ExitStatus::Exited(6)),
    ("hostile/overlapping_results", ExitStatus::Exited(0)),
    ("hostile/pipe_flood", ExitStatus::Exited(0)),
    ("hostile/poll_bomb", ExitStatus::Exited(0)),
    ("hostile/renumbered", ExitStatus::Exited(0)),
    ("hostile/signal_others", ExitStatus::Exited(0)),
    ("hostile/spawn_garbage", ExitStatus::Exited(0)),
    ("hostile/table_bomb", ExitStatus::Exited(0)),
    ("hostile/trap_in_handler", ExitStatus::Signaled(Signal::SIGABRT)),
    ("hostile/wrapping_pointers", ExitStatus::Exited(0)),
];

/// A process of root that answers every byte.
struct Neighbour(ProcessHandle);

impl Neighbour {
    fn start(machine: &Machine) -> Self {
        let command = Command::new("neighbour").stdin(Stdio::Piped).stdout(Stdio::Piped);
        Self(machine.kernel.spawn(command).unwrap())
    }

    async fn answers(&mut self, byte: &'static [u8]) {
        self.0.stdin.as_mut().unwrap().write(Bytes::from_static(byte)).await.unwrap();
        assert_eq!(self.0.stdout.as_mut().unwrap().read().await.as_deref(), Some(byte));
    }

    async fn ends(mut self) {
        drop(self.0.stdin.take());
        assert_eq!(self.0.wait().await, ExitStatus::Exited(0));
    }
}

async fn run(name: &'static str, expected: ExitStatus) {
    // Few pages and few processes, so that the limits are near.
    let limits = Limits { max_memory_bytes: 100 << 20, max_processes: 32, ..Limits::default() };
    let machine = Programs::new()
        .with(name)
        .with("hostile/neighbour")
        .with("hello")
        .boot(&EngineOptions::default(), limits);
    let mut neighbour = Neighbour::start(&machine);
    neighbour.answers(b"a").await;
    let pid_in_letters = "x".repeat(usize::try_from(neighbour.0.pid().raw()).unwrap());
    let command = name.rsplit('/').next().unwrap();
    let process = machine.kernel.spawn(user_command(command).arg(pid_in_letters)).unwrap();
    neighbour.answers(b"b").await;
    if expected == ExitStatus::Signaled(Signal::SIGKILL) {
        machine.kernel.kill(process.pid(), Signal::SIGKILL).unwrap();
    }
    assert_eq!(process.wait().await, expected, "{name}");
    neighbour.answers(b"c").await;
    let _nobody_left = machine.kernel.kill_session(process.session(), Signal::SIGKILL);
    let finished = loop {
        // Those that a fork bomb left behind take a moment to die.
        match machine.kernel.spawn(user_command("hello")) {
            Ok(process) => break process.wait().await,
            Err(errno) => assert_eq!(errno, vm_abi::Errno::EAGAIN),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(finished, ExitStatus::Exited(7), "after {name}");
    neighbour.ends().await;
}

#[test]
fn no_hostile_program_is_without_a_test() {
    let files: BTreeSet<_> = std::fs::read_dir(programs_folder().join("hostile"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .filter(|name| name != "neighbour")
        .collect();
    assert_eq!(files, ENDS.iter().map(|(name, _)| name["hostile/".len()..].to_owned()).collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_programs_end_and_their_neighbours_go_on() {
    let mut failures = Vec::new();
    for (name, expected) in ENDS {
        if let Err(panic) = tokio::spawn(run(name, *expected)).await {
            let panic = panic.into_panic();
            failures.push(format!("{name}: {}", panic.downcast_ref::<String>().map_or("?", String::as_str)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
