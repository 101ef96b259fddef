//! Whatever happens in whatever order: no workspace is bound twice, moves, or gets a smaller epoch, and in the end all are Ready.
//!
//! Each round is a random walk with its own seed: workspaces come and go, runners restart and vanish, writes fail, watches lag
//! behind, the operator begins anew.

use crate::{fixture::Fixture, in_memory_runner::InMemoryRunner};
use http::{Method, StatusCode};
use operator::{runner::name::RunnerId, runner_client::RunnerConnection, workspace};
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

const WORKSPACES: &str = "/apis/lodge.dev/v1alpha1/namespaces/team-a/workspaces";
const STATEFUL_SET: &str = "/apis/apps/v1/namespaces/team-a/statefulsets/lodge-runner";
const ARGUMENTS: [&str; 3] = ["--runner-max-workspaces=2", "--runner-max-replicas=4", "--runner-linger=5s"];
const MOST_ALIVE: usize = 6;

struct World {
    fixture: Fixture,
    runners: Vec<Arc<InMemoryRunner>>,
    is_up: Vec<bool>,
    /// What was on record last, by UID.
    recorded: BTreeMap<String, (String, u64)>,
    random: u64,
    made: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            fixture: Fixture::new(&ARGUMENTS),
            runners: (0..4).map(|_| InMemoryRunner::new()).collect(),
            is_up: vec![false; 4],
            recorded: BTreeMap::new(),
            random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(1),
            made: 0,
        }
    }

    /// Xorshift: the same walk for the same seed.
    fn below(&mut self, end: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random % u64::try_from(end).unwrap()).unwrap()
    }

    fn objects(&self) -> Vec<Value> {
        self.fixture.api.list("/apis/lodge.dev/v1alpha1", "workspaces")
    }

    fn name(&mut self) -> Option<String> {
        let objects = self.objects();
        if objects.is_empty() {
            return None;
        }
        let index = self.below(objects.len());
        Some(objects[index]["metadata"]["name"].as_str().unwrap().to_owned())
    }

    fn id(ordinal: usize) -> RunnerId {
        RunnerId { namespace: "team-a".to_owned(), pod: format!("lodge-runner-{ordinal}") }
    }

    /// The StatefulSet's controller: pods are there or not. One that goes takes its volume along.
    fn settle_pods(&mut self) {
        let replicas =
            self.fixture.api.get(STATEFUL_SET).map_or(0, |set| set["spec"]["replicas"].as_u64().unwrap());
        for ordinal in 0..self.runners.len() {
            if ordinal >= usize::try_from(replicas).unwrap() {
                self.disconnect(ordinal);
                self.runners[ordinal].restart();
                self.runners[ordinal].lose_volume();
            }
        }
    }

    fn connect(&mut self, ordinal: usize) {
        let replicas =
            self.fixture.api.get(STATEFUL_SET).map_or(0, |set| set["spec"]["replicas"].as_u64().unwrap());
        if !self.is_up[ordinal] && u64::try_from(ordinal).unwrap() < replicas {
            self.is_up[ordinal] = true;
            self.tell_of(ordinal);
        }
    }

    fn tell_of(&self, ordinal: usize) {
        let runner = &self.runners[ordinal];
        let connection: Arc<dyn RunnerConnection> = Arc::clone(runner) as _;
        workspace::place::adopt(&Self::id(ordinal), &runner.states(), &self.fixture.context);
        self.fixture.context.roster.connected(&Self::id(ordinal), connection, runner.states());
    }

    fn disconnect(&mut self, ordinal: usize) {
        if std::mem::replace(&mut self.is_up[ordinal], false) {
            self.fixture.context.roster.disconnected(&Self::id(ordinal), None);
        }
    }

    fn create(&mut self) {
        if self.objects().len() < MOST_ALIVE {
            let name = format!("w{}", self.made);
            self.made += 1;
            let metadata = json!({"name": name, "namespace": "team-a"});
            self.fixture.api.put(&format!("{WORKSPACES}/{name}"), json!({"metadata": metadata, "spec": {}}));
        }
    }

    fn delete(&mut self) {
        let Some(name) = self.name() else { return };
        let path = format!("{WORKSPACES}/{name}");
        let mut object = self.fixture.api.get(&path).unwrap();
        if object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty) {
            self.fixture.api.remove(&path);
        } else {
            object["metadata"]["deletionTimestamp"] = json!(self.fixture.context.clock.time());
            self.fixture.api.put(&path, object);
        }
    }

    /// What the watch would do about those that are gone.
    fn forget_the_gone(&mut self) {
        let shown = self.fixture.context.stores.workspaces.state();
        self.fixture.sync();
        for watched in shown {
            if self.fixture.context.stores.workspaces.find(|other| uid(other) == uid(&watched)).is_none() {
                workspace::forget(&watched, &self.fixture.context);
            }
        }
    }

    async fn reconcile(&mut self) {
        self.forget_the_gone();
        let Some(name) = self.name() else { return };
        // Failures are part of it.
        let _ = self.fixture.reconcile_one(&name).await;
    }

    async fn reconcile_stale(&mut self) {
        let shown = self.fixture.context.stores.workspaces.state();
        if !shown.is_empty() {
            let watched = Arc::clone(&shown[self.below(shown.len())]);
            let _ = workspace::reconcile(watched, Arc::clone(&self.fixture.context)).await;
        }
    }

    async fn step(&mut self) {
        match self.below(16) {
            0 | 1 => self.create(),
            2 => self.delete(),
            3 => {
                let ordinal = self.below(4);
                self.runners[ordinal].restart();
                if self.is_up[ordinal] {
                    self.disconnect(ordinal);
                    self.connect(ordinal);
                }
            }
            4 => {
                let ordinal = self.below(4);
                self.disconnect(ordinal);
            }
            5 | 6 => {
                let ordinal = self.below(4);
                self.connect(ordinal);
            }
            7 => {
                self.fixture.restart_operator(&ARGUMENTS);
                for ordinal in 0..4 {
                    if self.is_up[ordinal] {
                        self.tell_of(ordinal);
                    }
                }
            }
            8 => self.fixture.api.fail(Method::PATCH, "/status", StatusCode::INTERNAL_SERVER_ERROR, 1),
            9 => self.fixture.api.fail(Method::PATCH, "/workspaces/", StatusCode::CONFLICT, 1),
            10 | 11 => {
                self.forget_the_gone();
                let _ = self.fixture.reconcile_runners().await;
                self.settle_pods();
            }
            12 => {
                let seconds = self.below(20);
                self.fixture.pass(Duration::from_secs(u64::try_from(seconds).unwrap())).await;
            }
            13 => self.reconcile_stale().await,
            _ => self.reconcile().await,
        }
        self.check();
    }

    fn check(&mut self) {
        let mut loads: BTreeMap<String, usize> = BTreeMap::new();
        for object in self.objects() {
            let runner = &object["status"]["runner"];
            let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
            let Some(name) = runner["name"].as_str() else {
                assert!(!self.recorded.contains_key(&uid), "a binding was forgotten: {object}");
                continue;
            };
            let epoch = runner["epoch"].as_u64().unwrap();
            *loads.entry(name.to_owned()).or_default() += 1;
            let before = self.recorded.insert(uid, (name.to_owned(), epoch));
            if let Some((old, least)) = before {
                assert!(old == name && epoch >= least, "from {old} {least} to {name} {epoch}");
            }
        }
        // One more than there may be, if a crash made the operator forget whom it had pushed.
        assert!(loads.values().all(|load| *load <= 3), "{loads:?}");
    }

    /// Everything is well again: does the operator bring it to an end?
    async fn calm(&mut self) {
        for method in [Method::PATCH, Method::DELETE] {
            self.fixture.api.fail(method, "", StatusCode::OK, 0);
        }
        for _ in 0..40 {
            self.forget_the_gone();
            self.fixture.reconcile_runners().await.unwrap();
            self.settle_pods();
            (0..4).for_each(|ordinal| self.connect(ordinal));
            for object in self.objects() {
                let _ = self.fixture.reconcile_one(object["metadata"]["name"].as_str().unwrap()).await;
            }
            self.fixture.pass(Duration::from_secs(5)).await;
            self.check();
        }
    }
}

fn uid(watched: &operator::store::WatchedWorkspace) -> Option<String> {
    kube::Resource::meta(watched).uid.clone()
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_bindings_are_kept_and_all_are_ready_in_the_end() {
    for seed in 0..8 {
        let mut world = World::new(seed);
        for _ in 0..250 {
            world.step().await;
        }
        world.calm().await;
        let objects = world.objects();
        for object in &objects {
            let conditions = object["status"]["conditions"].as_array().unwrap();
            let ready = conditions.iter().find(|condition| condition["type"] == "Ready").unwrap();
            assert_eq!(ready["status"], "True", "seed {seed}: {object}");
            assert!(object["metadata"]["deletionTimestamp"].is_null(), "seed {seed}: {object}");
            let (name, epoch) = &world.recorded[object["metadata"]["uid"].as_str().unwrap()];
            let ordinal: usize = name.rsplit('-').next().unwrap().parse().unwrap();
            let config = world.runners[ordinal].config(object["metadata"]["uid"].as_str().unwrap());
            assert_eq!(config.map(|config| config.epoch), Some(*epoch), "seed {seed}: {name}");
        }
        world.fixture.api.take_writes();
        for object in &objects {
            world.fixture.reconcile_one(object["metadata"]["name"].as_str().unwrap()).await.unwrap();
        }
        assert_eq!(world.fixture.api.take_writes(), [""; 0], "seed {seed}: it is at rest");
    }
}
