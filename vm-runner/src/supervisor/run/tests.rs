//! Runs of a runner that can boot nothing: what is remembered, refused and told.

use vm_api::{ExecRequest, WorkspaceConfig};

use super::*;
use crate::supervisor::registry::Registry;

/// Runs of a runner that can boot nothing.
struct World {
    data: tempfile::TempDir,
    registry: Arc<Registry>,
    runs: Arc<Runs>,
    uid: Uid,
}

impl World {
    async fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let fleet = Fleet::for_tests(data.path());
        let registry = Registry::new(Arc::clone(&fleet), Vec::new(), 10, CancellationToken::new());
        let uid: Uid = "a".parse().unwrap();
        let config = WorkspaceConfig { epoch: 3, ..WorkspaceConfig::new("test", "a") };
        registry.put(&uid, config).await.unwrap();
        Self { runs: Runs::new(fleet, CancellationToken::new()), data, registry, uid }
    }

    async fn begin(&self, name: &str, epoch: u64) -> Result<(Run, bool), Problem> {
        let workspace = self.registry.get(&self.uid).unwrap();
        let request = RunRequest { epoch, exec: ExecRequest::command("true") };
        self.runs.begin(workspace, &self.uid, name, request).await
    }
}

#[tokio::test]
async fn a_run_that_could_not_be_begun_says_why_and_is_not_tried_again() {
    let world = World::new().await;
    let mut changes = world.runs.fleet.changes.subscribe();
    let (run, begins) = world.begin("r", 3).await.unwrap();
    assert!(begins && !run.is_finished());
    let end = loop {
        match &*changes.recv().await.unwrap() {
            WorkspaceChange::Run { run, .. } if run.is_finished() => break run.clone(),
            _ => {}
        }
    };
    assert_eq!((end.end, end.exit_code), (Some(RunEnd::NotStarted), None));
    assert!(end.output_tail.contains("could not be started"), "{}", end.output_tail);
    let (again, begins) = world.begin("r", 3).await.unwrap();
    assert_eq!((&again, begins), (&*end, false));
    assert_eq!(world.runs.get(&world.uid, 3, "r").await.unwrap(), *end);
    assert_eq!(world.runs.stop(&world.uid, 3, "r").await.unwrap(), *end);
    assert_eq!(world.runs.list(&world.uid, 3).await.unwrap(), [*end]);
    assert_eq!(world.runs.to_tell(), []);
}

#[tokio::test]
async fn of_many_who_ask_at_once_one_begins_the_run() {
    let world = World::new().await;
    let answers = futures::future::join_all((0..20).map(|_| world.begin("r", 3))).await;
    let begun = answers.iter().filter(|answer| answer.as_ref().unwrap().1).count();
    assert_eq!(begun, 1, "{answers:?}");
}

#[tokio::test]
async fn an_order_for_another_epoch_or_of_no_name_is_refused() {
    let world = World::new().await;
    assert!(world.begin("r", 2).await.unwrap_err().is(ProblemCode::StaleEpoch));
    assert!(world.begin("r", 4).await.unwrap_err().is(ProblemCode::WorkspaceNotBound));
    for name in ["", "A", "-a", "a-", "a/b", "..", &"a".repeat(64)] {
        assert!(world.begin(name, 3).await.unwrap_err().is(ProblemCode::InvalidRequest), "{name}");
    }
    let problem = world.runs.get(&world.uid, 3, "none").await.unwrap_err();
    assert!(problem.is(ProblemCode::RunNotFound), "{problem}");
}

#[tokio::test]
async fn one_run_too_many_is_refused_by_the_name_of_the_limit() {
    let world = World::new().await;
    for number in 0..MAX_ACTIVE {
        assert!(world.runs.enter(&world.uid, &format!("r{number}")).unwrap().is_ok());
    }
    let problem = world.begin("more", 3).await.unwrap_err();
    assert!(problem.is(ProblemCode::LimitRuns), "{problem}");
    assert_eq!(problem.limit.as_deref(), Some("64 runs of a workspace"));
    world.runs.leave(&world.uid, "r0");
    assert!(world.begin("more", 3).await.is_ok());
}

#[tokio::test]
async fn a_run_of_an_earlier_supervisor_is_lost_and_told() {
    let world = World::new().await;
    let journal = &world.runs.fleet.journal;
    let run = Run { name: "r".to_owned(), ..Run::default() };
    journal.begin_run(&world.uid, 3, run).await.unwrap();
    let World { data, registry, runs, uid } = world;
    let old = Arc::downgrade(&runs.fleet);
    drop((registry, runs));
    // Its lock goes with it.
    while old.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
    let fleet = Fleet::for_tests(data.path());
    let known = fleet.state_dir.scan().unwrap();
    let unfinished = fleet.state_dir.unfinished(&known).unwrap();
    assert_eq!(unfinished, [(uid.clone(), 3)]);
    let runs = Runs::new(fleet, CancellationToken::new());
    runs.recover(unfinished).await;
    let told = runs.to_tell();
    assert_eq!((told.len(), told[0].1.end), (1, Some(RunEnd::Lost)));
    assert_eq!(runs.get(&uid, 3, "r").await.unwrap(), told[0].1);
    runs.forget(&uid);
    assert_eq!(runs.to_tell(), []);
}

#[tokio::test]
async fn a_run_that_cannot_be_remembered_does_not_begin() {
    let world = World::new().await;
    let folder = world.data.path().join("a/state.db");
    std::fs::create_dir(&folder).unwrap();
    let problem = world.begin("r", 3).await.unwrap_err();
    assert!(problem.is(ProblemCode::StorageUnavailable), "{problem}");
    std::fs::remove_dir(&folder).unwrap();
    assert!(world.begin("r", 3).await.unwrap().1, "nothing of it was remembered");
}
