//! The software folder as the build leaves it.

use vm_wasm::software::{Index, Manifest};

use crate::machine::Software;

#[test]
#[ignore = "needs the guest software: make test runs it"]
fn every_command_of_every_package_is_compiled() {
    let software = Software::open();
    let index = Index::read(&software.folder).unwrap();
    let manifest = Manifest::read(&software.folder).unwrap();
    assert_eq!(manifest.engine, index.fingerprint);
    let programs = index.contents.values().flat_map(std::collections::BTreeMap::values);
    for sha256 in programs {
        assert!(index.modules.contains_key(sha256), "{sha256} is not compiled");
        assert!(software.folder.join(format!("compiled/{sha256}.cwasm")).exists());
    }
    let common = manifest.packages.iter().find(|package| package.name == "common").unwrap();
    for command in ["sh", "ls", "grep", "awk", "find", "tar", "jq", "rg", "sqlite3", "mkfifo"] {
        assert!(common.commands.iter().any(|known| known == command), "common lacks {command}");
    }
}
