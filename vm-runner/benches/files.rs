//! How long work on files takes: `cargo bench -p vm-runner --bench files`.
//!
//! Through the runner's API (one kept connection over a Unix socket), in the guest on the persistent root and on a tmpfs
//! mount, and by the machine's own programs on the disk that holds the runner's data (`TMPDIR`). A guest's time runs from
//! before the request is written until the whole answer is read. Needs the guest software in `.local/software`.
//!
//! Small files against the disk's own file system: both write the same files, by turns, each time into a fresh folder; what
//! is old stays and caches are kept. Nobody syncs while writing; then everything is made durable (`syncfs`, and a write by the
//! API, which does the same). Before each turn the machine's disks are at rest. Of such pairs the medians are compared.
#![expect(clippy::disallowed_methods, reason = "starts the real program, and native ones beside it")]
#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    clippy::panic,
    reason = "a program for people, which may give up"
)]

#[path = "support/runner.rs"]
mod runner;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use vm_api::{ExecRequest, MountConfig, MountSource, SoftwareRef, TmpfsMount, WorkspaceConfig, route};

use crate::runner::{Runner, Spares, report};

const UID: &str = "files";
/// Files of the benchmarks that make many.
const FILES: usize = 5_000;
/// How often each of those runs.
const ROUNDS: usize = 5;
/// How often they are written by turns.
const PAIRS: usize = 11;
const LOOP: &str = "mkdir d && i=0 && while [ $i -lt 5000 ]; do echo content of $i > d/f$i; i=$((i+1)); done";

fn config() -> WorkspaceConfig {
    let mut config = WorkspaceConfig::new("bench", UID);
    config.software.push(SoftwareRef { name: "git".to_owned(), version: None });
    config.limits.memory_bytes = 2 << 30;
    // One process at a time: the numbers should not be those of the limit.
    config.limits.cpu_millis = 4000;
    config.mounts.push(MountConfig {
        path: "/scratch".to_owned(),
        read_only: false,
        source: MountSource::Tmpfs(TmpfsMount { size_bytes: 1 << 30 }),
    });
    config
}

async fn bench_api(runner: &mut Runner) {
    let body = vec![b'x'; 1024];
    let path =
        |number: usize| route::Workspace::at_runner(UID).file(&format!("/home/agent/api-{}", number % 100));
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    for number in 0..1_000 {
        let started = Instant::now();
        runner.send(Method::PUT, &path(number), body.clone()).await;
        writes.push(started.elapsed());
    }
    for number in 0..1_000 {
        let started = Instant::now();
        let read = runner.send(Method::GET, &path(number), Vec::new()).await;
        reads.push(started.elapsed());
        assert_eq!(read.len(), 1024);
    }
    report("API write of 1 KiB, durable when answered", writes);
    report("API read of 1 KiB", reads);
}

/// A script in a fresh folder below `home`, `ROUNDS` times; `before` prepares and is not measured.
async fn bench_guest(runner: &mut Runner, what: &str, home: &str, before: &str, script: &str) {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let prepare = format!("rm -rf {home}/w && mkdir {home}/w && cd {home}/w && {before}");
        runner.exec(UID, &ExecRequest::command(prepare)).await;
        let request = ExecRequest::command(format!("cd {home}/w && {script}"));
        let started = Instant::now();
        runner.exec(UID, &request).await;
        times.push(started.elapsed());
    }
    report(&format!("{what}, in {home}"), times);
}

fn bench_native(what: &str, folder: &Path, before: &str, script: &str) {
    let run = |script: &str| {
        let status = Command::new("sh").args(["-c", script]).current_dir(folder).status().expect("a shell");
        assert!(status.success(), "{script}");
    };
    let mut times: Vec<Duration> = Vec::new();
    for _ in 0..ROUNDS {
        run(&format!("rm -rf w && mkdir w && cd w && {before}"));
        let started = Instant::now();
        run(&format!("cd w && {script}"));
        times.push(started.elapsed());
    }
    report(&format!("{what}, native"), times);
}

/// What writing took, and writing and making it durable.
#[derive(Default)]
struct Written {
    written: Vec<Duration>,
    synced: Vec<Duration>,
}

impl Written {
    fn medians(&self) -> [Duration; 2] {
        [&self.written, &self.synced].map(|times| {
            let mut times = times.clone();
            times.sort_unstable();
            times[times.len() / 2]
        })
    }
}

async fn write_in_guest(runner: &mut Runner, folder: &str, script: &str, times: &mut Written) {
    rustix::fs::sync();
    let request = ExecRequest::command(format!("mkdir {folder} && cd {folder} && {script}"));
    let started = Instant::now();
    runner.exec(UID, &request).await;
    times.written.push(started.elapsed());
    let mark = route::Workspace::at_runner(UID).file("/home/agent/mark");
    runner.send(Method::PUT, &mark, b"durable, and with it everything before".to_vec()).await;
    times.synced.push(started.elapsed());
}

fn write_natively(folder: &Path, script: &str, times: &mut Written) {
    rustix::fs::sync();
    let started = Instant::now();
    std::fs::create_dir(folder).expect("a folder");
    let status = Command::new("sh").args(["-c", script]).current_dir(folder).status().expect("a shell");
    assert!(status.success(), "{script}");
    times.written.push(started.elapsed());
    rustix::fs::syncfs(std::fs::File::open(folder).expect("the folder")).expect("a sync");
    times.synced.push(started.elapsed());
}

/// Small files by turns: see the top.
async fn bench_against_disk(runner: &mut Runner, what: &str, folder: &Path, script: &str) {
    let (mut guest, mut native) = (Written::default(), Written::default());
    for pair in 0..PAIRS {
        let name = format!("{}-{pair}", what.replace(' ', "-"));
        let (inside, outside) = (format!("/home/agent/{name}"), folder.join(&name));
        if pair % 2 == 0 {
            write_in_guest(runner, &inside, script, &mut guest).await;
            write_natively(&outside, script, &mut native);
        } else {
            write_natively(&outside, script, &mut native);
            write_in_guest(runner, &inside, script, &mut guest).await;
        }
    }
    let ratios = guest.medians().into_iter().zip(native.medians());
    let ratios: Vec<f64> = ratios.map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64()).collect();
    report(&format!("{what}, in the guest"), guest.written);
    report(&format!("{what}, native"), native.written);
    report(&format!("{what} and durable, in the guest"), guest.synced);
    report(&format!("{what} and durable, native"), native.synced);
    println!(
        "{what}: {:.2} x native, and durable {:.2} x native (medians of {PAIRS} pairs)",
        ratios[0], ratios[1]
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut runner = Runner::start(Spares::One).await;
    runner.put(&config()).await;
    bench_api(&mut runner).await;
    let native = tempfile::tempdir().expect("a folder");
    let homes = ["/home/agent", "/scratch"];
    let loop_name = format!("shell loop writes {FILES} small files");
    let packed = format!("{LOOP} && tar cf ../all.tar d && rm -r d");
    let git = "git init -q r && cd r && git config user.email a@b && git config user.name a && ";
    let added = format!("{git} {LOOP} && git add .");
    let committed = format!("{added} && git commit -qm all");
    for home in homes {
        bench_guest(&mut runner, &loop_name, home, "true", LOOP).await;
        bench_guest(&mut runner, "tar extracts them", home, &packed, "tar xf ../all.tar").await;
        bench_guest(&mut runner, "ls -lR of them", home, LOOP, "ls -lR d > /dev/null").await;
        bench_guest(&mut runner, "git add of them", home, &format!("{git} {LOOP}"), "cd r && git add .")
            .await;
        bench_guest(&mut runner, "git status of them", home, &committed, "cd r && git status --short").await;
        bench_guest(&mut runner, "rm -r of them", home, LOOP, "rm -r d").await;
    }
    let folder = native.path();
    let packing = format!("{LOOP} && tar cf all.tar d && rm -r d");
    runner.exec(UID, &ExecRequest::command(packing.clone())).await;
    let status = Command::new("sh").args(["-c", &packing]).current_dir(folder).status().expect("a shell");
    assert!(status.success(), "{packing}");
    bench_against_disk(&mut runner, &loop_name, folder, LOOP).await;
    bench_against_disk(&mut runner, "tar extracts them", folder, "tar xf ../all.tar").await;
    bench_native("ls -lR of them", folder, LOOP, "ls -lR d > /dev/null");
    bench_native("git add of them", folder, &format!("{git} {LOOP}"), "cd r && git add .");
    bench_native("git status of them", folder, &committed, "cd r && git status --short");
    bench_native("rm -r of them", folder, LOOP, "rm -r d");
}
