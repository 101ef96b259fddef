//! The conformance suite on a host folder. What a host folder does differently is listed, with the reason.
#![expect(clippy::disallowed_methods, reason = "the test looks at the host's clock through a file")]

use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use rustix::fs::Mode as HostMode;

use super::super::host::Opener;
use super::super::{HostFs, HostFsOptions, HostOwner};
use super::options;
use crate::conformance::{Fixture, Report, run_paced};
use crate::file_system::FileSystem;

/// What differs: the scenario, why that is right, and the commands.
const DIFFERENCES: &[(&str, &str, &[&str])] = &[
    (
        "create: special files",
        "devices cannot be made, so there are none to rename or open",
        &[
            "mknod /char char 666",
            "stat /char mode rdev",
            "mknod /block block 660",
            "stat /block mode rdev",
            "open /char r",
            "rename /char /char2",
            "stat /char2 rdev",
            "open /char2 r",
        ],
    ),
    (
        "create: unnamed files live without a name and may get one",
        "there are no unnamed files",
        &[
            "hold h /d rw,tmpfile",
            "stat @h type nlink",
            "pwrite @h 0 text",
            "read @h",
            "flink @h /d/f",
            "stat /d/f nlink size",
            "read /d/f",
            "same @h /d/f",
            "hold g /d/f rw,tmpfile",
        ],
    ),
    (
        "content: truncating",
        "the host limits the size of a file",
        &["truncate /f 9223372036854775807", "stat /f size"],
    ),
    ("attribute: mode", "set-id bits of files are not stored", &["stat /f mode"]),
    (
        "attribute: extended attributes",
        "only user attributes pass, and the host limits their size",
        &["setxattr /f user.big a*65536", "setxattr /f security.x y", "getxattr /f security.x"],
    ),
    (
        "attribute: links have no user attributes",
        "only user attributes pass",
        &["setxattr /l trusted.a b", "getxattr /l trusted.a"],
    ),
    (
        "permission: a set-group-id bit needs the group",
        "set-id bits of files are not stored",
        &["stat /d/f mode"],
    ),
    (
        "permission: a set-group-id directory passes its group on",
        "set-id bits of files are not stored",
        &["stat /d/h mode"],
    ),
    (
        "permission: extended attributes follow the file's permissions",
        "only user attributes pass",
        &["setxattr /d/f trusted.t secret", "listxattr /d/f", "getxattr /d/f trusted.t"],
    ),
];

fn conform(opener: &Opener) -> Report {
    // Modes of fifos and sockets are made under the umask; no other test of this crate looks at them.
    rustix::process::umask(HostMode::empty());
    let folders = RefCell::new(Vec::new());
    let make = |_| {
        let folder = tempfile::tempdir().unwrap();
        let options = HostFsOptions { owner: HostOwner::Real, ..options(folder.path()) };
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        folders.borrow_mut().push(folder);
        let below = HostFs::open_with(&options, opener.clone()).unwrap() as Arc<dyn FileSystem>;
        // Opened anew, so that nothing is known of what was there before.
        let again = HostFs::open_with(&options, opener.clone()).unwrap() as Arc<dyn FileSystem>;
        Fixture { below, finish: Box::new(|_| again) }
    };
    let probe = tempfile::NamedTempFile::new().unwrap();
    let now = || {
        std::fs::write(probe.path(), b"tick").unwrap();
        let facts = std::fs::metadata(probe.path()).unwrap();
        (facts.ctime(), facts.ctime_nsec())
    };
    let tick = || {
        let before = now();
        while now() == before {
            std::thread::yield_now();
        }
    };
    run_paced(&make, &tick)
}

/// Whether a failure, `TABLE: SCENARIO, line N: COMMAND -> OUTCOME, not OUTCOME`, is a difference.
fn is_known(failure: &str) -> bool {
    DIFFERENCES.iter().any(|(scenario, _, commands)| {
        let line = failure.strip_prefix(scenario).and_then(|rest| rest.strip_prefix(", line "));
        let command =
            line.and_then(|line| line.split_once(": ")).and_then(|(_, rest)| rest.split_once(" -> "));
        command.is_some_and(|(command, _)| commands.contains(&command))
    })
}

#[track_caller]
fn check(opener: &Opener) {
    if !rustix::process::geteuid().is_root() {
        // Most of the suite is about files of several users, which only root can make.
        return;
    }
    let report = conform(opener);
    let unknown: Vec<_> = report.failures.iter().filter(|failure| !is_known(failure)).collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert!(report.checked >= 300, "only {} outcomes", report.checked);
}

#[test]
fn a_host_folder_conforms() {
    check(&Opener::default());
}

#[test]
fn a_host_folder_conforms_without_openat2() {
    check(&Opener::stepwise());
}
