//! The rules of the project that no compiler checks: sizes, module docs, crate directions, walls, orphan files.
//!
//! Each rule is one test and reports every violation at once, with the file and the way out. The rules are those
//! of `ARCHITECTURE.md` and need neither a cluster nor a built crate.

#![cfg(test)]

#[path = "tidy/crates.rs"]
mod crates;
#[path = "tidy/source.rs"]
mod source;
#[path = "tidy/walls.rs"]
mod walls;

/// Fails with every violation on its own line.
fn report(rule: &str, violations: &[String]) {
    assert!(violations.is_empty(), "{rule}:\n  {}", violations.join("\n  "));
}
