//! One database: what it keeps, and for whom.
#![expect(clippy::disallowed_methods, reason = "tests look at the data folder")]

use vm_api::{LoggedEvent, WakeCause};

use super::*;

const FIRST: Owner<'_> = Owner { life: "first", epoch: 1 };

fn open(folder: &Path, owner: Owner<'_>) -> Database {
    Database::open(folder, owner, 0).unwrap()
}

fn run(name: &str) -> Run {
    Run { name: name.to_owned(), started_at: "2026-11-22T19:00:00Z".to_owned(), ..Run::default() }
}

fn ended(name: &str, end: RunEnd) -> Run {
    Run { finished_at: Some("2026-11-22T19:00:01Z".to_owned()), end: Some(end), ..run(name) }
}

fn output(pid: i32, seq: u64) -> Entry {
    Entry::of(VmEvent::ProcessOutput { pid, seq })
}

fn started(pid: i32) -> Entry {
    Entry::of(VmEvent::ProcessStarted { pid, argv: vec!["x".repeat(100)] })
}

fn event_of(text: &str) -> VmEvent {
    serde_json::from_str::<LoggedEvent>(text).unwrap().event
}

#[test]
fn ids_grow_over_supervisors_and_only_the_last_notice_of_output_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = open(folder.path(), FIRST);
    assert_eq!(database.append(1, &[started(2), output(2, 1), output(3, 7), output(2, 5)]).unwrap(), 4);
    drop(database);
    let mut database = open(folder.path(), Owner { life: "second", epoch: 1 });
    assert_eq!(database.append(1, &[output(2, 9)]).unwrap(), 5);
    let page = database.events(0, 10).unwrap();
    let ids: Vec<_> = page.items.iter().map(|(id, _)| *id).collect();
    assert_eq!((ids, page.lost, page.last), (vec![1, 3, 5], 0, 5));
    assert_eq!(event_of(&page.items[2].1), VmEvent::ProcessOutput { pid: 2, seq: 9 });
    let page = database.events(3, 10).unwrap();
    assert_eq!((page.items.len(), page.lost), (1, 0));
}

#[test]
fn old_events_go_and_who_comes_late_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = open(folder.path(), FIRST);
    let all = 3 * MAX_EVENTS;
    for _ in 0..all / 64 {
        database.append(1, &(0..64).map(started).collect::<Vec<_>>()).unwrap();
    }
    assert!(database.events <= MAX_EVENTS + MAX_EVENTS / SLACK && database.bytes <= MAX_EVENT_BYTES);
    let page = database.events(5, 10).unwrap();
    assert_eq!(page.items[0].0, 5 + page.lost + 1);
    assert_eq!((page.from, page.last), (5 + page.lost, all));
    let counted = (database.events, database.bytes, database.last, database.floor);
    drop(database);
    let database = open(folder.path(), FIRST);
    assert_eq!((database.events, database.bytes, database.last, database.floor), counted);
    let size = std::fs::metadata(folder.path().join(FILE_NAME)).unwrap().len();
    assert!(size < 4 << 20, "{size}");
}

#[test]
fn a_run_begins_once_and_is_known_when_it_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = open(folder.path(), FIRST);
    assert_eq!(database.begin_run(1, &run("a")).unwrap(), Begun::New);
    assert_eq!(database.begin_run(1, &run("a")).unwrap(), Begun::Known(run("a")));
    assert_eq!(database.begin_run(1, &run("b")).unwrap(), Begun::New);
    let end = Run { exit_code: Some(3), output_tail: "done\n".to_owned(), ..ended("a", RunEnd::Exited) };
    assert!(database.end_run(1, &end).unwrap(), "the other goes on");
    assert_eq!(database.begin_run(1, &run("a")).unwrap(), Begun::Known(end.clone()));
    assert_eq!(database.runs().unwrap(), [run("b"), end]);
    assert!(!database.end_run(1, &ended("b", RunEnd::TimedOut)).unwrap());
    // It has ended, and stays as it is.
    database.end_run(1, &ended("b", RunEnd::Lost)).unwrap();
    assert_eq!(database.run("b").unwrap(), Some(ended("b", RunEnd::TimedOut)));
}

#[test]
fn as_many_runs_are_remembered_as_was_promised() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = open(folder.path(), FIRST);
    database.begin_run(1, &run("goes-on")).unwrap();
    for number in 0..KEPT_FINISHED + 10 {
        let name = format!("r{number}");
        database.begin_run(1, &run(&name)).unwrap();
        database.end_run(1, &ended(&name, RunEnd::Exited)).unwrap();
    }
    assert_eq!(database.runs().unwrap().len(), KEPT_FINISHED + 1);
    assert!(database.run("r9").unwrap().is_none() && database.run("r10").unwrap().is_some());
    assert!(database.run("goes-on").unwrap().is_some());
}

#[test]
fn what_another_supervisor_left_is_settled_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut database = open(folder.path(), FIRST);
    let booted = VmEvent::VmBooted { cause: WakeCause::Cron, queued_ms: 0, booted_ms: 1 };
    database.append(1, &[Entry::of(booted)]).unwrap();
    database.begin_run(1, &run("a")).unwrap();
    database.put_away();
    let mut database = open(folder.path(), FIRST);
    assert_eq!(database.take_lost(), [], "it is the same supervisor");
    drop(database);
    let second = Owner { life: "second", epoch: 1 };
    let mut database = open(folder.path(), second);
    let lost = database.take_lost();
    assert_eq!((lost.len(), lost[0].end, lost[0].name.as_str()), (1, Some(RunEnd::Lost), "a"));
    assert_eq!(database.run("a").unwrap().unwrap(), lost[0]);
    let last: Vec<_> = database.events(2, 10).unwrap().items;
    assert!(matches!(event_of(&last[0].1), VmEvent::CronRun { end: Some(RunEnd::Lost), .. }));
    assert!(matches!(event_of(&last[1].1), VmEvent::VmShutdown { reason: None, message: Some(_) }));
    drop(database);
    assert_eq!(open(folder.path(), Owner { life: "third", epoch: 1 }).last, 4);
}

#[test]
fn a_supervisor_that_was_replaced_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut old = open(folder.path(), FIRST);
    old.begin_run(1, &run("before")).unwrap();
    let mut new = open(folder.path(), Owner { life: "second", epoch: 2 });
    assert_eq!(new.take_lost().len(), 1);
    let is_stale = |error: Error| matches!(error, Error::Stale { theirs: 2, ours: 1 });
    assert!(is_stale(old.append(1, &[started(2)]).unwrap_err()));
    assert!(is_stale(old.begin_run(1, &run("late")).unwrap_err()));
    assert!(is_stale(old.end_run(1, &ended("before", RunEnd::Exited)).unwrap_err()));
    assert!(is_stale(Database::open(folder.path(), FIRST, 0).unwrap_err()));
    assert_eq!(new.run("before").unwrap().unwrap().end, Some(RunEnd::Lost));
    assert!(new.run("late").unwrap().is_none());
    // Bound anew to the same supervisor.
    new.append(3, &[started(2)]).unwrap();
    assert!(matches!(new.append(2, &[started(2)]).unwrap_err(), Error::Stale { theirs: 3, ours: 2 }));
}

#[test]
fn a_newer_version_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path(), FIRST));
    let connection = Connection::open(folder.path().join(FILE_NAME)).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = Database::open(folder.path(), FIRST, 0).unwrap_err();
    assert!(matches!(error, Error::Newer(99)) && !error.is_damage(), "{error}");
    assert!(matches!(Database::open(&folder.path().join("none"), FIRST, 0).unwrap_err(), Error::NoFolder));
}
