//! Rules about single source files.

use super::report;
use std::path::{Path, PathBuf};

/// Lines a source file may have, its inline unit tests not counted.
const MAX_FILE_LINES: usize = 500;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 9] =
    ["utils", "util", "helpers", "helper", "common", "misc", "types", "manager", "mod"];
/// The top-level folders and files of the repository.
const TOP_LEVEL: [&str; 13] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "Makefile",
    "README.md",
    "charts",
    "crds",
    "docs",
    "e2e",
    "operator",
    "vm-runner",
];

/// One tracked (or not yet tracked, but not ignored) Rust file.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl Source {
    /// The text without its trailing inline unit tests.
    pub(crate) fn production(&self) -> &str {
        self.text.find("\n#[cfg(test)]\nmod tests {").map_or(&self.text, |end| &self.text[..end])
    }

    /// Whether the file belongs to what is shipped, rather than to tests, benches or examples.
    pub(crate) fn is_production(&self) -> bool {
        let path = self.path.to_string_lossy();
        let is_test = path.contains("/tests/") || path.contains("/benches/") || path.ends_with("/tests.rs");
        path.contains("/src/") && !is_test
    }
}

/// The repository's root folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository's root")
}

/// Every file that git tracks or would track, relative to the root.
pub(crate) fn files() -> Vec<PathBuf> {
    let listed = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .expect("git ls-files runs");
    assert!(listed.status.success(), "git ls-files failed: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).expect("file names are UTF-8");
    names
        .split('\0')
        .filter(|name| !name.is_empty())
        .map(PathBuf::from)
        .filter(|p| root().join(p).exists())
        .collect()
}

/// Every Rust file.
pub(crate) fn sources() -> Vec<Source> {
    let rust = files().into_iter().filter(|path| path.extension().is_some_and(|e| e == "rs"));
    rust.map(|path| Source { text: std::fs::read_to_string(root().join(&path)).expect("readable"), path })
        .collect()
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let violations: Vec<_> = sources()
        .iter()
        .map(|source| (source, source.production().lines().count()))
        .filter(|(_, lines)| *lines > MAX_FILE_LINES)
        .map(|(source, lines)| format!("{}: {lines} lines; split it by concept", source.path.display()))
        .collect();
    report("a file has at most 500 lines without its unit tests", &violations);
}

#[test]
fn every_module_says_what_it_is() {
    let violations: Vec<_> = sources()
        .iter()
        .filter(|source| !source.text.lines().take(8).any(|line| line.starts_with("//!")))
        .map(|source| format!("{}: begin it with `//!` docs", source.path.display()))
        .collect();
    report("every module begins with its docs", &violations);
}

#[test]
fn no_name_is_empty_of_meaning() {
    let violations: Vec<_> = sources()
        .iter()
        .filter(|source| {
            let stem = source.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            EMPTY_NAMES.contains(&stem)
        })
        .map(|source| format!("{}: name it after its main type or verb", source.path.display()))
        .collect();
    report("no file is called utils, helpers, common, types or mod", &violations);
}

#[test]
fn no_work_is_left_marked_as_to_do() {
    let marks = [["TO", "DO"].concat(), ["FIX", "ME"].concat(), ["XX", "X:"].concat()];
    let mut violations = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            if line.contains("//") && marks.iter().any(|mark| line.contains(mark.as_str())) {
                violations.push(format!("{}:{}: do it, or open an issue", source.path.display(), number + 1));
            }
        }
    }
    report("nothing is left to do in comments", &violations);
}

#[test]
fn every_source_file_belongs_to_a_module() {
    let all = sources();
    let mut violations = Vec::new();
    for source in all.iter().filter(|source| source.is_production()) {
        let stem = source.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        let parent = source.path.parent().expect("a file has a folder");
        let is_root = ["main", "lib"].contains(&stem) || parent.ends_with("bin");
        let declared = all.iter().any(|other| {
            declares(&other.text, stem) && (other.path.parent() == Some(parent) || owns(&other.path, parent))
        });
        if !is_root && !declared {
            violations.push(format!("{}: no module declares it", source.path.display()));
        }
    }
    report("no source file is an orphan", &violations);
}

/// Whether the text declares the module.
fn declares(text: &str, module: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim();
        line.ends_with(&format!("mod {module};")) && !line.starts_with("//")
    })
}

/// Whether `file` (`foo.rs`) owns the folder (`foo/`).
fn owns(file: &Path, folder: &Path) -> bool {
    file.with_extension("") == folder
}

#[test]
fn only_the_agreed_things_stand_at_the_top_level() {
    let mut names: Vec<String> = files()
        .iter()
        .filter_map(|path| path.components().next())
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()))
        .collect();
    names.dedup();
    report("the top level is fixed; put it into a deliverable's folder", &names);
}
