//! Files that the kernel makes up when they are read (`/proc`), by the API.
#![expect(clippy::disallowed_methods, reason = "starts the machine's tar on its own files")]

use std::process::Command;

use http::{Method, StatusCode};
use vm_api::{
    BatchReadFile, BatchReadRequest, BatchReadResponse, CopyRequest, FileStat, ProcessInfo, ProcessRequest,
};

use crate::runner::{Runner, Workspace};

/// A process whose arguments are longer than what is read at once.
const LONG: usize = 100_000;

async fn sleeper(runner: &Runner, workspace: &Workspace<'_>) -> i32 {
    let command = Some(format!("sleep 1000 # {}", "x".repeat(LONG)));
    let request = ProcessRequest { command, ..ProcessRequest::default() };
    runner.post(&workspace.routes.processes(), &request).await.json::<ProcessInfo>().pid
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn they_are_read_whole_without_a_length_a_range_or_a_tag() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let pid = sleeper(&runner, &workspace).await;
    let path = workspace.routes.file(&format!("/proc/{pid}/stat"));
    for headers in [&[][..], &[("range", "bytes=0-1")], &[("if-none-match", "\"x\"")], &[("if-match", "*")]] {
        let answer = runner.send_with(Method::GET, &path, headers, "").await;
        assert_eq!(answer.status, StatusCode::OK, "{headers:?}: {answer:?}");
        assert!(answer.body.starts_with(format!("{pid} (sh").as_bytes()), "{headers:?}: {answer:?}");
        assert!(answer.body.ends_with(b"\n"), "{answer:?}");
        for guess in ["content-length", "etag", "last-modified", "content-range"] {
            assert!(!answer.headers.contains_key(guess), "{guess}: {answer:?}");
        }
        assert_eq!(answer.headers["accept-ranges"], "none");
    }
    let head = runner.send(Method::HEAD, &path, "").await;
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    assert!(!head.headers.contains_key("content-length") && !head.headers.contains_key("etag"), "{head:?}");
    assert_eq!(head.headers["accept-ranges"], "none");
    let named = runner.send_with(Method::GET, &path, &[("if-match", "\"x\"")], "").await;
    assert_eq!(named.problem().code, "precondition-failed");
    let stat: FileStat = runner.get(&format!("{path}?stat")).await.json();
    assert_eq!((stat.size, stat.etag), (0, None));
    let line = workspace.get(&format!("/proc/{pid}/cmdline")).await.body;
    assert!(line.len() > LONG && line.starts_with(b"/bin/sh\0-c\0sleep 1000 # xxx"), "{} bytes", line.len());
    let gone = workspace.get("/proc/99999/stat").await.problem();
    assert_eq!(gone.code, "path-not-found");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_batch_a_copy_and_an_archive_have_what_is_in_them() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let pid = sleeper(&runner, &workspace).await;
    let file = |path: String| BatchReadFile { path, ..BatchReadFile::default() };
    let files = vec![file(format!("/proc/{pid}/stat")), file(format!("/proc/{pid}/cmdline"))];
    let request = BatchReadRequest { files };
    let read: BatchReadResponse = runner.post(&workspace.routes.batch_read(), &request).await.json();
    let [stat, line] = &read.results[..] else { panic!("{read:?}") };
    assert!(stat.content.as_deref().unwrap().starts_with(&format!("{pid} (sh")), "{stat:?}");
    assert_eq!(stat.stat.as_ref().unwrap().etag, None);
    let line = line.content.as_deref().unwrap().to_owned();
    assert!(line.len() > LONG);

    let (from, to) = (format!("/proc/{pid}/cmdline"), "/home/agent/copy".to_owned());
    let request = CopyRequest { from, to, ..CopyRequest::default() };
    let answer = runner.post(&workspace.routes.copy(), &request).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    assert_eq!(workspace.get("/home/agent/copy").await.body, line.as_bytes());

    let path = workspace.routes.archive(&format!("/proc/{pid}/cmdline"));
    let archive = runner.get(&path).await;
    assert_eq!(archive.status, StatusCode::OK, "{archive:?}");
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("out.tar"), &archive.body).unwrap();
    let untar = Command::new("tar").args(["-xOf", "out.tar", "cmdline"]).current_dir(dir.path()).output();
    let untar = untar.unwrap();
    assert!(untar.status.success(), "{}", String::from_utf8_lossy(&untar.stderr));
    assert!(untar.stdout == line.as_bytes());
}
