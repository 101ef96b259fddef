//! What a new user gets wrong: each message names the thing and the way out, nobody is asked what can be seen to be wrong, and
//! the exit code is that of the plugin's own failures.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};

use vm_api::ProblemCode;

use super::support::answer::{Then, bytes, document, events, exited, refused};
use super::support::world::{Outcome, World};

/// Checks that a command fails as a user can understand, without any request to the gateway.
async fn says(world: &World, arguments: &[&str], parts: &[&str]) {
    let Outcome { code, stdout, stderr } = world.run(arguments).await;
    assert_eq!((code, stdout.len()), (125, 0), "{arguments:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{arguments:?}: {part:?} is not in {stderr}");
    }
    assert!(world.seen().is_empty(), "{arguments:?}");
}

#[tokio::test]
async fn a_choice_that_the_kubeconfig_does_not_have_is_refused_with_those_it_has() {
    let world = World::new(|_| exited(0, "")).await;
    for (option, parts) in [
        ("--context", ["no context \"prod\"", "its contexts are c"]),
        ("--cluster", ["no cluster \"prod\"", "its clusters are c"]),
        // It would be nobody, and asked as such.
        ("--user", ["no user \"prod\"", "its users are u"]),
    ] {
        says(&world, &["exec", "ada", option, "prod", "--", "true"], &parts).await;
    }
    let text = std::fs::read_to_string(world.kubeconfig()).unwrap();
    std::fs::write(world.kubeconfig(), text.replace("current-context: c", "")).unwrap();
    says(&world, &["exec", "ada", "--", "true"], &["no current context", "its contexts are c", "--context"])
        .await;
    std::fs::remove_file(world.kubeconfig()).unwrap();
    says(&world, &["exec", "ada", "--", "true"], &["there is no kubeconfig /", "--kubeconfig"]).await;
}

#[tokio::test]
async fn a_cluster_that_is_not_there_is_told_with_what_was_tried() {
    let world = World::new(|_| exited(0, "")).await;
    // Nobody listens on a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    world.write_kubeconfig(port, "{token: x}");
    for arguments in [&["exec", "ada", "--", "true"][..], &["status", "ada"], &["top"], &["cron", "list"]] {
        says(&world, arguments, &["cannot be reached", "Connection refused", "kubectl cluster-info"]).await;
    }
}

#[tokio::test]
async fn a_gateway_that_is_not_there_is_told_with_where_it_was_looked_for() {
    let world = World::new(|_| exited(0, "")).await;
    let other = World::new(|_| exited(0, "")).await;
    let refused = "127.0.0.1:1";
    says(
        &world,
        &["exec", "ada", "--gateway", refused, "--", "true"],
        &["https://127.0.0.1:1: Connection refused", "kubectl get pods -A", "--gateway"],
    )
    .await;
    let stranger = other.gateway.to_string();
    says(&world, &["exec", "ada", "--gateway", &stranger, "--", "true"], &["certificate", "--gateway-ca"])
        .await;
    world.objects.lock().unwrap().clear();
    for address in ["ftp://x", "http://x", "https://x/path", ""] {
        says(
            &world,
            &["exec", "ada", "--gateway", address, "--", "true"],
            &["is not usable: write https://HOST"],
        )
        .await;
    }
}

#[tokio::test]
async fn what_cannot_be_a_name_is_never_part_of_a_path() {
    let world = World::new(|_| exited(0, "")).await;
    for arguments in [
        &["exec", "../ada", "--", "true"][..],
        &["exec", "", "--", "true"],
        &["exec", "Ada_x", "--", "true"],
        &["status", "../../x"],
        &["cron", "run", "../../x"],
        &["ps", "ada?x"],
        &["ps", "ada", "-n", "Team A"],
        &["ps", "ada", "--lodge-namespace", "a/b"],
    ] {
        says(&world, arguments, &["cannot be the name of a", "names have lower-case letters"]).await;
    }
}

#[tokio::test]
async fn arguments_that_are_no_numbers_are_refused_with_where_such_numbers_come_from() {
    let world = World::new(|_| exited(0, "")).await;
    for pid in ["x", "0", "99999999999"] {
        says(&world, &["kill", "ada", pid], &["the number of a process", "`kubectl lodge ps`"]).await;
    }
    says(&world, &["events", "ada", "--after", "x"], &["the number that stands in front of an event"]).await;
    says(&world, &["ps", "ada", "-o", "xml"], &["possible values: json, yaml, wide, name"]).await;
    says(&world, &["exec", "ada", "ls"], &["'ls'", "NAME [OPTIONS] -- COMMAND"]).await;
}

#[tokio::test]
async fn a_directory_that_is_taken_for_a_file_is_to_be_listed() {
    let world =
        World::new(|_| refused(ProblemCode::IsADirectory, "/home: is a directory; ?list lists it")).await;
    for command in ["cat", "edit"] {
        let outcome = world.run(&[command, "ada:/home"]).await;
        let expected =
            "error: ada:/home is a directory: see what is in it with `kubectl lodge ls ada:/home`\n";
        assert_eq!((outcome.code, outcome.stderr.as_str()), (125, expected));
    }
}

#[tokio::test]
async fn an_editor_is_not_opened_where_there_is_no_terminal_for_it() {
    let world = World::new(|_| bytes(200, "x")).await;
    let outcome = world.run(&["edit", "ada:/x"]).await;
    assert_eq!(outcome.code, 125);
    assert!(
        outcome.stderr.contains("no terminal to open vi in")
            && outcome.stderr.contains("kubectl lodge cp ada:/x")
    );
}

#[tokio::test]
async fn a_file_is_not_made_a_folder() {
    let stat = |kind: &str| {
        serde_json::json!({"path": "/work/x", "type": kind, "size": 1, "mode": "0755", "uid": 0, "gid": 0, "links": 1,
            "inode": 1, "modified": "2026-03-01T00:00:00Z", "accessed": "2026-03-01T00:00:00Z",
            "changed": "2026-03-01T00:00:00Z"})
    };
    let world = World::answering(move |call| match call.seen.line() {
        line if line.contains("dir?stat") => document(200, &stat("directory")),
        line if line.contains("?stat") => document(200, &stat("file")),
        _ => bytes(200, vec![0; 1024]),
    })
    .await;
    let file = world.home.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let file = file.to_str().unwrap();
    for (from, to) in [("ada:/work/dir", file.to_owned()), ("ada:/work/x", format!("{file}/x"))] {
        let outcome = world.run(&["cp", from, &to]).await;
        assert_eq!(outcome.code, 125);
        assert!(outcome.stderr.contains("cannot be a folder"), "{}", outcome.stderr);
        assert!(outcome.stderr.contains("name another destination"), "{}", outcome.stderr);
    }
    assert_eq!(std::fs::read_to_string(Path::new(file)).unwrap(), "mine");
}

fn plugin(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-lodge"));
    command.env("KUBECONFIG", world.kubeconfig()).env_remove("LODGE_GATEWAY").args(arguments);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_nobody_reads_any_more_ends_quietly_as_by_sigpipe() {
    let text = "x".repeat(1000) + "\n";
    let world = World::new(move |_| {
        let messages: Vec<_> = (0..2000_u64)
            .map(|number| (number * 1001, serde_json::json!({"type": "stdout", "text": text})))
            .collect();
        events(&messages, Then::Ends)
    })
    .await;
    let mut child = plugin(&world, &["exec", "ada", "--", "yes"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let status = child.wait().unwrap();
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((status.code(), said.as_str(), line.len()), (Some(141), "", 1001));
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_cannot_be_written_is_told() {
    let world = World::new(|_| exited(0, "hello\n")).await;
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = plugin(&world, &["exec", "ada", "--", "true"]).stdout(full).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("output cannot be written: No space left"), "{said}");
    for arguments in [&["--help"][..], &["version"], &["completion", "bash"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
        let output = plugin(&world, arguments).stdout(full).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{arguments:?}: {said}");
    }
}
