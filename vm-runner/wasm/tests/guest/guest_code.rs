//! Programs that are not in the software folder: compiled when they are first run, or refused in words.

use std::path::Path;

use vm_abi::Signal;
use vm_kernel::{Command, ExitStatus, Limits};
use vm_wasm::{Compiler, EngineOptions, GuestCodeCache};

use crate::machine::{Finished, Machine, Programs, user_command};

const MODULE: &str = "/home/ada/program";
const MAX_BYTES: u64 = 64 << 20;

fn machine() -> Machine {
    Programs::new().with("hello").with("spin").boot(&EngineOptions::default(), Limits::default())
}

fn machine_with(folder: &Path) -> Machine {
    let cache = GuestCodeCache::new(folder.join("cwasm"), MAX_BYTES);
    Programs::new().with("hello").keep_guest_code(cache).boot(&EngineOptions::default(), Limits::default())
}

/// Prints `text` and exits with `code`.
fn printing(text: &str, code: u8) -> Vec<u8> {
    let len = text.len();
    wat::parse_str(format!(
        r#"(module
             (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
             (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
             (memory (export "memory") 1)
             (data (i32.const 0) "\10\00\00\00\{len:02x}\00\00\00")
             (data (i32.const 16) "{text}")
             (func (export "_start")
               (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
               (call $proc_exit (i32.const {code}))))"#
    ))
    .unwrap()
}

/// A module that takes the compiler a second or more.
fn slow_to_compile() -> Vec<u8> {
    let mut text = String::from("(module (memory (export \"memory\") 1) (func (export \"_start\"))");
    for function in 0..4000 {
        text.push_str("(func (param i32 i32) (result i32) (local i64)");
        for step in 0..40 {
            text.push_str(&format!(
                "(if (i32.lt_s (local.get 0) (i32.const {}))
                   (then (local.set 1 (i32.add (local.get 1) (i32.load offset={step} (local.get 0)))))
                   (else (local.set 2 (i64.mul (local.get 2) (i64.extend_i32_s (local.get 1))))))",
                function * 40 + step
            ));
        }
        text.push_str("(i32.add (local.get 1) (i32.wrap_i64 (local.get 2))))");
    }
    text.push(')');
    wat::parse_str(text).unwrap()
}

async fn run(wasm: &[u8]) -> Finished {
    let machine = machine();
    machine.install(MODULE, wasm);
    machine.run(user_command(MODULE)).await
}

async fn run_text(text: &str) -> Finished {
    run(&wat::parse_str(text).unwrap()).await
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder.join("cwasm")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[tokio::test]
async fn a_program_that_a_guest_brought_runs() {
    let machine = machine();
    machine.install(MODULE, &printing("brought", 5));
    for _ in 0..3 {
        let finished = machine.run(user_command(MODULE)).await;
        assert_eq!((finished.stdout.as_str(), finished.status), ("brought", ExitStatus::Exited(5)));
    }
    // The same file, another program.
    machine.install(MODULE, &printing("rebuilt", 6));
    let finished = machine.run(user_command(MODULE)).await;
    assert_eq!((finished.stdout.as_str(), finished.status), ("rebuilt", ExitStatus::Exited(6)));
}

#[tokio::test]
async fn processes_that_want_the_same_program_wait_for_one_compilation() {
    let folder = tempfile::tempdir().unwrap();
    let machine = machine_with(folder.path());
    machine.install(MODULE, &printing("once", 0));
    let run = || machine.run(user_command(MODULE));
    let (a, b, c) = tokio::join!(run(), run(), run());
    assert_eq!([a.stdout, b.stdout, c.stdout], ["once", "once", "once"]);
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn the_next_boot_takes_the_code_from_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let program = printing("compiled", 0);
    let boot = || {
        let machine = machine_with(folder.path());
        machine.install(MODULE, &program);
        machine
    };
    boot().run(user_command(MODULE)).await;
    let [file] = &files(folder.path())[..] else { panic!("one file") };

    // Other code under the name of the first module: it runs, so it was not compiled again.
    let code = Compiler::new().unwrap().compile(&printing("from the folder", 0)).unwrap();
    let name = file.file_name().unwrap().to_string_lossy().into_owned();
    let (head, _check) = name.rsplit_once('-').unwrap();
    let check = &vm_vfs::ContentId::of(&code).to_string()[..32];
    std::fs::remove_file(file).unwrap();
    let planted = folder.path().join("cwasm").join(format!("{head}-{check}.cwasm"));
    std::fs::write(&planted, &code).unwrap();
    assert_eq!(boot().run(user_command(MODULE)).await.stdout, "from the folder");

    // Cut off in the middle, as after a crash: it is compiled again.
    std::fs::write(&planted, &code[..code.len() / 2]).unwrap();
    assert_eq!(boot().run(user_command(MODULE)).await.stdout, "compiled");
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn others_run_while_a_program_is_compiled_and_the_one_that_waits_can_be_killed() {
    let folder = tempfile::tempdir().unwrap();
    let machine = machine_with(folder.path());
    machine.install(MODULE, &slow_to_compile());
    let waiting = machine.kernel.spawn(user_command(MODULE)).unwrap();
    assert_eq!(machine.run(user_command("hello")).await.status, ExitStatus::Exited(7));
    machine.kernel.kill(waiting.pid(), Signal::SIGKILL).unwrap();
    assert_eq!(waiting.wait().await, ExitStatus::Signaled(Signal::SIGKILL));
    assert_eq!(files(folder.path()).len(), 0, "the test's module is compiled too fast");
    // What was begun is finished, and nothing is compiled twice.
    assert_eq!(machine.run(user_command(MODULE)).await.status, ExitStatus::Exited(0));
}

#[tokio::test]
async fn what_cannot_run_says_why() {
    let cases = [
        ("(module (memory (export \"memory\") 1))", "exports no function _start"),
        ("(module (func (export \"_initialize\")))", "a library (a WASI reactor)"),
        ("(module (func (export \"_start\") (param i32)))", "_start is no function without parameters"),
        ("(module (memory (export \"_start\") 1))", "_start is no function without parameters"),
        (
            "(module (import \"env\" \"memory\" (memory 1)) (func (export \"_start\")))",
            "the memory env.memory",
        ),
        ("(module (import \"env\" \"base\" (global i32)) (func (export \"_start\")))", "the global env.base"),
        (
            "(module (import \"wasi_unstable\" \"fd_close\" (func (param i32) (result i32)))
               (func (export \"_start\")))",
            "built for WASI preview 0",
        ),
    ];
    for (text, reason) in cases {
        let finished = run_text(text).await;
        assert_eq!(finished.status, ExitStatus::Exited(126), "{text}");
        let expected = format!("{MODULE}: cannot execute: ");
        assert!(
            finished.stderr.starts_with(&expected) && finished.stderr.contains(reason),
            "{}",
            finished.stderr
        );
    }
}

#[tokio::test]
async fn bytes_that_only_begin_like_a_module_are_refused() {
    let whole = printing("whole", 0);
    for (bytes, reason) in [
        (&b"\0asm"[..], "no WebAssembly module of version 1"),
        (b"\0asm\x0d\0\x01\0", "is a WebAssembly component"),
        (b"\0asm\x01\0\0\0\xff\xff\xff\xff\xff\xff\xff", "no valid WebAssembly module"),
        (&whole[..whole.len() - 3], "no valid WebAssembly module"),
        (&[&whole[..], b"\x0a\x01\x00"].concat(), "no valid WebAssembly module"),
    ] {
        let finished = run(bytes).await;
        assert_eq!(finished.status, ExitStatus::Exited(126));
        assert!(finished.stderr.contains(reason), "{}", finished.stderr);
    }
}

#[tokio::test]
async fn a_program_that_is_too_large_is_not_even_read() {
    let machine = machine();
    machine.install(MODULE, b"\0asm\x01\0\0\0");
    let namespace = machine.kernel.namespace();
    let (root, credentials) = (namespace.root(), vm_abi::Credentials::root());
    let caller = vm_vfs::Caller::default();
    let context =
        vm_vfs::WalkContext { namespace, root: &root, start: &root, credentials: &credentials, caller };
    context.resolve(MODULE.as_bytes()).unwrap().set_size((64 << 20) + 1).unwrap();
    let errno = machine.kernel.spawn(user_command(MODULE)).err().unwrap();
    assert_eq!(errno, vm_abi::Errno::EFBIG);
}

#[tokio::test]
async fn a_function_that_does_not_exist_ends_the_program_when_it_is_called() {
    let text = |call: &str| {
        format!(
            "(module (import \"env\" \"fancy\" (func $fancy (param f64) (result i32)))
               (memory (export \"memory\") 1) (func (export \"_start\") {call}))"
        )
    };
    assert_eq!(run_text(&text("")).await.status, ExitStatus::Exited(0));
    let finished = run_text(&text("(drop (call $fancy (f64.const 1)))")).await;
    assert_eq!(finished.status, ExitStatus::Signaled(Signal::SIGSYS));
    assert_eq!(finished.stderr, format!("{MODULE}: it called env.fancy, which does not exist here\n"));
}

#[tokio::test]
async fn unusual_modules_run() {
    for text in [
        // no memory
        "(module (func (export \"_start\")))",
        // a start function that calls the host
        "(module (import \"wasi_snapshot_preview1\" \"sched_yield\" (func $yield (result i32)))
           (func $first (drop (call $yield))) (start $first) (func (export \"_start\")))",
        // more memories and tables than a slot of the pool has
        "(module (memory (export \"memory\") 1) (memory 2) (memory 3) (func (export \"_start\")
           (i32.store 2 (i32.const 196604) (i32.const 1))))",
        "(module (table 10 funcref) (table 10 funcref) (func (export \"_start\")))",
        "(module (table 100000 funcref) (func (export \"_start\") (drop (table.get (i32.const 99999)))))",
        // other exports of the names that the host looks for
        "(module (func (export \"__wasi_signal_trampoline\") (param f32))
           (global (export \"memory\") i32 (i32.const 0))
           (func (export \"__agentos_set_initial_sigmask\")) (func (export \"_start\")))",
    ] {
        assert_eq!(run_text(text).await.status, ExitStatus::Exited(0), "{text}");
    }
}

#[tokio::test]
async fn a_start_function_that_traps_ends_its_process_only() {
    let machine = machine();
    let text = "(module (func $first unreachable) (start $first) (func (export \"_start\")))";
    machine.install(MODULE, &wat::parse_str(text).unwrap());
    assert_eq!(machine.run(user_command(MODULE)).await.status, ExitStatus::Signaled(Signal::SIGABRT));
    assert_eq!(machine.run(Command::new("hello")).await.status, ExitStatus::Exited(7));
}
