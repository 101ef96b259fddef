//! `ps`, `kill`, `top`, `events`, `wake`, `sleep`, `status`, `completion`.

use serde_json::{Value, json};
use vm_api::ProblemCode;

use crate::support::answer::{Answer, Then, bytes, document, events, refused};
use crate::support::world::{WORKSPACE, World};

fn process(pid: i32, parent: i32, depth: u32, argv: &[&str], state: &str) -> Value {
    json!({
        "pid": pid, "parent": parent, "group": pid, "session": pid, "argv": argv, "state": state, "depth": depth,
        "startedAt": "2026-01-01T00:00:00Z", "memoryBytes": 2048,
    })
}

fn processes() -> Value {
    json!({"items": [
        process(7, 0, 0, &["sh", "-c", "make"], "running"),
        process(8, 7, 1, &["make"], "running"),
        process(9, 0, 0, &["true"], "ended"),
    ]})
}

/// A workspace that is awake, with a few processes.
fn awake(line: &str) -> Answer {
    match line {
        "GET health" => document(200, &json!({"status": "ok", "version": "1"})),
        "GET processes" | "GET processes?tree" => document(200, &processes()),
        "GET shells" => document(200, &json!({"items": []})),
        line => panic!("{line}"),
    }
}

#[tokio::test]
async fn processes_are_a_tree() {
    let world = World::answering(|call| awake(&call.seen.line())).await;
    let outcome = world.run(&["ps", "ada"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(
        outcome.text().contains("running   sh -c make\n") && outcome.text().contains("running   └─ make\n")
    );
    assert!(!outcome.text().contains("true"), "{}", outcome.text());
    assert_eq!(world.run(&["ps", "ada", "-a", "-o", "name"]).await.text(), "7\n8\n9\n");
    let document: Value =
        serde_json::from_slice(&world.run(&["ps", "ada", "-o", "json"]).await.stdout).unwrap();
    assert_eq!(document["items"][1]["pid"], 8);
}

#[tokio::test]
async fn nothing_is_woken_to_see_what_runs() {
    let world = World::answering(|_| document(200, &json!({"status": "asleep", "version": "1"}))).await;
    for arguments in [&["ps", "ada"][..], &["top", "ada", "--interval", "0s"]] {
        let outcome = world.run(arguments).await;
        assert_eq!((outcome.code, outcome.stdout.len()), (0, 0));
        assert!(outcome.stderr.contains("nothing runs in it"), "{}", outcome.stderr);
    }
    assert!(world.lines().iter().all(|line| line == "GET health"), "{:?}", world.lines());
}

#[tokio::test]
async fn a_signal_goes_to_all_that_are_named() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "POST processes/8/kill" => refused(ProblemCode::ProcessNotFound, "there is no process 8"),
        _ => bytes(204, ""),
    })
    .await;
    let outcome = world.run(&["kill", "ada", "-s", "INT", "--group", "7", "8", "9"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (125, "error: there is no process 8\n"));
    assert_eq!(world.seen()[2].body(), json!({"signal": "INT", "group": true}));
    assert_eq!(world.run(&["kill", "ada", "-s", "9", "7"]).await.code, 0);
    assert_eq!(world.seen()[3].body(), json!({"signal": 9, "group": false}));
}

#[tokio::test]
async fn the_use_of_the_processor_is_measured_twice() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "GET processes?tree" => {
            // 10 ms in the first look, 50 s in the second: busy, whatever the interval.
            let mut processes = processes();
            processes["items"][0]["cpuMs"] = json!(10.0);
            processes["items"][1]["cpuMs"] = json!(if call.count < 4 { 10.0 } else { 50_000.0 });
            document(200, &processes)
        }
        line => awake(line),
    })
    .await;
    let outcome = world.run(&["top", "ada", "--interval", "200ms", "-o", "json"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let document: Value = serde_json::from_slice(&outcome.stdout).unwrap();
    assert_eq!((&document["items"][0]["pid"], &document["items"][1]["cpuMillis"]), (&json!(8), &json!(0)));
    assert!(document["items"][0]["cpuMillis"].as_u64().unwrap() > 1000);
    let counts = |line: &str| world.lines().iter().filter(|seen| *seen == line).count();
    assert_eq!((counts("GET health"), counts("GET processes?tree")), (2, 2), "and nothing is run");
}

#[tokio::test]
async fn workspaces_are_shown_without_asking_any_of_them() {
    let world = World::new(|_| panic!("nobody is asked")).await;
    world.put(
        "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces",
        json!({"apiVersion": "lodge.dev/v1alpha1", "kind": "WorkspaceList", "metadata": {}, "items": [
            {"metadata": {"name": "ada", "namespace": "team-a"}, "status": {"power": "Asleep"}},
            {"metadata": {"name": "bob", "namespace": "team-a"},
             "status": {"power": "Awake", "usage": {"processes": 3, "memoryBytes": 1_048_576}}},
        ]}),
    );
    let outcome = world.run(&["top"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    let lines: Vec<Vec<&str>> =
        outcome.text().lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["team-a", "bob", "Awake", "3", "1.0", "MiB", "-"]);
    assert_eq!(lines[2], ["team-a", "ada", "Asleep", "-", "-", "-"]);
}

#[tokio::test]
async fn events_are_shown_until_no_more_come() {
    let world = World::new(|_| {
        events(
            &[
                (4, json!({"type": "processStarted", "pid": 7, "argv": ["a", "b"]})),
                (5, json!({"type": "vmShutdown", "reason": "Idle"})),
            ],
            Then::Stays,
        )
    })
    .await;
    let outcome = world.run(&["events", "ada", "--after", "3"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert_eq!(outcome.text().lines().count(), 2);
    assert!(outcome.text().contains("argv=[a b] pid=7\n5      vmShutdown"), "{}", outcome.text());
    assert_eq!(world.lines(), ["GET events?after=3"]);
}

#[tokio::test]
async fn events_go_on_where_their_connection_broke() {
    let world = World::answering(|call| match call.count {
        1 => events(&[(4, json!({"type": "a"}))], Then::Breaks),
        2 => refused(ProblemCode::InvalidQuery, "after=4: the last event of this boot is 2"),
        3 => events(&[(1, json!({"type": "b"}))], Then::Ends),
        _ => refused(ProblemCode::Forbidden, "you may not"),
    })
    .await;
    let outcome = world.run(&["events", "ada", "-f", "-o", "json"]).await;
    assert_eq!(outcome.text(), "{\"number\":4,\"type\":\"a\"}\n{\"number\":1,\"type\":\"b\"}\n");
    assert!(
        outcome.stderr.contains("begin anew") && outcome.stderr.ends_with("error: you may not\n"),
        "{}",
        outcome.stderr
    );
    assert_eq!(
        world.lines(),
        ["GET events?after=0", "GET events?after=4", "GET events?after=0", "GET events?after=1"]
    );
}

fn state(power: &str, persistent: bool) -> Value {
    json!({
        "uid": "u", "namespace": "team-a", "name": "ada", "generation": 1, "epoch": 1, "power": power,
        "storage": {"persistent": persistent, "reason": "the runner has no volume"},
        "lastWake": {"at": "2026-01-01T00:00:00Z", "cause": "OnDemand", "queuedMs": 0, "bootedMs": 9},
    })
}

#[tokio::test]
async fn a_workspace_is_woken_and_put_to_sleep() {
    let world = World::answering(|call| match call.seen.line().as_str() {
        "POST wake" => document(200, &state("Awake", true)),
        "POST sleep" => document(200, &state("Asleep", false)),
        line => panic!("{line}"),
    })
    .await;
    assert_eq!(world.run(&["wake", "ada"]).await.text(), "workspace ada is awake (booted in 9 ms)\n");
    let slept = world.run(&["sleep", "ada"]).await;
    assert_eq!(slept.text(), "workspace ada sleeps; its files are gone (the runner has no volume)\n");
    let world = World::new(|_| refused(ProblemCode::WorkspaceKeptAwake, "spec.power is Awake")).await;
    let outcome = world.run(&["sleep", "ada"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (125, "error: spec.power is Awake\n"));
}

#[tokio::test]
async fn what_keeps_a_workspace_awake_is_asked_of_it() {
    let world = World::answering(|call| awake(&call.seen.line())).await;
    let object = json!({"apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": "ada"},
        "spec": {}, "status": {"power": "Awake", "conditions": [{"type": "Ready", "status": "True"}]}});
    world.put(WORKSPACE, object);
    let outcome = world.run(&["status", "ada"]).await;
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.text().contains("because 2 processes run:"), "{}", outcome.text());
    let document = world.run(&["status", "ada", "-o", "json"]).await;
    let document: Value = serde_json::from_slice(&document.stdout).unwrap();
    assert_eq!((&document["ready"], &document["awake"]["processes"][0]["pid"]), (&json!(true), &json!(7)));
}

#[tokio::test]
async fn who_may_not_see_processes_sees_the_rest_of_the_status() {
    let world = World::new(|_| refused(ProblemCode::Forbidden, "you may not get workspaces/processes")).await;
    let object = json!({"apiVersion": "lodge.dev/v1alpha1", "kind": "Workspace", "metadata": {"name": "ada"},
        "spec": {}, "status": {"power": "Awake", "conditions": [{"type": "Ready", "status": "True"}]}});
    world.put(WORKSPACE, object);
    let outcome = world.run(&["status", "ada"]).await;
    assert_eq!((outcome.code, outcome.stderr.as_str()), (0, ""));
    assert!(outcome.text().contains("why is not known: you may not get"), "{}", outcome.text());
}

#[tokio::test]
async fn completion_knows_shells_and_names_of_workspaces() {
    let world = World::new(|_| panic!("nobody is asked")).await;
    for (shell, part) in
        [("bash", "complete -F"), ("zsh", "#compdef"), ("fish", "complete -c"), ("kubectl", "__complete")]
    {
        let script = world.run(&["completion", shell]).await;
        assert!(script.code == 0 && script.text().contains(part), "{shell}");
    }
    world.put(
        "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces",
        json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": {},
               "items": [{"metadata": {"name": "ada"}}, {"metadata": {"name": "bob"}}]}),
    );
    let names = world.run(&["__complete", "exec", "a"]).await;
    assert_eq!((names.code, names.text()), (0, "ada\n:4\n"), "{}", names.stderr);
    let places = world.run(&["__complete", "cp", ""]).await;
    assert_eq!(places.text(), "ada:\nbob:\n:6\n");
    let commands = world.run(&["__complete", "sh"]).await;
    assert!(commands.text().starts_with("shell\tWork in a terminal"), "{}", commands.text());
    assert!(world.run(&["__complete", "exec", "-n", "nowhere", ""]).await.text() == ":4\n");
}
