//! The test: asks the escaped guest to try everything, and looks at what came of it.
#![expect(clippy::disallowed_methods, reason = "tests look at files and processes of the host")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use vm_api::{Health, Power, SleepReason};

use crate::attempt::{self, Attempt, Expected, Scene};
use crate::prisoner::{GOT_THROUGH, ORDER, OUTCOME};
use crate::runner::{Runner, eventually, is_alive, software};

/// How long an attempt may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run())
}

async fn run() -> ExitCode {
    // What a careless program leaves open for those that it starts.
    let left_open = fs::File::open("/etc/passwd").unwrap();
    rustix::io::fcntl_setfd(&left_open, rustix::io::FdFlags::empty()).unwrap();
    let program = std::env::current_exe().unwrap();
    let runner = Runner::start_program(&program, &["--spares", "0", "--isolation", "best-effort"]).await;
    let trial = Trial::begin(&runner).await;
    let has_landlock = trial.has_landlock().await;
    let (mut tried, mut failed) = (0, Vec::new());
    for attempt in attempt::all() {
        if attempt.expected == Expected::RefusedByLandlock && !has_landlock {
            println!("skip  {:<62} this kernel has no landlock", attempt.name);
            continue;
        }
        let (outcome, verdict) = trial.judge(&attempt).await;
        println!("{}  {:<62} {outcome}", if verdict { "ok  " } else { "FAIL" }, attempt.name);
        tried += 1;
        if !verdict {
            failed.push(attempt.name);
        }
    }
    trial.end().await;
    println!("\n{tried} attempts of an escaped guest, {} with a wrong outcome", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What came of an attempt.
enum Outcome {
    /// What the prisoner says.
    Told(String),
    /// How the process ended, and why its workspace sleeps.
    Died(String, Option<SleepReason>),
    Silent,
}

struct Trial<'a> {
    runner: &'a Runner,
    neighbour_pid: u32,
    secret: PathBuf,
}

const PRISONER: &str = "prisoner";
const NEIGHBOUR: &str = "neighbour";
const SECRET: &str = "a neighbour's secret";

impl<'a> Trial<'a> {
    async fn begin(runner: &'a Runner) -> Self {
        let neighbour = runner.workspace(NEIGHBOUR).await;
        assert_eq!(neighbour.sh("echo here > /tmp/file; echo ready").await.stdout, "ready\n");
        let slots = slots(runner);
        assert_eq!(slots.len(), 1, "{slots:?}");
        let secret = slots.into_iter().next().unwrap().join("secret");
        fs::write(&secret, SECRET).unwrap();
        runner.workspace(PRISONER).await;
        Self { runner, neighbour_pid: runner.vm_pids()[0], secret }
    }

    async fn has_landlock(&self) -> bool {
        let health: Health = self.runner.get(vm_api::route::HEALTHZ).await.json();
        let isolation = health.isolation.unwrap();
        println!("{isolation}");
        isolation.ends_with("is enforced")
    }

    async fn judge(&self, attempt: &Attempt) -> (String, bool) {
        let (slot, pid) = self.boot().await;
        let outcome = self.ask(attempt, &slot, pid).await;
        let (text, verdict) = match (attempt.expected, outcome) {
            (Expected::Refused | Expected::RefusedByLandlock, Outcome::Told(told)) => {
                let is_refused = told != GOT_THROUGH;
                (told, is_refused)
            }
            (Expected::Killed, Outcome::Died(how, _)) => {
                let is_by_filter = how.contains("SIGSYS");
                (how, is_by_filter)
            }
            (Expected::EndedForMemory, Outcome::Died(how, reason)) => {
                let is_told =
                    how.contains("spec.limits.memory is 512 MiB") && reason == Some(SleepReason::MemoryLimit);
                (how, is_told)
            }
            (Expected::Granted, Outcome::Told(told)) => {
                let is_granted = told == GOT_THROUGH;
                (told, is_granted)
            }
            (Expected::Harmless, Outcome::Told(text) | Outcome::Died(text, _)) => (text, true),
            (_, Outcome::Told(text) | Outcome::Died(text, _)) => (text, false),
            (_, Outcome::Silent) => ("no answer".to_owned(), false),
        };
        match self.damage().await {
            None => (text, verdict),
            Some(damage) => (format!("{text}; {damage}"), false),
        }
    }

    /// The slot and the process of the prisoner, booted if need be.
    async fn boot(&self) -> (PathBuf, u32) {
        let workspace = self.runner.workspace(PRISONER).await;
        let started = Instant::now();
        // An attempt on its own connections spoils the next requests at most.
        while workspace.try_exec(&vm_api::ExecRequest::command("true")).await.status != 200 {
            assert!(
                started.elapsed() < PATIENCE,
                "the prisoner does not boot: {:?}",
                workspace.state().await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let pids = self.runner.vm_pids();
        let pid = *pids.iter().find(|pid| **pid != self.neighbour_pid).unwrap();
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let arguments: Vec<&[u8]> = arguments.split(|byte| *byte == 0).collect();
        let slot = arguments.windows(2).find(|pair| pair[0] == b"--slot").unwrap()[1];
        (PathBuf::from(String::from_utf8_lossy(slot).into_owned()), pid)
    }

    async fn ask(&self, attempt: &Attempt, slot: &Path, pid: u32) -> Outcome {
        let scene = Scene {
            supervisor: self.runner.pid() as usize,
            neighbour: self.neighbour_pid as usize,
            data: self.runner.data(),
            software: fs::canonicalize(software()).unwrap(),
            slot: slot.to_owned(),
            secret: self.secret.clone(),
        };
        let _ = fs::remove_file(slot.join(OUTCOME));
        fs::write(slot.join(ORDER), scene.to_text(attempt.name)).unwrap();
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if let Ok(told) = fs::read_to_string(slot.join(OUTCOME)) {
                return Outcome::Told(told);
            }
            if !is_alive(pid) {
                let state = self.runner.workspace(PRISONER).await.wait_for(Power::Asleep).await;
                return Outcome::Died(state.message.unwrap_or_default(), state.sleep);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Outcome::Silent
    }

    /// What an attempt has done to others.
    async fn damage(&self) -> Option<String> {
        if !is_alive(self.runner.pid()) {
            return Some("the supervisor is dead".to_owned());
        }
        if !self.runner.vm_pids().contains(&self.neighbour_pid) {
            return Some("the neighbour's process is dead".to_owned());
        }
        let file = self.runner.workspace(NEIGHBOUR).await.sh("cat /tmp/file").await.stdout;
        if file != "here\n" {
            return Some(format!("the neighbour's file holds {file:?}"));
        }
        let secret = fs::read_to_string(&self.secret);
        (secret.as_deref().ok() != Some(SECRET)).then(|| format!("the neighbour's secret is {secret:?}"))
    }

    /// The work of both goes on.
    async fn end(self) {
        let prisoner = self.runner.workspace(PRISONER).await;
        self.boot().await;
        assert_eq!(prisoner.sh("seq 3 | sort -r | tr '\\n' ' '").await.stdout, "3 2 1 ");
        let supervisor = self.runner.pid();
        eventually("the supervisor has no other children than its vm processes", || {
            self.runner.vm_pids().len() == 2 && is_alive(supervisor)
        })
        .await;
    }
}

/// The slots of a supervisor's vm processes.
fn slots(runner: &Runner) -> HashSet<PathBuf> {
    fs::read_dir(runner.data().join(".slots")).unwrap().map(|entry| entry.unwrap().path()).collect()
}
