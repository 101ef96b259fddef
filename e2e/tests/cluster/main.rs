//! Tests on a real cluster, each in namespaces of its own, several at a time. What disturbs its neighbours is in
//! `tests/faults.rs`, which runs by itself.

#![cfg(test)]

mod access;
mod bad_input;
mod copy;
mod cron_job;
mod data_loss;
mod dedicated;
mod fencing;
mod gitops;
mod idle;
mod plugin;
mod power;
mod rbac;
mod stream;
mod terminal;
mod token;
mod withdrawal;
mod workspace_lifecycle;
