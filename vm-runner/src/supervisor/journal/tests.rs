//! The memory of a supervisor: what it opens, damage, marks, and what goes with a workspace.
#![expect(clippy::disallowed_methods, reason = "tests look at the data folder")]

use vm_api::{RunEnd, VmEvent};

use super::*;

fn uid(text: &str) -> Uid {
    text.parse().unwrap()
}

fn journal(root: &Path, uids: &[&str]) -> Journal {
    for uid in uids {
        std::fs::create_dir_all(root.join(uid)).unwrap();
    }
    Journal::start(root).unwrap()
}

fn started() -> Vec<Entry> {
    vec![Entry::of(VmEvent::ProcessStarted { pid: 2, argv: Vec::new() })]
}

fn run(name: &str) -> Run {
    Run { name: name.to_owned(), started_at: "2026-11-22T19:00:00Z".to_owned(), ..Run::default() }
}

fn open_files(root: &Path) -> usize {
    let links = std::fs::read_dir("/proc/self/fd").unwrap();
    links
        .filter_map(|link| std::fs::read_link(link.ok()?.path()).ok())
        .filter(|path| path.starts_with(root))
        .count()
}

#[tokio::test]
async fn asking_makes_no_database_and_many_workspaces_share_few_open_files() {
    let root = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..300).map(|number| format!("u{number}")).collect();
    let journal = journal(root.path(), &names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        let uid = uid(name);
        assert_eq!(journal.events(&uid, 1, 0, 10).await.unwrap(), Page::default());
        assert_eq!(journal.runs(&uid, 1).await.unwrap(), []);
        assert!(!root.path().join(name).join(FILE_NAME).exists());
        assert_eq!(journal.append(&uid, 1, started()).await.unwrap(), 1);
    }
    // A database, its log and its index.
    assert!(open_files(root.path()) <= THREADS * 32 * 3);
    for name in &names {
        assert_eq!(journal.append(&uid(name), 1, started()).await.unwrap(), 2, "{name}");
    }
}

#[tokio::test]
async fn a_damaged_database_is_put_aside_and_ids_go_on_growing() {
    let root = tempfile::tempdir().unwrap();
    let a = uid("a");
    let first = journal(root.path(), &["a"]);
    let last = first.append(&a, 1, started()).await.unwrap();
    first.flush().await;
    drop(first);
    let path = root.path().join("a").join(FILE_NAME);
    // Its thread closes it in its own time.
    while root.path().join("a/state.db-wal").exists() {
        tokio::task::yield_now().await;
    }
    std::fs::write(&path, vec![b'x'; 16 << 10]).unwrap();
    let second = Journal::start(root.path()).unwrap();
    let page = second.events(&a, 1, 0, 10).await.unwrap();
    assert_eq!((page.items.len(), page.lost), (0, 0));
    assert!(second.append(&a, 1, started()).await.unwrap() > last);
    assert_eq!(second.begin_run(&a, 1, run("r")).await.unwrap(), Begun::New);
    let aside = std::fs::read(root.path().join("a").join(DAMAGED_NAME)).unwrap();
    assert_eq!(aside[0], b'x');
}

#[tokio::test]
async fn a_mark_shows_which_workspaces_have_runs_going_on() {
    let root = tempfile::tempdir().unwrap();
    let a = uid("a");
    let first = journal(root.path(), &["a"]);
    first.begin_run(&a, 1, run("r")).await.unwrap();
    first.begin_run(&a, 1, run("s")).await.unwrap();
    let end = |name: &str| Run { end: Some(RunEnd::Exited), ..run(name) };
    first.end_run(&a, 1, end("r")).await.unwrap();
    assert!(mark(root.path(), &a).exists());
    drop(first);
    let second = Journal::start(root.path()).unwrap();
    let lost = second.settle(&a, 1).await.unwrap();
    assert_eq!((lost.len(), lost[0].name.as_str(), lost[0].end), (1, "s", Some(RunEnd::Lost)));
    assert!(!mark(root.path(), &a).exists());
    second.begin_run(&a, 1, run("t")).await.unwrap();
    second.end_run(&a, 1, end("t")).await.unwrap();
    assert!(!mark(root.path(), &a).exists());
}

#[tokio::test]
async fn a_workspace_that_is_made_anew_knows_nothing_of_the_old_one() {
    let root = tempfile::tempdir().unwrap();
    let a = uid("a");
    let journal = journal(root.path(), &["a"]);
    journal.begin_run(&a, 1, run("r")).await.unwrap();
    std::fs::remove_dir_all(root.path().join("a")).unwrap();
    journal.forget(&a).await.unwrap();
    assert!(matches!(journal.append(&a, 1, started()).await, Err(Error::NoFolder)));
    assert!(!root.path().join("a").exists() && !mark(root.path(), &a).exists());
    std::fs::create_dir(root.path().join("a")).unwrap();
    assert_eq!(journal.begin_run(&a, 1, run("r")).await.unwrap(), Begun::New);
}

#[tokio::test]
async fn a_supervisor_that_was_replaced_begins_no_run_even_before_the_next_one_writes() {
    let root = tempfile::tempdir().unwrap();
    let a = uid("a");
    let journal = journal(root.path(), &["a"]);
    journal.append(&a, 1, started()).await.unwrap();
    std::fs::write(root.path().join("a/epoch"), "2").unwrap();
    let is_stale = |error: Error| matches!(error, Error::Stale { theirs: 2, ours: 1 });
    assert!(is_stale(journal.begin_run(&a, 1, run("r")).await.unwrap_err()));
    assert!(is_stale(journal.append(&a, 1, started()).await.unwrap_err()));
    assert_eq!(journal.begin_run(&a, 2, run("r")).await.unwrap(), Begun::New);
}
