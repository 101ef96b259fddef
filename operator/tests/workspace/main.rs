//! Reconciles against an API server and a runner in memory: what is written, what is told, and what is said about it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod binding;
mod certificates;
mod chaos;
mod deletion;
mod expiry;
mod follow;
mod lease;
mod references;
mod runners;
mod scale;
mod status;

#[path = "../support/api_server.rs"]
mod api_server;
#[path = "../support/fixture.rs"]
mod fixture;
#[allow(dead_code, reason = "what it can do about runs is for the tests of CronJobs")]
#[path = "../support/in_memory_runner.rs"]
mod in_memory_runner;
#[path = "../support/replica.rs"]
mod replica;
#[path = "../support/workspace_state.rs"]
mod workspace_state;
