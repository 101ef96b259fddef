//! `ls`, `cat`, `edit`, `cp`.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Value, json};
use vm_api::ProblemCode;

use crate::support::answer::{Answer, bytes, document, refused};
use crate::support::world::{Call, WORKSPACE, World};

fn stat(path: &str, kind: &str) -> Value {
    json!({
        "path": path, "type": kind, "size": 3, "mode": "0640", "uid": 1000, "gid": 1000, "links": 1, "inode": 9,
        "modified": "2026-01-02T03:04:05.5Z", "changed": "2026-01-02T03:04:05Z", "accessed": "2026-01-02T03:04:05Z",
        "etag": "\"t1\"",
    })
}

fn entry(name: &str, kind: &str) -> Value {
    let mut entry = stat(&format!("/work/{name}"), kind);
    entry["name"] = json!(name);
    entry
}

#[tokio::test]
async fn a_directory_is_listed_page_by_page() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "GET files/work?stat" => document(200, &stat("/work", "directory")),
        "GET files/work?list&depth=64&exclude=node_modules" => {
            let entries = [entry(".git", "directory"), entry("a", "file")];
            document(200, &json!({"path": "/work", "entries": entries, "truncated": true, "next": "a b"}))
        }
        "GET files/work?list&depth=64&exclude=node_modules&after=a%20b" => {
            document(200, &json!({"path": "/work", "entries": [entry("b", "file")]}))
        }
        line => panic!("{line}"),
    })
    .await;
    let arguments = ["ls", "ada:/work", "-R", "--exclude", "node_modules"];
    let outcome = world.run(&arguments).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let lines: Vec<_> = outcome.text().lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert_eq!(lines[1], "-rw-r-----   3 B    2026-01-02 03:04:05   a");
    let names = world.run(&[&arguments[..], &["-a", "-o", "name"]].concat()).await;
    assert_eq!(names.text(), ".git\na\nb\n");
    let document = world.run(&[&arguments[..], &["-o", "yaml"]].concat()).await;
    assert!(document.text().contains("path: /work"), "{}", document.text());
}

#[tokio::test]
async fn a_relative_path_begins_in_the_home_directory_of_the_workspace() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "GET files/home/eve/notes.txt" => bytes(200, "hi"),
        line => panic!("{line}"),
    })
    .await;
    let missing = world.run(&["cat", "ada:notes.txt"]).await;
    assert!(missing.code == 125 && missing.stderr.contains("or give an absolute path"), "{}", missing.stderr);
    world.put(
        WORKSPACE,
        json!({"apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace",
        "metadata": {"name": "ada"}, "spec": {"user": {"name": "eve"}}}),
    );
    let outcome = world.run(&["cat", "ada:notes.txt"]).await;
    assert_eq!((outcome.code, outcome.text()), (0, "hi"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_file_in_another_namespace_and_one_that_is_missing() {
    let world = World::answering(|call| match call.seen.path.as_str() {
        "/v1/namespaces/team-b/workspaces/ada/files/a" => bytes(200, vec![0xff, 0]),
        _ => refused(ProblemCode::PathNotFound, "/b: no such file"),
    })
    .await;
    let outcome = world.run(&["cat", "team-b/ada:/a", "ada:/b"]).await;
    assert_eq!((outcome.code, &outcome.stdout[..]), (125, &b"\xff\0"[..]));
    assert_eq!(outcome.stderr, "error: /b: no such file\n");
}

/// A file that is edited: what is there, and what is written.
fn edited(call: &Call) -> Answer {
    match call.seen.method.as_str() {
        "GET" => {
            let mut answer = bytes(200, "old\n");
            answer.headers_mut().insert("etag", "\"t1\"".parse().unwrap());
            answer
        }
        _ => document(200, &stat("/a.txt", "file")),
    }
}

#[tokio::test]
async fn an_edited_file_is_written_if_nobody_else_has_changed_it() {
    let world = World::answering(|call| edited(&call)).await;
    let outcome = world.run(&["edit", "ada:/a.txt", "--editor", "echo new >>"]).await;
    assert_eq!((outcome.code, outcome.text()), (0, "/a.txt is written\n"), "{}", outcome.stderr);
    let put = &world.seen()[1];
    assert_eq!((put.line().as_str(), put.header("if-match")), ("PUT files/a.txt?parents", Some("\"t1\"")));
    assert_eq!(put.bytes, "old\nnew\n");
    let unchanged = world.run(&["edit", "ada:/a.txt", "--editor", "true"]).await;
    assert_eq!((unchanged.code, unchanged.text(), world.seen().len()), (0, "/a.txt is unchanged\n", 3));
    let failed = world.run(&["edit", "ada:/a.txt", "--editor", "false"]).await;
    assert!(failed.code == 125 && failed.stderr.contains("nothing was written"), "{}", failed.stderr);
}

#[tokio::test]
async fn an_edit_that_somebody_was_faster_than_is_kept() {
    let world = World::answering(|call| match call.seen.method.as_str() {
        "PUT" => refused(ProblemCode::PreconditionFailed, "it is another one now"),
        _ => edited(&call),
    })
    .await;
    let outcome = world.run(&["edit", "ada:/a.txt", "--editor", "echo new >"]).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("has changed in the workspace meanwhile"), "{}", outcome.stderr);
    let kept = outcome.stderr.split("kubectl lodge cp ").nth(1).unwrap().split(' ').next().unwrap();
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "new\n");
    std::fs::remove_dir_all(Path::new(kept).parent().unwrap()).unwrap();
}

#[tokio::test]
async fn a_file_that_is_new_is_made_only_if_it_still_is() {
    let world = World::answering(|call| match call.seen.method.as_str() {
        "GET" => refused(ProblemCode::PathNotFound, "no such file"),
        _ => document(201, &stat("/new", "file")),
    })
    .await;
    let outcome = world.run(&["edit", "ada:/new", "--editor", "echo x >"]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(world.seen()[1].header("if-none-match"), Some("*"));
}

/// Answers uploads into `/work`, a directory, and to other paths, which are new.
fn takes_uploads(call: &Call) -> Answer {
    match call.seen.line().as_str() {
        "GET files/work/.?stat" => document(200, &stat("/work/.", "directory")),
        line if line.starts_with("GET") => refused(ProblemCode::PathNotFound, "no such file"),
        line if line.contains("files:archive") => {
            document(200, &json!({"files": 1, "directories": 1, "links": 0, "pipes": 0, "bytes": 3}))
        }
        _ => document(201, &stat("/x", "file")),
    }
}

#[tokio::test]
async fn a_file_is_uploaded_with_its_mode_and_time() {
    let world = World::answering(|call| takes_uploads(&call)).await;
    let file = world.home.path().join("notes.txt");
    std::fs::write(&file, "abc").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o750)).unwrap();
    let time = UNIX_EPOCH + Duration::from_millis(1_767_323_045_500);
    std::fs::File::open(&file).unwrap().set_modified(time).unwrap();
    let outcome = world.run(&["cp", file.to_str().unwrap(), "ada:/work"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let lines =
        ["GET files/work/.?stat", "PUT files/work/notes.txt?parents&mode=0750", "PATCH files/work/notes.txt"];
    assert_eq!(world.lines(), lines);
    let seen = world.seen();
    assert_eq!((&seen[1].bytes[..], seen[1].header("content-length")), (&b"abc"[..], Some("3")));
    assert_eq!(seen[2].body(), json!({"modified": "2026-01-02T03:04:05.5Z"}));
    let renamed = world.run(&["cp", file.to_str().unwrap(), "ada:/other"]).await;
    assert_eq!(renamed.code, 0);
    assert!(world.lines().contains(&"PUT files/other?parents&mode=0750".to_owned()), "{:?}", world.lines());
}

#[tokio::test]
async fn standard_input_is_uploaded_as_it_comes() {
    let world = World::answering(|call| takes_uploads(&call)).await;
    let outcome = world.run_with(&["cp", "-", "ada:/x"], &b"\0stream"[..]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(
        (world.lines()[1].as_str(), &world.seen()[1].bytes[..]),
        ("PUT files/x?parents", &b"\0stream"[..])
    );
    let directory = world.run(&["cp", "-", "ada:/work"]).await;
    assert!(directory.code == 125 && directory.stderr.contains("is a directory"), "{}", directory.stderr);
}

#[tokio::test]
async fn a_folder_is_uploaded_and_comes_back_as_it_was() {
    let archive = std::sync::Arc::new(std::sync::Mutex::new(bytes::Bytes::new()));
    let kept = std::sync::Arc::clone(&archive);
    let world = World::answering(move |call| match call.seen.line().as_str() {
        "GET files/copy?stat" => document(200, &stat("/copy", "directory")),
        "GET files:archive?path=%2Fcopy&exclude=%2A.o" => bytes(200, kept.lock().unwrap().clone()),
        _ => {
            if call.seen.method == "PUT" {
                *kept.lock().unwrap() = call.seen.bytes.clone();
            }
            takes_uploads(&call)
        }
    })
    .await;
    let top = world.home.path().join("project");
    std::fs::create_dir_all(top.join("a/b")).unwrap();
    std::fs::write(top.join("a/b/run.sh"), "echo").unwrap();
    std::fs::set_permissions(top.join("a/b/run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("../missing", top.join("a/link")).unwrap();
    let long = "n".repeat(200);
    std::fs::write(top.join(&long), "").unwrap();
    let time = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    for name in ["a/b/run.sh", "a/b", "a"] {
        std::fs::File::open(top.join(name)).unwrap().set_modified(time).unwrap();
    }
    let outcome = world.run(&["cp", top.to_str().unwrap(), "ada:/work"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(world.lines()[1], "PUT files:archive?path=%2Fwork%2Fproject&parents");

    let back = world.home.path().join("back");
    let outcome = world.run(&["cp", "ada:/copy", back.to_str().unwrap(), "--exclude", "*.o"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let found = std::fs::metadata(back.join("a/b/run.sh")).unwrap();
    assert_eq!((found.permissions().mode() & 0o777, found.len()), (0o755, 4));
    for name in ["a/b/run.sh", "a/b", "a"] {
        let found = std::fs::metadata(back.join(name)).unwrap();
        assert_eq!((found.mtime(), found.mtime_nsec()), (1_700_000_000, 123_456_789), "{name}");
    }
    assert_eq!(std::fs::read_link(back.join("a/link")).unwrap(), Path::new("../missing"));
    assert!(back.join(&long).exists());
}

#[tokio::test]
async fn a_file_is_downloaded_under_its_name_with_its_mode_and_time() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "GET files/a/notes.txt?stat" => document(200, &stat("/a/notes.txt", "file")),
        "GET files/a/notes.txt" => bytes(200, "abc"),
        line => panic!("{line}"),
    })
    .await;
    let folder = world.home.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    let outcome = world.run(&["cp", "ada:/a/notes.txt", folder.to_str().unwrap()]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let found = std::fs::metadata(folder.join("notes.txt")).unwrap();
    assert_eq!((found.permissions().mode() & 0o777, found.len()), (0o640, 3));
    assert_eq!(found.modified().unwrap(), UNIX_EPOCH + Duration::from_millis(1_767_323_045_500));
    let printed = world.run(&["cp", "ada:/a/notes.txt", "-"]).await;
    assert_eq!(printed.text(), "abc");
}

#[tokio::test]
async fn a_download_that_breaks_off_changes_nothing_here() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "GET files/a?stat" => document(200, &stat("/a", "file")),
        _ => {
            let mut answer = crate::support::answer::events(&[], crate::support::answer::Then::Breaks);
            answer.headers_mut().insert("content-length", "100".parse().unwrap());
            answer
        }
    })
    .await;
    let file = world.home.path().join("a");
    std::fs::write(&file, "before").unwrap();
    let outcome = world.run(&["cp", "ada:/a", file.to_str().unwrap()]).await;
    assert!(outcome.code == 125 && outcome.stderr.contains("nothing was changed here"), "{}", outcome.stderr);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
    assert_eq!(std::fs::read_dir(world.home.path()).unwrap().count(), 2, "the part is removed");
}

#[tokio::test]
async fn an_archive_that_leads_out_of_the_folder_is_refused() {
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..7].copy_from_slice(b"../evil");
    header.set_size(0);
    header.set_mode(0o644);
    header.set_cksum();
    let archive = [header.as_bytes().to_vec(), vec![0; 1024]].concat();
    let world = World::answering(move |call| match call.seen.line().as_str() {
        "GET files/a?stat" => document(200, &stat("/a", "directory")),
        _ => bytes(200, archive.clone()),
    })
    .await;
    let outcome = world.run(&["cp", "ada:/a", world.home.path().join("in").to_str().unwrap()]).await;
    assert!(outcome.code == 125 && outcome.stderr.contains("has .. in its name"), "{}", outcome.stderr);
    assert!(!world.home.path().join("evil").exists());
}

#[tokio::test]
async fn what_an_upload_fails_with_is_said() {
    for (code, detail) in [
        (ProblemCode::Forbidden, "user \"jane\" may not update workspaces/files"),
        (ProblemCode::LimitStorage, "/x: spec.storage.size is used up"),
    ] {
        let world = World::answering(move |call| match call.seen.method.as_str() {
            "GET" => takes_uploads(&call),
            _ => refused(code, detail),
        })
        .await;
        let outcome = world.run_with(&["cp", "-", "ada:/x"], &b"x"[..]).await;
        assert_eq!((outcome.code, outcome.stderr), (125, format!("error: {detail}\n")));
    }
}

#[tokio::test]
async fn one_side_of_a_copy_is_a_workspace() {
    let world = World::answering(|call| takes_uploads(&call)).await;
    for (arguments, part) in [
        (["cp", "a", "b"], "one of FROM and TO must be in a workspace"),
        (["cp", "ada:/a", "ada:/b"], "one of FROM and TO must be here"),
        (["cp", "/does/not/exist", "ada:/b"], "/does/not/exist: cannot be copied"),
    ] {
        let outcome = world.run(&arguments).await;
        assert!(outcome.code == 125 && outcome.stderr.contains(part), "{}", outcome.stderr);
    }
}
