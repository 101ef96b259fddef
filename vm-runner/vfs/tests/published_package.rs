//! Published packages, where they are installed on this machine. Without them there is nothing to check here: the
//! parser's own tests build their packages.

use std::collections::HashMap;
use std::path::PathBuf;

use vm_vfs::aospkg::{Command, IndexBody};
use vm_vfs::packagefs::PackageFile;
use vm_vfs::{ContentId, Name, VPath};

/// Every `.aospkg` below the places where software is installed.
#[expect(clippy::disallowed_methods, reason = "the test looks for installed software on the host")]
fn installed_packages() -> Vec<PathBuf> {
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut places = vec![
        repository.join(".local/software/packages"),
        repository.join("vm-runner/software/node_modules/@agentos-software"),
    ];
    places.extend(std::env::var_os("LODGE_SOFTWARE").map(|folder| PathBuf::from(folder).join("packages")));
    let mut found = Vec::new();
    for place in places {
        for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
            let path = entry.path();
            let candidates = [path.clone(), path.join("dist/package.aospkg")];
            let is_package = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "aospkg");
            found.extend(candidates.into_iter().filter(|path| is_package(path) && path.is_file()));
        }
    }
    found
}

#[test]
fn every_installed_package_can_be_served_whole() {
    for path in installed_packages() {
        let package = PackageFile::open(&path).unwrap();
        let image = package.image(&HashMap::new()).unwrap().into_file_system();
        for entry in package.entries() {
            let found =
                entry.path.components().fold(image.root(), |at, name: Name<'_>| at.lookup(name).unwrap());
            if let IndexBody::File(range) = &entry.body {
                assert_eq!(found.map().unwrap().len(), range.len(), "{} in {}", entry.path, path.display());
            }
        }
        for command in &package.manifest().commands {
            let entry = VPath::new(format!("/{}", command.entry).as_bytes()).unwrap();
            let found = entry.components().fold(image.root(), |at, name| at.lookup(name).unwrap());
            let mode = found.stat().unwrap().mode;
            assert!(mode & 0o111 == 0o111, "{} in {} has mode {mode:o}", command.entry, path.display());
        }
    }
}

#[test]
fn the_published_grep_matches_its_test_vector() {
    let grep =
        |path: &PathBuf| PackageFile::open(path).is_ok_and(|package| package.manifest().name == "grep");
    let Some(path) = installed_packages().into_iter().find(grep) else { return };
    let package = PackageFile::open(&path).unwrap();
    let manifest = package.manifest();
    if manifest.version != "0.3.4" {
        return;
    }
    let command = |name: &str| Command { command: name.into(), entry: format!("bin/{name}") };
    assert_eq!(manifest.commands, [command("egrep"), command("fgrep")]);
    assert!(manifest.agent.is_none() && manifest.provides.is_none() && manifest.man_pages.is_empty());
    let entries: Vec<_> = package
        .entries()
        .iter()
        .map(|entry| (entry.path.to_string(), entry.mode.bits(), &entry.body))
        .collect();
    assert_eq!(
        entries,
        [
            ("/bin".into(), 0o755, &IndexBody::Directory),
            ("/bin/egrep".into(), 0o755, &IndexBody::File(0xde00..0xde00 + 0xd7bc)),
            ("/bin/fgrep".into(), 0o755, &IndexBody::File(0x400..0x400 + 0xd7bc)),
        ]
    );
    let egrep = package.content(&VPath::try_from("/bin/egrep").unwrap()).unwrap();
    assert_eq!(&egrep[..4], b"\0asm");
    assert_eq!(ContentId::of(&egrep).to_string().len(), 64);
}
