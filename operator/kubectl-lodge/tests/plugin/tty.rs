//! The built program in a terminal of its own: raw mode, sizes, keys, signals.

use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::shell::info;
use crate::support::answer::{Then, bytes, document, events};
use crate::support::pty::Pty;
use crate::support::socket::{Socket, switch};
use crate::support::world::World;

/// What a shell of a test does with what it gets.
enum Got {
    Told(Value),
    Killed(Value),
}

/// A world with a shell: it shows `$ `, tells what it is told, ends at `exit`, breaks its connection at `break`.
async fn world() -> (World, mpsc::UnboundedReceiver<Got>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let world = World::answering(move |call| {
        let line = call.seen.line();
        let sender = sender.clone();
        match line.as_str() {
            "POST shells" => document(201, &info("1")),
            "GET shells/1" => document(200, &info("1")),
            "POST processes/7/kill" => {
                sender.send(Got::Killed(call.seen.body())).unwrap();
                bytes(204, "")
            }
            line if line.starts_with("GET shells/1/attach") => {
                let after = line.split_once("after=").map_or(0, |(_, after)| after.parse().unwrap());
                switch(call, move |socket| shell(socket, after, sender))
            }
            line => panic!("{line}"),
        }
    })
    .await;
    (world, receiver)
}

async fn shell(mut socket: Socket, after: u64, sender: mpsc::UnboundedSender<Got>) {
    socket.tell(json!({"type": "attached", "seq": after, "lost": 0, "cols": 80, "rows": 24})).await;
    let Some(size) = socket.told().await else { return };
    sender.send(Got::Told(size)).unwrap();
    socket.show(b"$ ").await;
    loop {
        match socket.next().await {
            Some(Ok(told)) => sender.send(Got::Told(told)).unwrap(),
            Some(Err(keys)) if keys == b"exit\r" => {
                socket.tell(json!({"type": "exited", "exitCode": 6})).await;
                return socket.finish().await;
            }
            Some(Err(keys)) if keys == b"break\r" => return,
            Some(Err(keys)) => socket.show(&keys).await,
            None => return,
        }
    }
}

async fn told(receiver: &mut mpsc::UnboundedReceiver<Got>) -> Value {
    match receiver.recv().await.unwrap() {
        Got::Told(value) | Got::Killed(value) => value,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_has_the_terminal_raw_and_gives_it_back_when_it_ends() {
    let (world, mut got) = world().await;
    let mut pty = Pty::start(&world, &["shell", "ada"]);
    pty.shows("$ ").await;
    pty.is_raw().await;
    assert_eq!(told(&mut got).await, json!({"type": "resize", "cols": 100, "rows": 30}));
    // Ctrl-c is a key like any other.
    pty.keys(b"\x03ok");
    pty.shows("\x03ok").await;
    pty.keys(b"exit\r");
    assert_eq!(pty.ends().await.code(), Some(6));
    pty.assert_restored();
    assert_eq!(world.seen()[0].body()["cols"], 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_size_of_the_window_is_told() {
    let (world, mut got) = world().await;
    let mut pty = Pty::start(&world, &["exec", "ada", "-it", "--", "vi"]);
    pty.shows("$ ").await;
    told(&mut got).await;
    pty.resize(132, 43);
    assert_eq!(told(&mut got).await, json!({"type": "resize", "cols": 132, "rows": 43}));
    pty.keys(b"exit\r");
    assert_eq!(pty.ends().await.code(), Some(6));
    pty.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_give_the_terminal_back_and_tell_how_to_return() {
    let (world, _got) = world().await;
    let mut pty = Pty::start(&world, &["shell", "ada"]);
    pty.shows("$ ").await;
    pty.keys(b"\x10\x11");
    assert_eq!(pty.ends().await.code(), Some(0));
    pty.shows("shell --attach 1 ada -n team-a").await;
    pty.assert_restored();
    let mut again = Pty::start(&world, &["shell", "ada", "--attach", "1"]);
    again.shows("$ ").await;
    again.keys(b"exit\r");
    assert_eq!(again.ends().await.code(), Some(6));
    again.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_comes_back_in_the_same_terminal() {
    let (world, _got) = world().await;
    let mut pty = Pty::start(&world, &["shell", "ada"]);
    pty.shows("$ ").await;
    pty.keys(b"break\r");
    pty.shows("$ $ ").await;
    assert!(world.lines().contains(&"GET shells/1/attach?after=2".to_owned()), "{:?}", world.lines());
    pty.keys(b"exit\r");
    assert_eq!(pty.ends().await.code(), Some(6));
    pty.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_leaves_a_shell_and_gives_the_terminal_back() {
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let (world, _got) = world().await;
        let mut pty = Pty::start(&world, &["shell", "ada"]);
        pty.shows("$ ").await;
        pty.is_raw().await;
        pty.signal(signal);
        assert_eq!(pty.ends().await.code(), Some(code));
        pty.assert_restored();
        assert!(!world.lines().iter().any(|line| line.contains("kill")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_sent_on_to_a_command_in_a_terminal() {
    let (world, mut got) = world().await;
    let mut pty = Pty::start(&world, &["exec", "ada", "-it", "--", "vi"]);
    pty.shows("$ ").await;
    told(&mut got).await;
    pty.signal(Signal::TERM);
    assert_eq!(told(&mut got).await, json!({"signal": "SIGTERM", "group": true}));
    pty.keys(b"exit\r");
    assert_eq!(pty.ends().await.code(), Some(6));
    pty.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_is_sent_on_to_a_command_and_the_third_one_ends_it() {
    let (sender, mut killed) = mpsc::unbounded_channel();
    let world = World::answering(move |call| match call.seen.line().as_str() {
        "POST exec" => {
            let messages =
                [(0, json!({"type": "started", "pid": 7})), (5, json!({"type": "stdout", "text": "going"}))];
            events(&messages, Then::Stays)
        }
        _ => {
            sender.send(call.seen.body()["signal"].clone()).unwrap();
            bytes(204, "")
        }
    })
    .await;
    let mut pty = Pty::start(&world, &["exec", "ada", "--", "make"]);
    pty.shows("going").await;
    for expected in ["SIGINT", "SIGINT", "SIGKILL"] {
        pty.signal(Signal::INT);
        assert_eq!(killed.recv().await.unwrap(), expected);
    }
    assert_eq!(pty.ends().await.code(), Some(130));
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_the_program_gives_the_terminal_back_until_it_goes_on() {
    let (world, _got) = world().await;
    let mut pty = Pty::start(&world, &["shell", "ada"]);
    pty.shows("$ ").await;
    pty.is_raw().await;
    pty.signal(Signal::TSTP);
    pty.is_cooked().await;
    pty.signal(Signal::CONT);
    pty.is_raw().await;
    pty.keys(b"exit\r");
    assert_eq!(pty.ends().await.code(), Some(6));
    pty.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_shows_how_far_it_is_to_who_watches() {
    let world = World::serving(|call| {
        Box::pin(async move {
            match call.seen.line().as_str() {
                "GET files/tmp/.?stat" => document(200, &json!({
                    "path": "/tmp", "type": "directory", "size": 0, "mode": "0755", "uid": 0, "gid": 0, "links": 1,
                    "inode": 1, "modified": "2026-01-01T00:00:00Z", "changed": "2026-01-01T00:00:00Z",
                    "accessed": "2026-01-01T00:00:00Z",
                })),
                line => {
                    assert!(line.ends_with("tmp/big?parents&mode=0644") || line == "PATCH files/tmp/big", "{line}");
                    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                    document(200, &json!({
                        "path": "/tmp/big", "type": "file", "size": 3, "mode": "0644", "uid": 0, "gid": 0, "links": 1,
                        "inode": 2, "modified": "2026-01-01T00:00:00Z", "changed": "2026-01-01T00:00:00Z",
                        "accessed": "2026-01-01T00:00:00Z",
                    }))
                }
            }
        })
    })
    .await;
    let file = world.home.path().join("big");
    std::fs::write(&file, vec![0; 3 << 20]).unwrap();
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&file, permissions).unwrap();
    let mut pty = Pty::start(&world, &["cp", file.to_str().unwrap(), "ada:/tmp"]);
    assert_eq!(pty.ends().await.code(), Some(0), "{}", pty.text());
    pty.shows("3.0 MiB of 3.0 MiB (100%)").await;
    let mut quiet = Pty::start(&world, &["cp", "-q", file.to_str().unwrap(), "ada:/tmp"]);
    assert_eq!((quiet.ends().await.code(), quiet.text().as_str()), (Some(0), ""));
}
