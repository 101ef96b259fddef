//! The software folder as the build leaves it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use vm_wasm::software::{BuildOptions, Index, Manifest, Progress, Report, build};
use vm_wasm::{Error, WasmDriver, WasmEngine};

use crate::machine::{Software, programs_folder};

const PACKAGES: &str = r#"{
    "trees": [{ "name": "@test/tools", "from": "commands" }],
    "packages": [
        { "name": "greetings", "description": "Greets", "license": "MIT",
          "parts": [{ "tree": "@test/tools", "commands": ["hello", "hi"] }] },
        { "name": "computing", "description": "Computes", "license": "MIT",
          "parts": [{ "tree": "@test/tools", "commands": ["spin"] }] }
    ]
}"#;

/// A folder with two programs under three names, as npm would leave it.
struct Sources {
    folder: tempfile::TempDir,
}

impl Sources {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let npm = folder.path().join("node_modules/@test/tools");
        std::fs::create_dir_all(npm.join("commands")).unwrap();
        std::fs::write(npm.join("package.json"), r#"{"name": "@test/tools", "version": "1.2.3"}"#).unwrap();
        for (command, program) in
            [("hello", "hello"), ("hi", "hello"), ("spin", "spin"), ("unwanted", "trap")]
        {
            let wasm = wat::parse_file(programs_folder().join(format!("{program}.wat"))).unwrap();
            std::fs::write(npm.join("commands").join(command), wasm).unwrap();
        }
        std::fs::write(folder.path().join("packages.json"), PACKAGES).unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn build(&self, out: &str) -> Result<Report, Error> {
        let options = BuildOptions {
            node_modules: self.path("node_modules"),
            packages: self.path("packages.json"),
            out: self.path(out),
            cache: Some(self.path("cache")),
            threads: 2,
        };
        build(&options, &|_| ())
    }
}

fn inode(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(path).unwrap())
}

#[test]
fn a_build_compiles_each_program_once_and_describes_what_it_made() {
    let sources = Sources::new();
    let report = sources.build("out").unwrap();
    assert_eq!((report.packages, report.modules, report.compiled), (2, 2, 2));

    let manifest = Manifest::read(&sources.path("out")).unwrap();
    assert_eq!(manifest.engine, report.fingerprint);
    let greetings = &manifest.packages[0];
    assert_eq!((greetings.name.as_str(), greetings.version.as_str()), ("greetings", "1.2.3"));
    assert_eq!(greetings.commands, ["hello", "hi"]);
    assert_eq!(greetings.sources[0].path, "packages/tools-1.2.3");

    let index = Index::read(&sources.path("out")).unwrap();
    let programs = &index.contents["packages/tools-1.2.3"];
    assert_eq!(programs.keys().collect::<Vec<_>>(), ["bin/hello", "bin/hi", "bin/spin"]);
    assert_eq!(programs["bin/hello"], programs["bin/hi"]);

    let bin = sources.path("out/packages/tools-1.2.3/bin");
    assert_eq!(inode(&bin.join("hello")), inode(&bin.join("hi")), "equal programs are one file");
    let driver =
        WasmDriver::open(WasmEngine::new(&Default::default()).unwrap(), &sources.path("out")).unwrap();
    assert_eq!(driver.prewarm(&[[0; 32]]).unwrap(), 0, "unknown programs are left out");
}

#[test]
fn a_build_goes_on_where_another_stopped() {
    let sources = Sources::new();
    sources.build("out").unwrap();
    assert_eq!(sources.build("out").unwrap().compiled, 0);

    // Interrupted: one module is missing, one is half written under its other name, the descriptions are not there.
    let index = Index::read(&sources.path("out")).unwrap();
    let module = sources.path("out/compiled").join(format!("{}.cwasm", index.modules.keys().next().unwrap()));
    std::fs::remove_file(&module).unwrap();
    std::fs::write(sources.path("out/compiled/half.cwasm.1.partial"), b"half").unwrap();
    std::fs::remove_file(sources.path("out/index.json")).unwrap();
    std::fs::remove_dir_all(sources.path("cache")).unwrap();
    assert_eq!(sources.build("out").unwrap().compiled, 1);
    assert!(module.exists());
    assert!(!sources.path("out/compiled/half.cwasm.1.partial").exists());

    // Another folder takes everything from the cache that has it.
    std::fs::remove_dir_all(sources.path("cache")).unwrap();
    assert_eq!(sources.build("other").unwrap().compiled, 2);
    assert_eq!(sources.build("third").unwrap().compiled, 0);
}

#[test]
fn code_of_another_engine_is_replaced_by_a_build_and_refused_by_the_driver() {
    let sources = Sources::new();
    sources.build("out").unwrap();
    let index = sources.path("out/index.json");
    let foreign = Index { fingerprint: "another".to_owned(), ..Index::read(&sources.path("out")).unwrap() };
    std::fs::write(&index, foreign.to_json()).unwrap();
    let refused = WasmDriver::open(WasmEngine::new(&Default::default()).unwrap(), &sources.path("out"));
    let error = refused.err().unwrap().to_string();
    assert!(
        error.contains("compiled for engine another") && error.contains("vm-runner software build"),
        "{error}"
    );

    std::fs::write(sources.path("out/compiled/fingerprint"), "another").unwrap();
    std::fs::remove_dir_all(sources.path("cache")).unwrap();
    assert_eq!(sources.build("out").unwrap().compiled, 2);
}

#[test]
fn a_build_names_what_is_missing() {
    let sources = Sources::new();
    std::fs::write(sources.path("packages.json"), PACKAGES.replace("\"hi\"", "\"nothing\"")).unwrap();
    let error = sources.build("out").unwrap_err().to_string();
    assert!(error.contains("nothing"), "{error}");
    std::fs::remove_dir_all(sources.path("node_modules")).unwrap();
    let error = sources.build("out").unwrap_err().to_string();
    assert!(error.contains("@test/tools") && error.contains("npm ci"), "{error}");
}

#[test]
fn a_build_tells_how_far_it_is() {
    let sources = Sources::new();
    let steps = Mutex::new(Vec::new());
    let options = BuildOptions {
        node_modules: sources.path("node_modules"),
        packages: sources.path("packages.json"),
        out: sources.path("out"),
        cache: None,
        threads: 1,
    };
    let note = |progress: Progress<'_>| {
        steps.lock().unwrap().push(match progress {
            Progress::Tree { name, version } => format!("{name} {version}"),
            Progress::Module { done, total, compiled } => format!("{done}/{total} {compiled}"),
        });
    };
    build(&options, &note).unwrap();
    assert_eq!(*steps.lock().unwrap(), ["@test/tools 1.2.3", "1/2 1", "2/2 2"]);
}

#[test]
#[ignore = "needs the guest software: make test runs it"]
fn every_command_of_every_package_is_compiled() {
    let software = Software::open();
    let index = Index::read(&software.folder).unwrap();
    let manifest = Manifest::read(&software.folder).unwrap();
    assert_eq!(manifest.engine, index.fingerprint);
    for sha256 in index.contents.values().flat_map(BTreeMap::values) {
        assert!(index.modules.contains_key(sha256), "{sha256} is not compiled");
        assert!(software.folder.join(format!("compiled/{sha256}.cwasm")).exists());
    }
    let common = manifest.packages.iter().find(|package| package.name == "common").unwrap();
    for command in ["sh", "ls", "grep", "awk", "find", "tar", "jq", "rg", "sqlite3", "mkfifo"] {
        assert!(common.commands.iter().any(|known| known == command), "common lacks {command}");
    }
}
