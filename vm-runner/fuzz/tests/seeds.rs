//! Every seed through its target, so that targets and seeds stay what they are between two runs of the fuzzer.
#![expect(clippy::disallowed_methods, reason = "the test reads the seeds")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use vm_fuzz::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn seeds(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let folder = folder("seeds").join(target);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect()
}

#[test]
fn every_seed_passes_its_target() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name} has no seeds");
        for (path, bytes) in seeds {
            // Named before it runs: a panic tells no more than its place.
            println!("{}", path.display());
            target(&bytes);
        }
    }
}

#[test]
fn seeds_that_are_cut_or_have_one_byte_changed_pass_too() {
    for (name, target) in TARGETS {
        for (path, bytes) in seeds(name) {
            println!("{}", path.display());
            let step = bytes.len() / 64 + 1;
            for at in (0..bytes.len()).step_by(step) {
                target(&bytes[..at]);
                for change in [0x01, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[at] ^= change;
                    target(&changed);
                }
            }
        }
    }
}

#[test]
fn every_target_has_a_file_for_cargo_fuzz() {
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    let files = std::fs::read_dir(folder("libfuzzer/fuzz_targets")).unwrap();
    let files: BTreeSet<String> = files.map(|entry| stem(entry.unwrap().path())).collect();
    let manifest = std::fs::read_to_string(folder("libfuzzer/Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(files.contains(*name), "fuzz_targets/{name}.rs is missing");
        assert!(
            manifest.contains(&format!("name = \"{name}\"")),
            "libfuzzer/Cargo.toml does not list {name}"
        );
    }
    assert_eq!(files.len(), TARGETS.len(), "{files:?}");
}
