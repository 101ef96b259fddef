//! Hours of trouble: leaders die, writes fail, answers get lost, the runner comes and goes. Whatever happens, every instant is
//! begun once, skipped or missed, and never two of these; and the concurrency policy holds at the runner.

use crate::world::{Operator, World};
use http::{Method, StatusCode};
use jiff::Timestamp;
use lodge_crds::RunOutcome;
use operator::cron_job::run_name;
use serde_json::json;
use std::{collections::BTreeSet, time::Duration};

/// Numbers that look random and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

struct Trouble {
    world: World,
    operator: Operator,
    numbers: Numbers,
    policy: &'static str,
    skipped: BTreeSet<String>,
}

impl Trouble {
    async fn new(policy: &'static str, catch_up: &str, seed: u64) -> Self {
        let history = json!({ "succeeded": 40, "failed": 40 });
        let spec = json!({
            "schedule": "* * * * *", "concurrencyPolicy": policy, "catchUp": catch_up, "history": history,
        });
        let world = World::with_nightly(spec).await;
        let operator = world.operator();
        let numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        Self { world, operator, numbers, policy, skipped: BTreeSet::new() }
    }

    async fn step(&mut self) {
        match self.numbers.below(16) {
            0..=5 => self.world.pass(Duration::from_millis(self.numbers.below(90_000))).await,
            6 | 7 => {
                if let Some(name) = self.world.runner.going_on().first() {
                    self.world.finish(name, u8::try_from(self.numbers.below(2)).unwrap());
                    if self.numbers.below(3) > 0 {
                        self.operator.learn(&self.world, name).await;
                    }
                }
            }
            8 => self.world.api.fail(Method::PATCH, "cronjobs/nightly", StatusCode::SERVICE_UNAVAILABLE, 1),
            9 => self.world.runner.lose_answers(true),
            10 => self.world.runner.lose_answers(false),
            11 => self.operator.disconnect(),
            12 | 13 => self.operator.connect(&self.world.runner),
            14 => self.operator = self.world.operator(),
            _ => {
                self.operator.disconnect();
                self.world.runner.restart();
                self.world.tell_runner().await;
            }
        }
        // Also failures must leave everything in order.
        let _ = self.operator.reconcile().await;
        self.check();
    }

    fn check(&mut self) {
        let status = self.world.status();
        let skipped = status.runs.iter().filter(|run| run.outcome == Some(RunOutcome::Skipped));
        self.skipped.extend(skipped.map(|run| run.name.clone()));
        let begun: BTreeSet<_> = self.world.runner.begun().into_iter().collect();
        assert_eq!(begun.len(), self.world.runner.begun().len(), "none begins twice");
        assert!(begun.is_disjoint(&self.skipped), "what was skipped doesn't begin");
        let most = if self.policy == "Allow" { vm_api::run::MAX_ACTIVE } else { 1 };
        assert!(self.world.runner.going_on().len() <= most, "{:?}", self.world.runner.going_on());
    }

    /// All is well again.
    async fn heal(&mut self) {
        self.world.runner.lose_answers(false);
        self.operator = self.world.operator();
        for _ in 0..6 {
            // Writes that were to fail do so now.
            for _ in 0..60 {
                if self.operator.reconcile().await.is_ok() {
                    break;
                }
            }
            for name in self.world.runner.going_on() {
                self.world.finish(&name, 0);
                self.operator.learn(&self.world, &name).await;
            }
            self.world.pass(Duration::from_secs(61)).await;
        }
        self.operator.reconcile().await.unwrap();
        self.check();
    }

    /// Every instant up to where the schedule was followed is accounted for.
    fn account(&self, seed: u64) {
        let status = self.world.status();
        let until = status.followed.unwrap().until.0;
        let id = run_name::id("uid-of-nightly");
        let instant = |name: &String| run_name::instant_of(name, &id).unwrap();
        let is_followed = |name: &&String| instant(name) <= until;
        let begun = self.world.runner.begun();
        assert!(begun.iter().all(|name| instant(name) <= until), "what began is noted");
        let accounted = begun.iter().filter(is_followed).count() + self.skipped.len();
        let start: Timestamp = crate::world::START.parse().unwrap();
        let instants = until.duration_since(start).as_secs() / 60;
        let missed = status.missed.unwrap_or_default();
        let accounted = u64::try_from(accounted).unwrap() + missed;
        assert_eq!(accounted, u64::try_from(instants).unwrap(), "seed {seed}: {missed} missed");
        assert_eq!(status.active.len(), self.world.runner.going_on().len());
    }
}

#[tokio::test(start_paused = true)]
async fn every_instant_is_begun_once_skipped_or_missed_whatever_happens() {
    let mut begun = 0;
    for seed in 0..15 {
        for policy in ["Allow", "Forbid", "Replace"] {
            let catch_up = ["None", "Last", "All"][usize::try_from(seed % 3).unwrap()];
            let mut trouble = Trouble::new(policy, catch_up, seed + 1).await;
            for _ in 0..60 {
                trouble.step().await;
            }
            trouble.heal().await;
            trouble.account(seed);
            begun += trouble.world.runner.begun().len();
        }
    }
    assert!(begun > 400, "{begun}");
}
