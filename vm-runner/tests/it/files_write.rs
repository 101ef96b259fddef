//! Writing files through the API: conditions, parts, attributes, batches, links and copies.

use futures::future::join_all;
use http::{Method, StatusCode};
use vm_api::{
    Base64, BatchReadFile, BatchReadRequest, BatchReadResponse, BatchWriteFile, BatchWriteRequest,
    BatchWriteResponse, CopyRequest, CopyResponse, FileStat, FileType, LinkRequest, route,
};

use crate::runner::Runner;

fn tag(answer: &crate::runner::Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn every_change_of_a_file_changes_its_tag() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let mut tags = vec![tag(&workspace.put("/home/agent/f", "same").await)];
    // The content, the content with its old time, the attributes, a new file of the same content.
    for command in [
        "printf Same > f",
        "printf saMe > f && touch -d 2020-01-01 f",
        "printf samE > f && touch -d 2020-01-01 f",
        "chmod 600 f",
        "rm f; printf same > f",
    ] {
        workspace.sh(command).await;
        tags.push(tag(&workspace.get("/home/agent/f").await));
    }
    tags.push(tag(&workspace.put("/home/agent/f", "same").await));
    let stat: FileStat = runner.get(&workspace.routes.stat("/home/agent/f")).await.json();
    assert_eq!(stat.etag.as_ref(), tags.last(), "the tags of an answer and of a stat are one");
    let count = tags.len();
    tags.sort();
    tags.dedup();
    assert_eq!(tags.len(), count, "{tags:?}");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn of_many_writers_with_one_tag_exactly_one_wins() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let path = workspace.routes.file("/home/agent/f");
    let first = tag(&workspace.put("/home/agent/f", "0").await);
    for condition in [("if-match", first.as_str()), ("if-none-match", "*")] {
        if condition.0 == "if-none-match" {
            workspace.delete("/home/agent/f", "").await;
        }
        let headers = [condition];
        let writers = (1..=16)
            .map(|number| runner.send_with(Method::PUT, &path, &headers, format!("{number}").repeat(50_000)));
        let answers = join_all(writers).await;
        let won = answers.iter().filter(|answer| answer.status.is_success()).count();
        assert_eq!(won, 1, "{condition:?}");
        let lost = answers.iter().filter(|answer| !answer.status.is_success());
        for answer in lost {
            assert_eq!(answer.problem().code, "precondition-failed");
        }
        let content = workspace.get("/home/agent/f").await.body;
        assert!(
            content.chunks(2).all(|pair| pair == &content[..2])
                || content.iter().all(|byte| *byte == content[0])
        );
    }
    assert_eq!(workspace.sh("ls -A | grep -c lodge-upload").await.stdout, "0\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn concurrent_writers_leave_one_whole_content() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let writers = (0..8_u8).map(|number| workspace.put("/home/agent/f", vec![b'a' + number; 300_000]));
    for answer in join_all(writers).await {
        assert!(answer.status.is_success(), "{answer:?}");
    }
    let content = workspace.get("/home/agent/f").await.body;
    assert_eq!(content.len(), 300_000);
    assert!(content.iter().all(|byte| *byte == content[0]));
    assert_eq!(workspace.sh("ls -A").await.stdout, "f\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_condition_also_guards_deleting_and_attributes() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let old = tag(&workspace.put("/home/agent/f", "1").await);
    let now = tag(&workspace.put("/home/agent/f", "2").await);
    let path = workspace.routes.file("/home/agent/f");
    for method in [Method::DELETE, Method::PATCH, Method::GET] {
        let stale = [("if-match", old.as_str())];
        let answer = runner.send_with(method, &path, &stale, r#"{"mode":"600"}"#).await;
        assert_eq!(answer.problem().code, "precondition-failed");
    }
    let fresh = [("if-match", now.as_str())];
    let answer = runner.send_with(Method::DELETE, &path, &fresh, "").await;
    assert_eq!(answer.status, StatusCode::NO_CONTENT);
    let answer = runner.send_with(Method::DELETE, &path, &[], "").await;
    assert_eq!(answer.problem().errno.as_deref(), Some("ENOENT"));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn parts_of_a_file_can_be_written() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let put = async |query: &str, body: &'static str| {
        let path = format!("{}?{query}", workspace.routes.file("/home/agent/log"));
        runner.send(Method::PUT, &path, body).await
    };
    assert_eq!(put("append", "one\n").await.status, StatusCode::CREATED);
    assert_eq!(put("append", "two\n").await.status, StatusCode::OK);
    assert_eq!(put("offset=1", "NE").await.status, StatusCode::OK);
    assert_eq!(workspace.sh("cat log").await.stdout, "oNE\ntwo\n");
    let stat: FileStat = put("offset=100", "x").await.json();
    assert_eq!(stat.size, 101);
    assert_eq!(put("offset=1&append", "x").await.problem().code, "invalid-query");
    assert_eq!(put("offset=-1", "x").await.problem().field.as_deref(), Some("offset"));
    workspace.delete("/home/agent/log", "").await;
    let many = join_all((0..20).map(|_| put("append", "line\n"))).await;
    assert!(many.iter().all(|answer| answer.status.is_success()));
    assert_eq!(workspace.sh("grep -c ^line$ log").await.stdout, "20\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_part_of_the_content_is_served_only_if_it_is_still_the_same() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let old = tag(&workspace.put("/home/agent/f", "0123456789").await);
    let path = workspace.routes.file("/home/agent/f");
    let headers = [("range", "bytes=0-1"), ("if-range", old.as_str())];
    let part = runner.send_with(Method::GET, &path, &headers, "").await;
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &b"01"[..]));
    assert!(part.headers["last-modified"].to_str().unwrap().ends_with(" GMT"));
    workspace.put("/home/agent/f", "abcdefghij").await;
    let all = runner.send_with(Method::GET, &path, &headers, "").await;
    assert_eq!((all.status, &all.body[..]), (StatusCode::OK, &b"abcdefghij"[..]));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn attributes_are_set_as_the_guest_sees_them() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.put("/home/agent/f", "0123456789").await;
    let path = workspace.routes.file("/home/agent/f");
    let patch = async |body: &'static str| runner.send(Method::PATCH, &path, body).await;
    let answer = patch(r#"{"size":4,"mode":"0705","modified":"2001-02-03T04:05:06.5Z","gid":1000}"#).await;
    let stat: FileStat = answer.json();
    assert_eq!(
        (stat.size, stat.mode.as_str(), stat.modified.as_str()),
        (4, "0705", "2001-02-03T04:05:06.5Z")
    );
    assert_eq!(workspace.sh("stat -c '%s %a %Y' f; cat f").await.stdout, "4 705 981173106\n0123");
    let refused = patch(r#"{"uid":0}"#).await.problem();
    assert_eq!((refused.code.as_str(), refused.errno.as_deref()), ("permission-denied", Some("EPERM")));
    assert_eq!(refused.path.as_deref(), Some("/home/agent/f"));
    assert_eq!(patch(r#"{"mode":"999"}"#).await.problem().field.as_deref(), Some("mode"));
    assert_eq!(patch(r#"{"modified":"soon"}"#).await.problem().field.as_deref(), Some("modified"));
    assert_eq!(patch(r#"{"color":1}"#).await.problem().code, "invalid-request");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_batch_tells_for_each_file_how_it_went() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let file = |path: &str, content: &str| BatchWriteFile {
        path: path.to_owned(),
        content: Some(content.to_owned()),
        ..BatchWriteFile::default()
    };
    let bytes = BatchWriteFile {
        path_encoded: Some("/home/agent/raw%FF".to_owned()),
        content_base64: Some(Base64(vec![0xff, 0])),
        mode: Some("600".to_owned()),
        ..BatchWriteFile::default()
    };
    let new = BatchWriteFile { if_none_match: Some("*".to_owned()), ..file("/home/agent/a/one", "again") };
    let files =
        vec![file("/home/agent/a/one", "1"), bytes, file("/etc/x", "no"), new, BatchWriteFile::default()];
    let request = BatchWriteRequest { files, parents: true };
    let written: BatchWriteResponse = runner.post(&workspace.routes.batch_write(), &request).await.json();
    assert_eq!(written.failed, 3);
    let code = |index: usize| written.results[index].problem.as_ref().map(|problem| problem.code.as_str());
    assert_eq!(
        (0..5).map(code).collect::<Vec<_>>(),
        [None, None, Some("permission-denied"), Some("precondition-failed"), Some("invalid-request")]
    );
    assert!(written.results[0].created);
    let read = |path: &str| BatchReadFile { path: path.to_owned(), path_encoded: None };
    let raw = BatchReadFile { path: String::new(), path_encoded: Some("/home/agent/raw%FF".to_owned()) };
    let files = vec![read("/home/agent/a/one"), raw, read("/home/agent/none"), read("/home/agent")];
    let answer = runner.post(&workspace.routes.batch_read(), &BatchReadRequest { files }).await;
    let read: BatchReadResponse = answer.json();
    assert_eq!(read.results[0].content.as_deref(), Some("1"));
    assert_eq!(read.results[0].stat.as_ref().unwrap().etag, written.results[0].stat.as_ref().unwrap().etag);
    assert_eq!(read.results[1].content_base64.as_ref().unwrap().0, [0xff, 0]);
    assert_eq!(read.results[2].problem.as_ref().unwrap().code, "path-not-found");
    assert_eq!(read.results[3].problem.as_ref().unwrap().code, "is-a-directory");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_batch_has_bounds() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let files = vec![BatchReadFile { path: "/etc/passwd".to_owned(), path_encoded: None }; 1001];
    let refused = runner.post(&workspace.routes.batch_read(), &BatchReadRequest { files }).await.problem();
    assert!(refused.detail.contains("1000"), "{refused}");
    workspace.put("/home/agent/big", vec![b'x'; 9 << 20]).await;
    let files = vec![BatchReadFile { path: "/home/agent/big".to_owned(), path_encoded: None }; 2];
    let answer = runner.post(&workspace.routes.batch_read(), &BatchReadRequest { files }).await;
    let read: BatchReadResponse = answer.json();
    assert_eq!(read.results[0].content.as_ref().unwrap().len(), 9 << 20);
    assert_eq!(read.results[1].problem.as_ref().unwrap().code, "response-too-large");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn links_are_made_of_both_kinds() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    workspace.put("/home/agent/f", "x").await;
    let link = async |path: &str, target: &str, hard: bool| {
        let (path, target) = (path.to_owned(), target.to_owned());
        let request = LinkRequest { path, target, hard, parents: true, ..LinkRequest::default() };
        runner.post(&workspace.routes.link(), &request).await
    };
    let soft = link("/home/agent/d/soft", "../f", false).await;
    assert_eq!(soft.status, StatusCode::CREATED);
    assert_eq!(soft.json::<FileStat>().target.as_deref(), Some("../f"));
    assert_eq!(link("/home/agent/hard", "/home/agent/f", true).await.json::<FileStat>().links, 2);
    assert_eq!(workspace.sh("cat d/soft hard; readlink d/soft").await.stdout, "xx../f\n");
    assert_eq!(link("/home/agent/hard", "/home/agent/f", true).await.problem().code, "path-exists");
    let missing = link("/home/agent/h", "/home/agent/none", true).await.problem();
    assert_eq!(
        (missing.code.as_str(), missing.path.as_deref()),
        ("path-not-found", Some("/home/agent/none"))
    );
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_tree_is_copied_with_everything_that_is_kept() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let made = workspace
        .sh("mkdir -p t/d && echo one > t/d/one && ln -s d/one t/link && mkfifo t/pipe && \
             touch -d 2010-01-01 t/d/one && truncate -s 10M t/holes && echo end >> t/holes")
        .await;
    assert_eq!(made.exit_code, Some(0), "{}", made.stderr);
    let (path, target) = ("/home/agent/t/d/two".to_owned(), "/home/agent/t/d/one".to_owned());
    let request = LinkRequest { path, target, hard: true, ..LinkRequest::default() };
    assert_eq!(runner.post(&workspace.routes.link(), &request).await.status, StatusCode::CREATED);
    workspace.sh("chmod 555 t/d").await;
    let copy = async |from: &str, to: &str, overwrite: bool| {
        let (from, to) = (format!("/home/agent/{from}"), format!("/home/agent/{to}"));
        let request = CopyRequest { from, to, overwrite, parents: true, ..CopyRequest::default() };
        runner.post(&workspace.routes.copy(), &request).await
    };
    let copied: CopyResponse = copy("t", "x/copy", false).await.json();
    assert_eq!((copied.entries, copied.stat.path.as_str()), (7, "/home/agent/x/copy"));
    assert!(copied.bytes < 1 << 20, "holes are not copied: {}", copied.bytes);
    let seen = "cd x/copy && cat d/one link && readlink link && stat -c '%a %h' d d/one && stat -c %Y d/one && \
                wc -c < holes && du -k holes | cut -f1";
    let seen = workspace.sh(seen).await;
    let lines: Vec<_> = seen.stdout.lines().collect();
    assert_eq!(lines[..3], ["one", "one", "d/one"], "{seen:?}");
    assert!(lines[3].starts_with("555 ") && lines[4] == "644 2", "{lines:?}");
    assert_eq!(lines[5..7], ["1262304000", "10485764"], "{lines:?}");
    assert!(lines[7].parse::<u32>().unwrap() < 1024, "{lines:?}");
    let pipe: FileStat = runner.get(&workspace.routes.stat("/home/agent/x/copy/pipe")).await.json();
    assert_eq!(pipe.file_type, FileType::Fifo);
    assert!(copy("t", "x/copy", false).await.problem().detail.contains("overwrite: true"));
    assert_eq!(copy("t", "x/copy", true).await.status, StatusCode::CREATED);
    assert_eq!(copy("t/d/one", "x/copy", true).await.status, StatusCode::CREATED);
    assert_eq!(workspace.sh("cat x/copy; ls -A x").await.stdout, "one\ncopy\n");
    assert_eq!(copy("t", "t/d/inside", false).await.problem().code, "invalid-path");
    assert_eq!(copy("none", "y", false).await.problem().path.as_deref(), Some("/home/agent/none"));
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn a_copy_that_fails_leaves_nothing() {
    let runner = Runner::start().await;
    let workspace = runner.workspace_with("a", |config| config.storage.size_bytes = 8 << 20).await;
    workspace.sh("mkdir t; i=0; while [ $i -lt 5 ]; do head -c 1M /dev/zero > t/$i; i=$((i+1)); done").await;
    let (from, to) = ("/home/agent/t".to_owned(), "/home/agent/copy".to_owned());
    let request = CopyRequest { from, to, ..CopyRequest::default() };
    let problem = runner.post(&workspace.routes.copy(), &request).await.problem();
    assert_eq!(
        (problem.code.as_str(), problem.limit.as_deref()),
        ("limit-storage", Some("spec.storage.size"))
    );
    assert!(problem.path.as_deref().unwrap().starts_with("/home/agent/copy/"), "{problem:?}");
    assert_eq!(workspace.sh("ls -A").await.stdout, "t\n");
}

#[tokio::test]
#[ignore = "needs the guest software: make test runs it"]
async fn names_of_any_bytes_go_in_and_out() {
    let runner = Runner::start().await;
    let workspace = runner.workspace("a").await;
    let bytes: Vec<u8> = (1..=255_u8).filter(|byte| *byte != b'/').collect();
    for chunk in bytes.chunks(100) {
        let name = [b"/home/agent/", chunk].concat();
        let path = format!(
            "{}{}",
            workspace.routes.file("/"),
            route::encode_guest_path(&name).trim_start_matches('/')
        );
        let put = runner.send(Method::PUT, &path, chunk.to_vec()).await;
        assert_eq!(put.status, StatusCode::CREATED, "{put:?}");
        assert_eq!(runner.get(&path).await.body, chunk);
        let stat: FileStat = runner.get(&format!("{path}?stat")).await.json();
        let exact =
            stat.path_encoded.map_or_else(|| stat.path.into_bytes(), |path| route::decode_guest_path(&path));
        assert_eq!(exact, name);
        let missing = runner.get(&format!("{path}-none")).await.problem();
        let exact = missing.path_encoded.map_or_else(
            || missing.path.unwrap().as_bytes().to_vec(),
            |path| route::decode_guest_path(&path),
        );
        assert_eq!(exact, [&name[..], b"-none"].concat());
    }
}
