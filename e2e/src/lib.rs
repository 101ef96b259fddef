//! What the cluster tests and the benchmarks are made of: the local cluster, throw-away namespaces, the commands a
//! user would type, and a client of the gateway.
//!
//! Nothing here knows how Lodge works inside: it applies manifests, runs `kubectl` and `kubectl lodge`, speaks HTTP,
//! and looks at the node's processes and files from outside.
//!
//! Lock order: none; the benchmarks share one connection behind one mutex.

pub mod audit;
pub mod bench;
pub mod chart_value;
pub mod checksum;
pub mod cluster;
pub mod command;
pub mod fake_runner;
pub mod faults;
pub mod gateway;
pub mod load;
pub mod namespace;
pub mod node;
pub mod noise;
pub mod percentile;
pub mod runner_peer;
pub mod stream;
pub mod terminal;
pub mod token;
pub mod user;
