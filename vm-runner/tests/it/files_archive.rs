//! Archives in and out, against the machine's own tar.
#![expect(clippy::disallowed_methods, reason = "starts the machine's tar on its own files")]

use std::path::Path;
use std::process::Command;

use http::{Method, StatusCode};
use vm_api::ArchiveResponse;

use crate::runner::{Answer, Runner, Workspace};

fn native(script: &str, folder: &Path) -> String {
    let output =
        Command::new("bash").args(["-ec", script]).current_dir(folder).env("TZ", "UTC").output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn unpack(
    runner: &Runner,
    workspace: &Workspace<'_>,
    to: &str,
    archive: impl Into<bytes::Bytes>,
) -> Answer {
    runner.send(Method::PUT, &format!("{}&parents", workspace.routes.archive(to)), archive).await
}

/// Name, mode, time, size, links and content of everything below the current folder.
const FACTS: &str = "find . ! -name . | sort | while IFS= read -r f; do stat -c '%N %a %Y %F' \"$f\"; \
                     if [ -f \"$f\" ]; then cksum < \"$f\"; fi; done";

/// A tree with what archives have trouble with.
const TREE: &str = "mkdir -p t/a/b t/empty && cd t && printf one > a/one && head -c 100000 /dev/zero | tr '\\0' x > a/b/large && \
                    ln -s ../a/one a/link && ln -s $(printf 'x%.0s' $(seq 1 150)) a/far && mkfifo pipe && : > 'with space and ümlaut' && \
                    long=$(printf 'n%.0s' $(seq 1 200)) && mkdir $long && printf deep > $long/$long && chmod 4711 a/one && chmod 500 empty && \
                    ln a/one a/again && touch -d 2001-02-03T04:05:06 a/one a a/b empty && touch -d 1969-12-31T23:00:00 pipe";

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_native_archive_goes_in_and_comes_out_the_same() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let dir = tempfile::tempdir().unwrap();
    native(TREE, dir.path());
    let expected = native(&format!("cd t; {FACTS}"), dir.path());
    for format in ["gnu", "pax", "ustar"] {
        // What ustar cannot hold stays outside.
        let script = if format == "ustar" {
            "tar -cf in.tar --format=ustar --exclude='nnnn*' --exclude=far --exclude=pipe -C t ."
        } else {
            &format!("tar -cf in.tar --format={format} -C t .")
        };
        native(script, dir.path());
        let archive = std::fs::read(dir.path().join("in.tar")).unwrap();
        let answer = unpack(&runner, &workspace, &format!("/home/agent/{format}"), archive).await;
        assert_eq!(answer.status, StatusCode::OK, "{format}: {answer:?}");
        if format == "ustar" {
            continue;
        }
        let report: ArchiveResponse = answer.json();
        assert_eq!((report.directories, report.pipes), (5, 1), "{format}: {report:?}");
        let answer = runner.get(&workspace.routes.archive(&format!("/home/agent/{format}"))).await;
        assert_eq!(answer.headers["content-type"], "application/x-tar");
        std::fs::write(dir.path().join("out.tar"), &answer.body).unwrap();
        native("rm -rf out && mkdir out && tar -xpf out.tar -C out", dir.path());
        let got = native(&format!("cd out; {FACTS}"), dir.path());
        assert_eq!(got, expected, "{format}");
        assert_eq!(native("stat -c %h out/a/one", dir.path()), "2\n");
    }
    assert_eq!(
        workspace.sh("cat ustar/a/one gnu/a/again; stat -c %a pax/a/one").await.stdout,
        "oneone4711\n"
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn what_the_guest_made_is_read_by_native_tar() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let made = "mkdir -p t/src t/node_modules/x && echo main > t/src/main && echo big > t/node_modules/x/y && \
                printf '%s' content > \"t/$(printf 'new\\nline')\" && truncate -s 3M t/holes";
    assert_eq!(workspace.sh(made).await.exit_code, Some(0));
    let dir = tempfile::tempdir().unwrap();
    let get = async |query: &str| {
        let answer = runner.get(&format!("{}{query}", workspace.routes.archive("/home/agent/t"))).await;
        std::fs::write(dir.path().join("out.tar"), &answer.body).unwrap();
        native("tar -tf out.tar | sort", dir.path())
    };
    let names = get("&exclude=node_modules").await;
    assert_eq!(names, "./\nholes\nnew\\nline\nsrc/\nsrc/main\n");
    assert_eq!(get("&exclude=src/*,node_modules/**").await, "./\nholes\nnew\\nline\nnode_modules/\nsrc/\n");
    native("tar -xf out.tar && test $(stat -c %s holes) = 3145728", dir.path());
    let answer = runner.get(&workspace.routes.archive("/home/agent/t/src/main")).await;
    std::fs::write(dir.path().join("one.tar"), &answer.body).unwrap();
    assert_eq!(native("tar -xOf one.tar main", dir.path()), "main\n");
    assert_eq!(
        runner.get(&workspace.routes.archive("/home/agent/none")).await.problem().code,
        "path-not-found"
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn what_follows_on_thousands_of_entries_that_are_left_out_is_in_the_archive() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let made = workspace.sh("mkdir many && cd many && touch $(seq -f x%g 1 3000) && echo here > zz").await;
    assert_eq!(made.exit_code, Some(0), "{made:?}");
    let route = format!("{}&exclude=x*", workspace.routes.archive("/home/agent/many"));
    let answer = runner.get(&route).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("out.tar"), &answer.body).unwrap();
    assert_eq!(native("tar -tf out.tar; tar -xOf out.tar zz", dir.path()), "./\nzz\nhere\n");
}

/// Name, type, link and content.
type Planned<'a> = (&'a str, u8, &'a str, &'a str);

/// An archive of these entries.
fn archive(entries: &[Planned<'_>]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, kind, link, content) in entries {
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(tar::EntryType::new(*kind));
        header.set_size(content.len() as u64);
        header.set_mode(if *kind == b'5' { 0o755 } else { 0o644 });
        header.set_cksum();
        archive.extend_from_slice(header.as_bytes());
        archive.extend_from_slice(content.as_bytes());
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn nothing_in_an_archive_leads_out_of_its_directory() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("mkdir outside in && ln -s ../outside in/there").await;
    let cases: [(&str, &[Planned<'_>]); 7] = [
        ("absolute", &[("/home/agent/outside/x", b'0', "", "x")]),
        ("up", &[("../outside/x", b'0', "", "x")]),
        ("up within", &[("a/../../outside/x", b'0', "", "x")]),
        ("behind a link of the archive", &[("l", b'2', "../outside", ""), ("l/x", b'0', "", "x")]),
        ("behind a link that was there", &[("there/x", b'0', "", "x")]),
        ("a hard link to the outside", &[("h", b'1', "../outside/secret", "")]),
        ("a hard link through a link", &[("l2", b'2', "../outside", ""), ("h", b'1', "l2/secret", "")]),
    ];
    workspace.put("/home/agent/outside/secret", "secret").await;
    for (what, entries) in cases {
        let problem = unpack(&runner, &workspace, "/home/agent/in", archive(entries)).await.problem();
        assert_eq!(problem.code, "invalid-archive", "{what}: {problem:?}");
        assert!(problem.detail.contains("entries before are in place"), "{what}: {problem:?}");
    }
    assert_eq!(workspace.sh("ls outside; stat -c %h outside/secret").await.stdout, "secret\n1\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn an_archive_that_fails_tells_where_and_what_is_in_place() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.storage.size_bytes = 4 << 20).await;
    let big = "x".repeat(6 << 20);
    let entries = [("one", b'0', "", "1"), ("two", b'0', "", "2"), ("big", b'0', "", &big)];
    let problem = unpack(&runner, &workspace, "/home/agent/in", archive(&entries)).await.problem();
    assert_eq!(
        (problem.code.as_str(), problem.limit.as_deref()),
        ("limit-storage", Some("spec.storage.size"))
    );
    assert_eq!(problem.path.as_deref(), Some("/home/agent/in/big"));
    assert!(problem.detail.contains("the 2 entries before are in place"), "{problem}");
    assert_eq!(workspace.sh("ls in; cat in/one").await.stdout, "one\ntwo\n1");
    let mut cut = archive(&[("three", b'0', "", &"3".repeat(2000))]);
    cut.truncate(1500);
    let problem = unpack(&runner, &workspace, "/home/agent/in", cut).await.problem();
    assert!(problem.detail.contains("ends at byte 1500"), "{problem}");
    for (archive, expected) in [
        (b"this is text, not an archive".repeat(40), "no tar archive"),
        ([&b"\x1f\x8b\x08"[..], &[0; 600]].concat(), "gzip"),
        (archive(&[("s", b'S', "", "")]), "--sparse"),
    ] {
        let problem = unpack(&runner, &workspace, "/home/agent/in", archive).await.problem();
        assert!(problem.code == "invalid-archive" && problem.detail.contains(expected), "{problem}");
    }
    assert_eq!(workspace.sh("ls in").await.stdout, "one\ntwo\n", "what did not come whole is gone");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn an_archive_replaces_files_and_keeps_directories() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace
        .sh("mkdir -p in/d && echo keep > in/d/keep && echo old > in/f && ln -s f in/l && echo x > in/x")
        .await;
    let entries =
        [("d/", b'5', "", ""), ("d/new", b'0', "", "new"), ("l", b'0', "", "file"), ("x", b'5', "", "")];
    assert_eq!(unpack(&runner, &workspace, "/home/agent/in", archive(&entries)).await.status, StatusCode::OK);
    assert_eq!(
        workspace.sh("cat in/d/* in/f in/l; test -d in/x && echo ' dir'").await.stdout,
        "keep\nnewold\nfile dir\n"
    );
    let onto = [("d", b'0', "", "no")];
    let problem = unpack(&runner, &workspace, "/home/agent/in", archive(&onto)).await.problem();
    assert_eq!(problem.errno.as_deref(), Some("EISDIR"));
}
