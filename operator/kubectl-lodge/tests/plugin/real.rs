//! The plugin against a real runner: what it believes about the wire is true.

use std::io::Read;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, UNIX_EPOCH};

use serde_json::Value;

use crate::support::pty::Pty;
use crate::support::runner::Runner;

/// Standard input that is not there at once.
struct Late<R>(Option<R>);

impl<R: Read> Read for Late<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        std::thread::sleep(Duration::from_millis(150));
        match &mut self.0 {
            Some(inner) => {
                let count = inner.read(buffer)?;
                self.0 = self.0.take().filter(|_| count > 0);
                Ok(count)
            }
            None => Ok(0),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the software folder and the release build of vm-runner"]
async fn commands_run_with_their_streams_and_codes() {
    let runner = Runner::start().await;
    let world = &runner.world;
    let outcome = world.run(&["exec", "ada", "-c", "echo out; echo err >&2; exit 3"]).await;
    assert_eq!((outcome.code, outcome.text(), outcome.stderr.as_str()), (3, "out\n", "err\n"));
    let missing = world.run(&["exec", "ada", "--", "frobnicate"]).await;
    assert_eq!(missing.code, 127, "{}", missing.stderr);
    let short = world.run_with(&["exec", "ada", "-i", "--", "cat"], &b"short\xff"[..]).await;
    assert_eq!((short.code, &short.stdout[..]), (0, &b"short\xff"[..]));
    let late = world.run_with(&["exec", "ada", "-i", "--", "cat"], Late(Some(&b"late\xff"[..]))).await;
    assert_eq!((late.code, &late.stdout[..], late.stderr.as_str()), (0, &b"late\xff"[..], ""));
    let long: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    let echoed =
        world.run_with(&["exec", "ada", "-i", "--", "cat"], std::io::Cursor::new(long.clone())).await;
    assert_eq!((echoed.code, echoed.stdout == long, echoed.stderr.as_str()), (0, true, ""));
    let unread =
        world.run_with(&["exec", "ada", "-i", "--", "head", "-c", "3"], std::io::Cursor::new(long)).await;
    assert_eq!((unread.code, unread.stdout.len(), unread.stderr.as_str()), (0, 3, ""));
    let terminal =
        world.run_with(&["exec", "ada", "-it", "-c", "read x; echo got $x; exit 7"], &b"abc\n"[..]).await;
    assert!(
        terminal.code == 7 && terminal.text().contains("got abc"),
        "{} {}",
        terminal.code,
        terminal.text()
    );
    let limited = world.run(&["exec", "ada", "--timeout", "300ms", "--", "sleep", "60"]).await;
    assert_eq!(limited.code, 124, "{}", limited.stderr);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the software folder and the release build of vm-runner"]
async fn files_and_folders_come_back_as_they_were() {
    let runner = Runner::start().await;
    let world = &runner.world;
    let home = world.home.path();
    let path = |name: &str| home.join(name).to_str().unwrap().to_owned();
    let big: Vec<u8> =
        (0..32_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    std::fs::write(home.join("big"), &big).unwrap();
    let time = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    std::fs::File::open(home.join("big")).unwrap().set_modified(time).unwrap();
    std::fs::set_permissions(home.join("big"), std::fs::Permissions::from_mode(0o700)).unwrap();
    for arguments in [["cp", &path("big"), "ada:"], ["cp", "ada:big", &path("back")]] {
        let outcome = world.run(&arguments).await;
        assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    }
    assert!(std::fs::read(home.join("back")).unwrap() == big);
    let found = std::fs::metadata(home.join("back")).unwrap();
    assert_eq!(
        (found.mode() & 0o777, found.mtime(), found.mtime_nsec()),
        (0o700, 1_700_000_000, 123_456_789)
    );

    std::fs::create_dir_all(home.join("tree/a/b")).unwrap();
    std::fs::write(home.join("tree/a/b/run.sh"), "#!/bin/sh\necho ran\n").unwrap();
    std::fs::set_permissions(home.join("tree/a/b/run.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("b/run.sh", home.join("tree/a/link")).unwrap();
    std::fs::write(home.join("tree").join("n".repeat(180)), "x").unwrap();
    std::fs::File::open(home.join("tree/a/b")).unwrap().set_modified(time).unwrap();
    let outcome = world.run(&["cp", &path("tree"), "ada:new/place/"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let ran = world.run(&["exec", "ada", "-c", "new/place/tree/a/link"]).await;
    assert_eq!(ran.text(), "ran\n", "{}", ran.stderr);
    let outcome = world.run(&["cp", "ada:new/place/tree", &path("again")]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(std::fs::read_link(home.join("again/a/link")).unwrap().to_str(), Some("b/run.sh"));
    assert_eq!(std::fs::metadata(home.join("again/a/b/run.sh")).unwrap().mode() & 0o777, 0o755);
    assert_eq!(std::fs::metadata(home.join("again/a/b")).unwrap().modified().unwrap(), time);
    assert!(home.join("again").join("n".repeat(180)).exists());

    let listed = world.run(&["ls", "ada:new", "-R", "-o", "name"]).await;
    assert!(listed.text().contains("place/tree/a/b/run.sh\n"), "{}", listed.text());
    let piped = world.run_with(&["cp", "-", "ada:/tmp/in"], &b"from here"[..]).await;
    assert_eq!((piped.code, piped.stderr.as_str()), (0, ""));
    assert_eq!(world.run(&["cat", "ada:/tmp/in"]).await.text(), "from here");
    let edited = world.run(&["edit", "ada:/tmp/in", "--editor", "printf new >"]).await;
    assert_eq!(edited.code, 0, "{}", edited.stderr);
    assert_eq!(world.run(&["cat", "ada:/tmp/in"]).await.text(), "new");
    let missing = world.run(&["cp", "ada:/none", &path("none")]).await;
    assert!(missing.code == 125 && missing.stderr.contains("/none"), "{}", missing.stderr);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the software folder and the release build of vm-runner"]
async fn what_runs_is_seen_measured_and_ended() {
    let runner = Runner::start().await;
    let world = &runner.world;
    let busy = world.run(&["shell", "ada", "--detach", "--", "sh", "-c", "while :; do :; done"]).await;
    assert_eq!(busy.code, 0, "{}", busy.stderr);
    let top = world.run(&["top", "ada", "--interval", "500ms", "-o", "json"]).await;
    let document: Value = serde_json::from_slice(&top.stdout).unwrap();
    let first = &document["items"][0];
    assert!(first["cpuMillis"].as_u64().unwrap() > 100, "{document}");
    let status = world.run(&["status", "ada"]).await;
    assert!(
        status.text().contains("because a process runs") && status.text().contains("while :"),
        "{}",
        status.text()
    );
    let pid = first["pid"].to_string();
    assert_eq!(world.run(&["kill", "ada", "-s", "KILL", &pid]).await.code, 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let events = world.run(&["events", "ada"]).await;
    assert!(
        events.text().contains("shellStarted") && events.text().contains("shellExit"),
        "{}",
        events.text()
    );
    let slept = world.run(&["sleep", "ada"]).await;
    assert!(slept.text().starts_with("workspace ada sleeps"), "{} {}", slept.text(), slept.stderr);
    assert!(world.run(&["ps", "ada"]).await.stderr.contains("nothing runs in it"));
    assert!(world.run(&["wake", "ada"]).await.text().starts_with("workspace ada is awake"));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the software folder and the release build of vm-runner"]
async fn a_shell_is_left_and_found_again_in_a_terminal() {
    let runner = Runner::start().await;
    let world = &runner.world;
    let mut pty = Pty::start(world, &["shell", "ada"]);
    pty.is_raw().await;
    pty.keys(b"echo 4$((1+1))x\r");
    pty.shows("42x").await;
    let list = world.run(&["shell", "ada", "--list", "-o", "wide"]).await;
    assert!(list.text().contains("100x30"), "{}", list.text());
    pty.keys(b"\x10\x11");
    assert_eq!(pty.ends().await.code(), Some(0));
    pty.assert_restored();
    let list = world.run(&["shell", "ada", "--list", "-o", "name"]).await;
    let id = list.text().trim().to_owned();
    let mut again = Pty::start(world, &["shell", "ada", "--attach", &id]);
    again.shows("42x").await;
    again.resize(77, 20);
    again.keys(b"\recho 4$((2+1))y\r");
    again.shows("43y").await;
    let list = world.run(&["shell", "ada", "--list", "-o", "wide"]).await;
    assert!(list.text().contains("77x20"), "{}", list.text());
    again.keys(b"exit 9\r");
    assert_eq!(again.ends().await.code(), Some(9));
    again.assert_restored();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the software folder and the release build of vm-runner"]
async fn a_signal_reaches_the_command() {
    let runner = Runner::start().await;
    let mut pty =
        Pty::start(&runner.world, &["exec", "ada", "-c", "echo ready; while :; do sleep 0.1; done"]);
    pty.shows("ready").await;
    pty.signal(rustix::process::Signal::TERM);
    assert_eq!(pty.ends().await.code(), Some(143), "{}", pty.text());
    let left = runner.world.run(&["ps", "ada", "-o", "name"]).await;
    assert_eq!(left.text(), "", "what the command had started is gone, too");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the software folder and the release build of vm-runner"]
async fn output_whose_connection_broke_is_whole_and_the_command_ran_once() {
    let runner = Runner::start_cutting().await;
    let script = "echo run >> runs; i=0; while [ $i -lt 40 ]; do head -c 20000 /dev/zero | tr '\\0' x; echo $i; i=$((i+1)); done; exit 5";
    let outcome = runner.world.run(&["exec", "ada", "-c", script]).await;
    let expected: String = (0..40).map(|number| format!("{}{number}\n", "x".repeat(20_000))).collect();
    assert_eq!((outcome.code, outcome.text() == expected, outcome.stderr.as_str()), (5, true, ""));
    assert!(runner.world.lines().iter().any(|line| line.starts_with("GET processes/")), "it was cut");
    assert_eq!(runner.world.run(&["cat", "ada:runs"]).await.text(), "run\n");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the software folder and the release build of vm-runner"]
async fn two_at_one_shell_see_the_same() {
    let runner = Runner::start().await;
    let world = &runner.world;
    let mut one = Pty::start(world, &["shell", "ada"]);
    one.is_raw().await;
    one.keys(b"echo o$((0+1))ne\r");
    one.shows("o1ne").await;
    let id = world.run(&["shell", "ada", "--list", "-o", "name"]).await.text().trim().to_owned();
    let mut two = Pty::start(world, &["shell", "ada", "--attach", &id]);
    two.shows("o1ne").await;
    two.keys(b"echo t$((1+1))wo\r");
    one.shows("t2wo").await;
    one.keys(b"exit 4\r");
    assert_eq!((one.ends().await.code(), two.ends().await.code()), (Some(4), Some(4)));
    one.assert_restored();
    two.assert_restored();
}
