//! A runner whose volume is really full: a small tmpfs of the host, which only root can mount. Others skip this, and say so.
#![expect(clippy::disallowed_methods, reason = "mounts a file system of the host")]
#![expect(clippy::print_stderr, reason = "says if it cannot be run")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use vm_api::Power;

use crate::runner::{Runner, Workspace};

/// Unmounts a volume at the end of a test, however it ends.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn mount(folder: &Path, size: &str) -> Option<Mounted> {
    let status = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &format!("size={size}"), "lodge-test"])
        .arg(folder)
        .status();
    if status.is_ok_and(|status| status.success()) {
        return Some(Mounted(folder.to_owned()));
    }
    eprintln!("skipped: mounting a small volume needs root");
    None
}

fn content(number: usize) -> Vec<u8> {
    format!("{number:08}").repeat(16 << 10).into_bytes()
}

/// Writes files until there is no space; every one that was answered is counted.
async fn fill(workspace: &Workspace<'_>, from: usize) -> usize {
    for number in from.. {
        let answer = workspace.put(&format!("/home/agent/f{number}"), content(number)).await;
        if !answer.status.is_success() {
            let problem = answer.problem();
            assert_eq!((problem.code.as_str(), problem.status), ("storage-full", 507), "{problem:?}");
            assert_eq!(problem.limit, None, "{problem:?}");
            return number;
        }
    }
    unreachable!("the volume has an end")
}

async fn check_all(workspace: &Workspace<'_>, count: usize) {
    for number in 0..count {
        let answer = workspace.get(&format!("/home/agent/f{number}")).await;
        assert!(answer.status.is_success(), "file {number} of {count}: {answer:?}");
        assert!(answer.body == content(number), "file {number} of {count}");
    }
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_full_volume_is_told_by_its_code_loses_nothing_and_recovers() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    std::fs::create_dir(&data).unwrap();
    let Some(_mounted) = mount(&data, "16m") else { return };
    std::fs::write(data.join("ballast"), vec![1; 4 << 20]).unwrap();
    let runner = Runner::start_in(dir, &["--spares", "0"]).await;
    let workspace = runner.workspace("a").await;
    let written = fill(&workspace, 0).await;
    assert!(written > 10, "{written} files");
    check_all(&workspace, written).await;
    // A guest is told as by any other disk.
    let guest = workspace.sh("echo new > new && sync").await;
    assert_ne!(guest.exit_code, Some(0), "{guest:?}");
    assert!(guest.stderr.contains("No space left") || guest.stderr.contains("no space left"), "{guest:?}");
    // What runs, runs on; and it sleeps and wakes, or says why it cannot.
    assert_eq!(workspace.sh("echo still here").await.stdout, "still here\n");
    std::fs::remove_file(data.join("ballast")).unwrap();
    // What waited is written within a second or so; then it goes on.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !workspace.put("/home/agent/again", "x").await.status.is_success() {
        assert!(Instant::now() < deadline, "it does not recover");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let more = fill(&workspace, written).await;
    assert!(more > written, "{written} files, then {more}");
    let answer = runner.send(Method::POST, &format!("{}/sleep", workspace.routes.base()), "").await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    workspace.wait_for(Power::Asleep).await;
    check_all(&workspace, more).await;
    let fsck = runner.send(Method::POST, &format!("{}/files:fsck", workspace.routes.base()), "").await;
    let report: vm_api::FsckResponse = fsck.json();
    assert_eq!(report.problems, [] as [String; 0]);
}
