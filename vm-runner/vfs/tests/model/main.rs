//! Random histories of every writable file system against a reference that is too simple to be wrong.
//!
//! A failing history is shrunk to a short one and printed; make a test of it. `PROPTEST_CASES=2000` looks longer than
//! the everyday run (256 histories of each file system).
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends where it fails")]

mod history;
mod operation;
mod reference;
mod subject;
mod system;

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use history::Subject;
use reference::Reference;

/// How many steps a history has at most.
const STEPS: usize = 60;

/// Runs histories, each on a subject of its own; `share` is the part of the cases that this subject gets.
fn check<S: Subject>(share: u32, make: impl Fn() -> (S, Reference)) {
    let default = ProptestConfig::default();
    let cases = default.cases.div_ceil(share);
    // A failing history is printed whole; there is no file of seeds to keep.
    let config = ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 4096, ..default };
    let result = TestRunner::new(config).run(&operation::history(STEPS), |history| {
        let (mut subject, start) = make();
        history::run(&mut subject, &start, &history).map_err(TestCaseError::fail)
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

#[test]
fn tmpfs_is_as_the_reference() {
    check(1, subject::tmpfs);
}

#[test]
fn an_overlay_without_lower_layers_is_as_the_reference() {
    check(2, subject::empty_overlay);
}

#[test]
fn an_overlay_over_an_image_is_as_the_reference() {
    check(1, subject::overlay);
}

#[test]
fn a_host_folder_is_as_the_reference() {
    check(2, subject::host_folder);
}

#[test]
fn a_database_is_as_the_reference() {
    check(8, subject::database);
}

#[test]
fn a_database_that_keeps_nothing_in_memory_is_as_the_reference() {
    check(8, subject::forgetful_database);
}

#[test]
fn an_overlay_over_images_into_a_database_is_as_the_reference() {
    check(8, subject::database_overlay);
}
