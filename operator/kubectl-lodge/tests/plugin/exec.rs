//! `exec`: output, input, signals, and connections that break.

use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use serde_json::json;
use vm_api::ProblemCode;

use crate::support::answer::{Then, bytes, document, events, exited, refused};
use crate::support::world::World;

#[tokio::test]
async fn output_of_both_streams_arrives_byte_by_byte() {
    let world = World::new(|_| {
        events(
            &[
                (0, json!({"type": "started", "pid": 7})),
                (2, json!({"type": "stdout", "base64": "/wA="})),
                (5, json!({"type": "stderr", "text": "no\n"})),
                (6, json!({"type": "exited", "exitCode": null, "signal": "SIGTERM"})),
            ],
            Then::Ends,
        )
    })
    .await;
    let outcome = world.run(&["exec", "ada", "--", "x"]).await;
    assert_eq!((outcome.code, &outcome.stdout[..], outcome.stderr.as_str()), (143, &b"\xff\0"[..], "no\n"));
    assert_eq!(world.seen()[0].header("accept"), Some("text/event-stream"));
}

#[tokio::test]
async fn output_goes_on_where_its_connection_broke_and_the_command_runs_once() {
    let world = World::answering(|call| match call.count {
        1 => events(
            &[(0, json!({"type": "started", "pid": 7})), (2, json!({"type": "stdout", "text": "a\n"}))],
            Then::Breaks,
        ),
        2 => events(&[(4, json!({"type": "stdout", "text": "b\n"}))], Then::Ends),
        _ => events(&[(5, json!({"type": "exited", "exitCode": 4}))], Then::Ends),
    })
    .await;
    let outcome = world.run(&["exec", "ada", "--", "x"]).await;
    assert_eq!((outcome.code, outcome.text(), outcome.stderr.as_str()), (4, "a\nb\n", ""));
    assert_eq!(
        world.lines(),
        ["POST exec", "GET processes/7/output?after=2", "GET processes/7/output?after=4"]
    );
}

#[tokio::test]
async fn a_command_that_may_have_run_is_not_run_again() {
    let world = World::new(|_| events(&[], Then::Breaks)).await;
    let outcome = world.run(&["exec", "ada", "--", "x"]).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("it may or may not have run"), "{}", outcome.stderr);
    assert_eq!(world.seen().len(), 1);
}

#[tokio::test]
async fn a_command_that_nobody_knows_any_more_is_reported() {
    let world = World::answering(|call| match call.count {
        1 => events(&[(0, json!({"type": "started", "pid": 7}))], Then::Breaks),
        _ => refused(ProblemCode::ProcessNotFound, "there is no process 7"),
    })
    .await;
    let outcome = world.run(&["exec", "ada", "--", "x"]).await;
    assert_eq!(outcome.code, 125);
    assert!(outcome.stderr.contains("its workspace has slept"), "{}", outcome.stderr);
}

#[tokio::test]
async fn output_that_was_lost_is_never_taken_for_all_of_it() {
    let world = World::new(|_| {
        events(
            &[(0, json!({"type": "started", "pid": 7})), (9, json!({"type": "lost", "bytes": 9}))],
            Then::Ends,
        )
    })
    .await;
    let outcome = world.run(&["exec", "ada", "--", "x"]).await;
    assert_eq!((outcome.code, outcome.stderr.contains("9 bytes")), (125, true), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_time_limit_has_the_code_of_timeout() {
    let world = World::new(|_| {
        events(&[(1, json!({"type": "exited", "signal": "SIGKILL", "timedOut": true}))], Then::Ends)
    })
    .await;
    let outcome = world.run(&["exec", "ada", "--timeout", "1s", "--", "x"]).await;
    assert_eq!(outcome.code, 124);
    assert!(outcome.stderr.contains("spec.limits.commandTimeout"), "{}", outcome.stderr);
}

#[tokio::test]
async fn a_limit_that_made_a_command_fail_is_named() {
    let world = World::new(|_| {
        events(&[(1, json!({"type": "exited", "exitCode": 1, "limit": "spec.limits.memory"}))], Then::Ends)
    })
    .await;
    let outcome = world.run(&["exec", "ada", "--", "x"]).await;
    let note = "note: the command ran into spec.limits.memory of the workspace\n";
    assert_eq!((outcome.code, outcome.stderr.as_str()), (1, note));
}

/// Standard input that goes on until it is told to end.
struct Slow(mpsc::Receiver<Vec<u8>>);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let Ok(bytes) = self.0.recv() else { return Ok(0) };
        buffer[..bytes.len()].copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn long_input_is_streamed_and_ended() {
    let (typing, typed) = mpsc::channel();
    let typing = Arc::new(Mutex::new(Some(typing)));
    let (hand, posts) = (Arc::clone(&typing), Arc::new(AtomicUsize::new(0)));
    let world = World::serving(move |call| {
        let (hand, posts) = (Arc::clone(&hand), Arc::clone(&posts));
        Box::pin(async move {
            match call.seen.line().as_str() {
                "POST processes" => document(201, &process(7)),
                "GET processes/7/output?after=0" => {
                    // Output and input go on beside each other: the first output brings the second input.
                    while posts.load(Ordering::SeqCst) < 1 {
                        tokio::task::yield_now().await;
                    }
                    // Asked for again when the input has come to its end meanwhile.
                    if let Some(typing) = hand.lock().unwrap().take() {
                        typing.send(b"two".to_vec()).unwrap();
                    }
                    while posts.load(Ordering::SeqCst) < 3 {
                        tokio::task::yield_now().await;
                    }
                    events(
                        &[
                            (3, json!({"type": "stdout", "text": "out"})),
                            (4, json!({"type": "exited", "exitCode": 0})),
                        ],
                        Then::Ends,
                    )
                }
                line => {
                    assert!(line.starts_with("POST processes/7/stdin"), "{line}");
                    posts.fetch_add(1, Ordering::SeqCst);
                    document(200, &json!({"bytes": call.seen.bytes.len()}))
                }
            }
        })
    })
    .await;
    typing.lock().unwrap().as_ref().unwrap().send(b"one".to_vec()).unwrap();
    let outcome = world.run_with(&["exec", "ada", "-i", "--", "cat"], Slow(typed)).await;
    assert_eq!((outcome.code, outcome.text(), outcome.stderr.as_str()), (0, "out", ""));
    let sent: Vec<_> = world
        .seen()
        .iter()
        .filter(|seen| seen.line().contains("stdin"))
        .map(|seen| (seen.line(), seen.bytes.to_vec()))
        .collect();
    let line = "POST processes/7/stdin".to_owned();
    assert_eq!(
        sent,
        [(line.clone(), b"one".to_vec()), (line.clone(), b"two".to_vec()), (format!("{line}?close"), vec![])]
    );
    assert_eq!(world.seen()[0].body()["stdin"], "pipe");
}

#[tokio::test]
async fn input_that_nobody_reads_any_more_is_no_failure() {
    let world = World::serving(|call| {
        Box::pin(async move {
            match call.seen.line().as_str() {
                "POST processes" => document(201, &process(7)),
                "GET processes/7/output?after=0" => {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    events(&[(1, json!({"type": "exited", "exitCode": 0}))], Then::Ends)
                }
                _ => refused(ProblemCode::StdinClosed, "it has closed its standard input"),
            }
        })
    })
    .await;
    let input = std::io::repeat(b'x').take(3 << 20);
    let outcome = world.run_with(&["exec", "ada", "-i", "--", "true"], input).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
}

#[tokio::test]
async fn input_of_which_it_is_not_known_what_arrived_ends_the_command() {
    let world = World::serving(|call| {
        Box::pin(async move {
            match call.seen.line().as_str() {
                "POST processes" => document(201, &process(7)),
                "GET processes/7/output?after=0" => events(&[], Then::Stays),
                "POST processes/7/kill" => bytes(204, ""),
                // The connection ends in the middle of the answer.
                _ => {
                    let mut answer = events(&[], Then::Breaks);
                    answer.headers_mut().insert("content-length", "100".parse().unwrap());
                    answer
                }
            }
        })
    })
    .await;
    let input = std::io::repeat(b'x').take(3 << 20);
    let outcome = world.run_with(&["exec", "ada", "-i", "--", "cat"], input).await;
    assert_eq!(outcome.code, 125, "{}", outcome.stderr);
    assert!(world.lines().contains(&"POST processes/7/kill".to_owned()), "{:?}", world.lines());
}

#[tokio::test]
async fn who_is_told_to_wait_waits_as_long() {
    for code in [ProblemCode::LimitWorkspaceRequests, ProblemCode::RunnerUnreachable] {
        let world =
            World::new(move |count| if count == 1 { refused(code, "later") } else { exited(0, "") }).await;
        let began = std::time::Instant::now();
        let outcome = world.run(&["exec", "ada", "--", "true"]).await;
        assert_eq!(
            (outcome.code, outcome.stderr.as_str()),
            (0, "waiting up to 1m for workspace ada: later\n")
        );
        assert!(began.elapsed() >= std::time::Duration::from_secs(1));
        assert_eq!(world.seen().len(), 2);
    }
}

fn process(pid: i32) -> serde_json::Value {
    json!({
        "pid": pid, "parent": 0, "group": pid, "session": pid, "argv": ["cat"], "state": "running",
        "startedAt": "2026-01-01T00:00:00Z", "memoryBytes": 0,
    })
}
