//! Files in a real VM, seen from outside and from inside.

use http::{Method, StatusCode};
use vm_api::{
    Base64, FileEntry, FileStat, FileType, FilesMount, ListResponse, MountConfig, MountSource, TmpfsMount,
};

use crate::runner::Runner;

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_file_that_is_put_is_there_for_commands_and_comes_back() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let answer = workspace.put("/home/agent/a b.txt", "one\ntwo\n").await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    let stat: FileStat = answer.json();
    assert_eq!(
        (stat.size, stat.mode.as_str(), stat.uid, stat.path.as_str()),
        (8, "0644", 1000, "/home/agent/a b.txt")
    );
    assert_eq!(workspace.sh("wc -l < 'a b.txt'; ls -A").await.stdout.trim(), "2\na b.txt");
    let answer = workspace.get("/home/agent/a b.txt").await;
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::OK, &b"one\ntwo\n"[..]));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn replacing_a_file_keeps_its_mode_and_follows_links() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("echo old > target; chmod 750 target; ln -s target link").await;
    assert_eq!(workspace.put("/home/agent/link", "new").await.status, StatusCode::OK);
    assert_eq!(
        workspace.sh("cat target; stat -c ' %a' target; readlink link").await.stdout,
        "new 750\ntarget\n"
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_large_file_streams_in_and_out() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let content: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
    assert_eq!(workspace.put("/home/agent/big", content.clone()).await.status, StatusCode::CREATED);
    assert_eq!(workspace.sh("wc -c < big").await.stdout.trim(), "20000000");
    assert!(workspace.get("/home/agent/big").await.body == content);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn parts_of_a_file_can_be_read() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.put("/home/agent/f", "0123456789").await;
    let path = workspace.routes.file("/home/agent/f");
    let part = runner.send_with(Method::GET, &path, &[("range", "bytes=2-4")], "").await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &b"234"[..]));
    assert_eq!(part.headers["content-range"], "bytes 2-4/10");
    let outside = runner.send_with(Method::GET, &path, &[("range", "bytes=10-")], "").await;
    assert_eq!(outside.problem().code, "range-not-satisfiable");
    assert_eq!(outside.headers["content-range"], "bytes */10");
    let head = runner.send(Method::HEAD, &path, "").await;
    assert_eq!(
        (head.status, head.headers["content-length"].to_str().unwrap(), head.body.len()),
        (StatusCode::OK, "10", 0)
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_write_can_be_made_to_depend_on_what_is_there() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let path = workspace.routes.file("/home/agent/f");
    let fresh = [("if-none-match", "*")];
    assert_eq!(runner.send_with(Method::PUT, &path, &fresh, "1").await.status, StatusCode::CREATED);
    assert_eq!(runner.send_with(Method::PUT, &path, &fresh, "2").await.problem().code, "precondition-failed");
    let tag = runner.get(&path).await.headers["etag"].to_str().unwrap().to_owned();
    let same = [("if-match", tag.as_str())];
    assert_eq!(runner.send_with(Method::PUT, &path, &same, "two").await.status, StatusCode::OK);
    assert_eq!(
        runner.send_with(Method::PUT, &path, &same, "three").await.problem().code,
        "precondition-failed"
    );
    let known = runner.get(&path).await.headers["etag"].to_str().unwrap().to_owned();
    let answer = runner.send_with(Method::GET, &path, &[("if-none-match", known.as_str())], "").await;
    assert_eq!(answer.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn directories_are_made_listed_moved_and_deleted() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let made = runner
        .send(Method::POST, &workspace.routes.mkdir(), r#"{"path":"/home/agent/x/y","parents":true}"#)
        .await;
    assert_eq!(made.status, StatusCode::CREATED, "{made:?}");
    workspace
        .sh("echo 1 > x/y/one; ln -s y x/link; mkdir x/node_modules; touch x/node_modules/z x.txt")
        .await;
    let path = format!("{}&exclude=node_*", workspace.routes.list("/home/agent", 3));
    let list: ListResponse = runner.get(&path).await.json();
    let names: Vec<_> = list.entries.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["x", "x/link", "x/y", "x/y/one", "x.txt"]);
    assert_eq!(list.entries[1].stat.target.as_deref(), Some("y"));
    assert_eq!(list.entries[2].stat.file_type, FileType::Directory);
    assert_eq!(list.entries[3].stat.path, "/home/agent/x/y/one");
    let body = r#"{"from":"/home/agent/x","to":"/home/agent/deep/er","parents":true}"#;
    assert_eq!(runner.send(Method::POST, &workspace.routes.rename(), body).await.status, StatusCode::OK);
    assert_eq!(workspace.sh("cat deep/er/y/one").await.stdout, "1\n");
    assert_eq!(workspace.delete("/home/agent/deep", "").await.problem().code, "directory-not-empty");
    assert_eq!(workspace.delete("/home/agent/deep", "?recursive").await.status, StatusCode::NO_CONTENT);
    assert_eq!(workspace.sh("ls -A").await.stdout, "x.txt\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn moving_onto_something_needs_to_be_meant() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.sh("echo a > a; echo b > b").await;
    let refused = runner
        .send(Method::POST, &workspace.routes.rename(), r#"{"from":"/home/agent/a","to":"/home/agent/b"}"#)
        .await;
    assert_eq!(refused.problem().code, "path-exists");
    let body = r#"{"from":"/home/agent/a","to":"/home/agent/b","overwrite":true}"#;
    assert_eq!(runner.send(Method::POST, &workspace.routes.rename(), body).await.status, StatusCode::OK);
    assert_eq!(workspace.sh("cat b; ls").await.stdout, "a\nb\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn mounts_hold_what_the_specification_says() {
    let runner = Runner::start().await;
    let workspace = runner
        .workspace_with("a", |config| {
            let entries = vec![FileEntry {
                path: "dir/key".to_owned(),
                mode: 0o444,
                content_base64: Base64(b"value".to_vec()),
            }];
            let files = MountSource::Files(FilesMount { entries });
            let tmpfs = MountSource::Tmpfs(TmpfsMount { size_bytes: 64 << 10 });
            config.mounts = vec![
                MountConfig { path: "/config".to_owned(), read_only: true, source: files },
                MountConfig { path: "/scratch".to_owned(), read_only: false, source: tmpfs },
            ];
        })
        .await;
    let response =
        workspace.sh("cat /config/dir/key; touch /scratch/x && echo ' ok'; touch /config/x || echo no").await;
    assert_eq!(response.stdout, "value ok\nno\n", "{}", response.stderr);
    assert_eq!(workspace.put("/config/x", "1").await.problem().code, "read-only-file-system");
    let full = workspace.put("/scratch/big", vec![0; 128 << 10]).await.problem();
    assert_eq!((full.code.as_str(), full.status), ("limit-storage", 507));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn the_machine_has_what_programs_expect_of_one() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("ada").await;
    let script = "cat /etc/hostname; grep agent /etc/passwd | cut -d: -f6; test -x /bin/sh && test -x /usr/bin/env && echo links; \
                  printf '#!/usr/bin/env sh\\necho script\\n' > s; chmod +x s; ./s; echo x > /tmp/t && cat /tmp/t; echo y > /dev/null && echo null; \
                  echo z > /dev/shm/z && cat /dev/shm/z";
    let response = workspace.sh(script).await;
    assert_eq!(response.stdout, "ada\n/home/agent\nlinks\nscript\nx\nnull\nz\n", "{}", response.stderr);
}
