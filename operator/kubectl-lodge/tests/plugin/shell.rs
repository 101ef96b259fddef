//! `shell` and `exec -t`, without a terminal here: what goes over the wire.

use serde_json::{Value, json};
use vm_api::ProblemCode;

use crate::support::answer::{bytes, document, refused};
use crate::support::socket::switch;
use crate::support::world::World;

pub(crate) fn info(id: &str) -> Value {
    json!({
        "id": id, "pid": 7, "argv": ["sh", "-l"], "startedAt": "2026-01-01T00:00:00Z", "cols": 80, "rows": 24,
        "attached": 0, "first": 0, "end": 5,
    })
}

#[tokio::test]
async fn shells_are_listed_started_and_ended() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "GET shells" => document(200, &json!({"items": [info("1")]})),
        "POST shells" => document(201, &info("2")),
        "DELETE shells/1" => bytes(204, ""),
        _ => refused(ProblemCode::ShellNotFound, "there is no shell \"9\""),
    })
    .await;
    let list = world.run(&["shell", "ada", "--list"]).await;
    assert!(list.code == 0 && list.text().contains("running   sh -l"), "{}", list.text());
    let started = world.run(&["shell", "ada", "--detach", "-e", "A=1", "--", "make"]).await;
    assert_eq!((started.code, started.text()), (0, "2\n"));
    let request = world.seen()[1].body();
    assert_eq!(
        (&request["argv"], &request["env"]),
        (&json!(["make"]), &json!([{"name": "A", "value": "1"}]))
    );
    assert_eq!(
        world.run(&["shell", "ada", "--end", "1"]).await.text(),
        "shell 1 of workspace ada has ended\n"
    );
    let missing = world.run(&["shell", "ada", "--attach", "9"]).await;
    assert_eq!((missing.code, missing.stderr.as_str()), (125, "error: there is no shell \"9\"\n"));
}

#[tokio::test]
async fn a_command_in_a_terminal_gets_what_is_typed_and_gives_its_code() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "POST shells" => document(201, &info("1")),
        "GET shells/1/attach?after=0" => switch(call, |mut socket| async move {
            socket.tell(json!({"type": "attached", "seq": 0, "lost": 0, "cols": 80, "rows": 24})).await;
            assert_eq!(socket.typed().await.unwrap(), b"ls\n");
            assert_eq!(socket.typed().await.unwrap(), [4], "the end of input is typed, too");
            socket.show(b"a\r\nb\r\n").await;
            socket.tell(json!({"type": "exited", "exitCode": 5})).await;
            socket.finish().await;
        }),
        line => panic!("{line}"),
    })
    .await;
    let outcome = world.run_with(&["exec", "ada", "-it", "--", "sh"], &b"ls\n"[..]).await;
    assert_eq!((outcome.code, outcome.text()), (5, "a\r\nb\r\n"));
    assert!(outcome.stderr.contains("standard input is no terminal"), "{}", outcome.stderr);
    assert_eq!(world.seen()[0].body()["argv"], json!(["sh"]));
}

#[tokio::test]
async fn a_shell_whose_connection_breaks_is_shown_on() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "GET shells/1" => document(200, &info("1")),
        "GET shells/1/attach" => switch(call, |mut socket| async move {
            socket.tell(json!({"type": "attached", "seq": 2, "lost": 0, "cols": 80, "rows": 24})).await;
            // A question to the terminal was left out of the replay: four bytes that count.
            socket.show(b"one").await;
            socket.tell(json!({"type": "replayed", "seq": 9})).await;
            socket.show(b"two").await;
        }),
        "GET shells/1/attach?after=12" => switch(call, |mut socket| async move {
            socket.tell(json!({"type": "attached", "seq": 12, "lost": 0, "cols": 80, "rows": 24})).await;
            socket.tell(json!({"type": "lagged", "seq": 20, "lost": 8})).await;
            socket.finish().await;
        }),
        "GET shells/1/attach?after=20" => switch(call, |mut socket| async move {
            socket.show(b"three").await;
            socket.tell(json!({"type": "exited", "exitCode": null, "signal": "SIGHUP"})).await;
        }),
        line => panic!("{line}"),
    })
    .await;
    // Input that never ends.
    let (_typing, typed) = std::sync::mpsc::channel::<()>();
    let outcome = world.run_with(&["shell", "ada", "--attach", "1"], Never(typed)).await;
    assert_eq!((outcome.code, outcome.text()), (129, "onetwothree"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("8 bytes were shown faster"), "{}", outcome.stderr);
}

struct Never(std::sync::mpsc::Receiver<()>);

impl std::io::Read for Never {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        let _ = self.0.recv();
        Ok(0)
    }
}

#[tokio::test]
async fn the_keys_leave_a_shell_that_runs_on() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "POST shells" => document(201, &info("1")),
        _ => switch(call, |mut socket| async move {
            assert_eq!(socket.typed().await.unwrap(), b"make\n");
            assert_eq!(socket.typed().await, None);
        }),
    })
    .await;
    let outcome =
        world.run_with(&["shell", "ada", "--detach-keys", "ctrl-x,d"], &b"make\n\x18dlost"[..]).await;
    assert_eq!(outcome.code, 0);
    assert!(outcome.stderr.contains("kubectl lodge shell --attach 1 ada -n team-a"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_shell_that_is_gone_when_the_connection_comes_back_is_reported() {
    let world = World::answering(|call| match call.count {
        1 => document(201, &info("1")),
        2 => switch(call, |socket| async move { drop(socket) }),
        _ => refused(ProblemCode::ShellNotFound, "there is no shell \"1\""),
    })
    .await;
    let (_typing, typed) = std::sync::mpsc::channel::<()>();
    let outcome = world.run_with(&["shell", "ada"], Never(typed)).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("its workspace has slept"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_permission_that_was_withdrawn_ends_a_shell_at_once() {
    let world = World::answering(|call| match call.count {
        1 => document(201, &info("1")),
        2 => switch(call, |socket| async move { drop(socket) }),
        3 => refused(ProblemCode::VmDied, "the VM ended"),
        _ => refused(ProblemCode::Forbidden, "you may not update workspaces/shells"),
    })
    .await;
    let (_typing, typed) = std::sync::mpsc::channel::<()>();
    let outcome = world.run_with(&["shell", "ada"], Never(typed)).await;
    assert_eq!((outcome.code, world.seen().len()), (125, 4));
    assert_eq!(outcome.stderr, "error: you may not update workspaces/shells\n");
}

#[tokio::test]
async fn who_may_not_have_a_shell_is_told() {
    for (code, detail) in [
        (ProblemCode::Forbidden, "user \"jane\" may not create workspaces/shells"),
        (ProblemCode::WorkspaceNotFound, "there is no workspace ada"),
        (ProblemCode::WorkspaceAsleep, "spec.power is Asleep"),
    ] {
        let world = World::new(move |_| refused(code, detail)).await;
        let outcome = world.run(&["shell", "ada"]).await;
        assert_eq!((outcome.code, outcome.stderr), (125, format!("error: {detail}\n")));
    }
}
