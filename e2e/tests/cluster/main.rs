//! Tests on a real cluster, each in namespaces of its own, several at a time. What disturbs its neighbours is in
//! `tests/faults.rs`, which runs by itself.

#![cfg(test)]

mod access;
mod bad_input;
mod idle;
mod rbac;
mod token;
mod workspace_lifecycle;
