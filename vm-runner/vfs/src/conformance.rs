//! The conformance suite: what POSIX demands of files, checked on any file system.
//!
//! The behaviours are a table: text files in `conformance/`, one line an operation and its outcome.
//!
//! ```text
//! ## the name of a scenario                    each starts with an empty file system, as root, in /
//! mkdir /d 755                                 before the line `--`: what is there already; on a layered file
//! --                                           system it goes into the lower layer
//! as 1000:1000,27                              from here on as this user, group and supplementary groups
//! write /d/f text        -> EACCES             an outcome is `ok` (the default), an error's name or a value
//! stat /d mode uid       -> 40755 0
//! ```
//!
//! `\0`, `\s` (space), `\e` (empty) and `*N` at a word's end (repeated N times) stand for what a line cannot hold.
//! Every new file system runs this suite; every bug in one adds a line. The crate's feature `conformance` makes it
//! available to file systems of other crates.

pub(crate) mod machine;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use vm_abi::Timespec;

use crate::file_system::{FileClock, FileSystem};
use machine::Machine;

/// The table.
const TABLES: &[(&str, &str)] = &[
    ("walk", include_str!("conformance/walk.txt")),
    ("create", include_str!("conformance/create.txt")),
    ("remove", include_str!("conformance/remove.txt")),
    ("rename", include_str!("conformance/rename.txt")),
    ("content", include_str!("conformance/content.txt")),
    ("attribute", include_str!("conformance/attribute.txt")),
    ("permission", include_str!("conformance/permission.txt")),
];

/// Where a scenario runs.
pub struct Fixture {
    /// Where the lines before `--` run.
    pub below: Arc<dyn FileSystem>,
    /// Makes the file system that is examined, when they have run. It shows what they left.
    pub finish: FinishFixture,
}

/// Makes the file system that is examined.
pub type FinishFixture = Box<dyn FnOnce(Arc<dyn FileSystem>) -> Arc<dyn FileSystem>>;

/// What a run of the suite found.
#[derive(Debug, Default)]
pub struct Report {
    /// How many outcomes were checked.
    pub checked: usize,
    /// The outcomes that were not as they must be, with table and line.
    pub failures: Vec<String>,
}

/// Runs the whole suite; each scenario on a file system of its own, which takes its time from the given clock.
pub fn run(make: &dyn Fn(Arc<dyn FileClock>) -> Fixture) -> Report {
    run_paced(make, &|| {})
}

/// As [`run`], for a file system whose time is another clock's: `tick` is called where later changes must have later
/// times, and returns when they have.
pub fn run_paced(make: &dyn Fn(Arc<dyn FileClock>) -> Fixture, tick: &dyn Fn()) -> Report {
    let mut report = Report::default();
    for (table, text) in TABLES {
        let mut lines = text.lines().enumerate().peekable();
        while let Some((_, line)) = lines.next() {
            let Some(name) = line.strip_prefix("## ") else { continue };
            let mut scenario = Vec::new();
            while let Some(next) = lines.next_if(|(_, line)| !line.starts_with("## ")) {
                scenario.push(next);
            }
            let fixture = make(Arc::new(StepClock::default()));
            run_scenario(&mut report, &format!("{table}: {name}"), &scenario, fixture, tick);
        }
    }
    report
}

fn run_scenario(report: &mut Report, name: &str, lines: &[(usize, &str)], fixture: Fixture, tick: &dyn Fn()) {
    let Fixture { below, finish } = fixture;
    let separator = lines.iter().position(|(_, line)| line.trim() == "--");
    let (before, after) = lines.split_at(separator.map_or(0, |position| position + 1));
    let before = &before[..before.len().saturating_sub(1)];
    run_lines(report, name, before, &mut Machine::new(Arc::clone(&below)), tick);
    run_lines(report, name, after, &mut Machine::new(finish(below)), tick);
}

fn run_lines(
    report: &mut Report,
    name: &str,
    lines: &[(usize, &str)],
    machine: &mut Machine,
    tick: &dyn Fn(),
) {
    for (number, line) in lines {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (command, expected) = line.split_once("->").unwrap_or((line, "ok"));
        let outcome = machine.run(command);
        if command.starts_with("mark ") {
            tick();
        }
        report.checked += 1;
        if outcome != expected.trim() {
            let number = number + 1;
            report.failures.push(format!(
                "{name}, line {number}: {} -> {outcome}, not {}",
                command.trim(),
                expected.trim()
            ));
        }
    }
}

/// A clock that moves on by a second whenever it is asked, so that every change has a time of its own.
#[derive(Default)]
struct StepClock(AtomicI64);

impl FileClock for StepClock {
    fn now(&self) -> Timespec {
        Timespec::from_secs(1_000_000 + self.0.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use vm_abi::Mode;

    use super::{Fixture, run};
    use crate::file_system::{FileClock, FileSystem};
    use crate::inode::Owner;
    use crate::overlayfs::{OverlayFs, OverlayOptions};
    use crate::tmpfs::{Tmpfs, TmpfsOptions};

    fn tmpfs(clock: &Arc<dyn FileClock>) -> Arc<Tmpfs> {
        let root_mode = Mode::new(0o755);
        let clock = Arc::clone(clock);
        Tmpfs::new(TmpfsOptions {
            max_bytes: 1 << 20,
            max_inodes: 200,
            root_mode,
            root_owner: Owner::ROOT,
            clock,
        })
    }

    fn overlay(lowers: Vec<Arc<dyn FileSystem>>, upper: Arc<dyn FileSystem>) -> Arc<dyn FileSystem> {
        OverlayFs::new(OverlayOptions { lowers, upper, source: "test".to_owned() }).unwrap()
    }

    #[track_caller]
    fn check(make: &dyn Fn(Arc<dyn FileClock>) -> Fixture) {
        let report = run(make);
        assert!(report.failures.is_empty(), "{}\n", report.failures.join("\n"));
        assert!(report.checked >= 300, "only {} outcomes", report.checked);
    }

    #[test]
    fn tmpfs_conforms() {
        check(&|clock| Fixture { below: tmpfs(&clock), finish: Box::new(|below| below) });
    }

    #[test]
    fn an_overlay_without_lower_layers_conforms() {
        check(&|clock| {
            let below = overlay(Vec::new(), tmpfs(&clock));
            Fixture { below, finish: Box::new(|below| below) }
        });
    }

    #[test]
    fn an_overlay_over_a_filled_layer_conforms() {
        check(&|clock| {
            let upper = tmpfs(&clock);
            Fixture { below: tmpfs(&clock), finish: Box::new(move |below| overlay(vec![below], upper)) }
        });
    }

    #[test]
    fn an_overlay_between_empty_layers_conforms() {
        check(&|clock| {
            let (upper, top, bottom) = (tmpfs(&clock), tmpfs(&clock), tmpfs(&clock));
            Fixture {
                below: tmpfs(&clock),
                finish: Box::new(move |below| overlay(vec![top, below, bottom], upper)),
            }
        });
    }

    #[test]
    fn an_overlay_mounted_again_after_its_setup_conforms() {
        check(&|clock| {
            let upper = tmpfs(&clock);
            let below = overlay(Vec::new(), Arc::clone(&upper) as Arc<dyn FileSystem>);
            Fixture { below, finish: Box::new(move |_| overlay(Vec::new(), upper)) }
        });
    }
}
