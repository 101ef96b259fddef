//! CronJobs against an API server and a runner in memory, with a clock that the test sets: what begins when, how often, and
//! what is written about it.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod chaos;
mod concurrency;
mod conditions;
mod late;
mod once;
mod request;
mod runs;
mod timers;
mod world;
mod year;

#[allow(dead_code, reason = "some of what it can do is for other tests")]
#[path = "../support/api_server.rs"]
mod api_server;
#[allow(dead_code, reason = "some of what it can do is for other tests")]
#[path = "../support/in_memory_runner.rs"]
mod in_memory_runner;
#[path = "../support/replica.rs"]
mod replica;
#[path = "../support/workspace_state.rs"]
mod workspace_state;
