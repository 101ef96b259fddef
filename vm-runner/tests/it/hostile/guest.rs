//! The hostile guests: the scripts of this folder.
//!
//! Lines that begin with `#:` say what a guest may use and how it ends: `limit NAME NUMBER`, `ends timeout|exit|any`,
//! `says TEXT` (somewhere in the output) and `silent TEXT` (nowhere).
#![expect(clippy::disallowed_methods, reason = "tests read their scripts")]

use std::path::Path;
use std::time::Duration;

use vm_api::{ExecRequest, ExecResponse, WireDuration, WorkspaceConfig};

/// A hostile guest.
pub(crate) struct Guest {
    pub(crate) name: String,
    script: String,
    limits: Vec<(String, u64)>,
    ends: String,
    says: Vec<String>,
    silent: Vec<String>,
}

impl Guest {
    /// All scripts of the folder.
    pub(crate) fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/hostile");
        let mut guests: Vec<Self> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "sh"))
            .map(|path| {
                // It is the uid of a workspace, too.
                let name = path.file_stem().unwrap().to_string_lossy().replace('_', "-");
                Self::parse(name, std::fs::read_to_string(&path).unwrap())
            })
            .collect();
        guests.sort_by(|one, other| one.name.cmp(&other.name));
        guests
    }

    fn parse(name: String, script: String) -> Self {
        let (mut limits, mut ends, mut says, mut silent) = (Vec::new(), None, Vec::new(), Vec::new());
        for line in script.lines().filter_map(|line| line.strip_prefix("#: ")) {
            match line.split_once(' ') {
                Some(("limit", limit)) => {
                    let (field, number) = limit.split_once(' ').unwrap();
                    limits.push((field.to_owned(), number.parse().unwrap()));
                }
                Some(("ends", how)) => ends = Some(how.to_owned()),
                Some(("says", text)) => says.push(text.to_owned()),
                Some(("silent", text)) => silent.push(text.to_owned()),
                _ => panic!("{name}: {line:?} has no meaning"),
            }
        }
        let ends = ends.unwrap_or_else(|| panic!("{name} does not say how it ends"));
        Self { name, script, limits, ends, says, silent }
    }

    /// Gives a workspace the limits that this guest is to hit.
    pub(crate) fn configure(&self, config: &mut WorkspaceConfig) {
        for (field, number) in &self.limits {
            let number = *number;
            let limits = &mut config.limits;
            match field.as_str() {
                "memory" => limits.memory_bytes = number,
                "processes" => limits.processes = u32::try_from(number).unwrap(),
                "openFiles" => limits.open_files = u32::try_from(number).unwrap(),
                "inodes" => limits.inodes = number,
                "storage" => config.storage.size_bytes = number,
                other => panic!("{}: there is no limit {other:?}", self.name),
            }
        }
    }

    /// The request that runs it.
    pub(crate) fn request(&self, patience: Duration) -> ExecRequest {
        let timeout = Some(WireDuration(patience));
        ExecRequest { timeout, output_limit: Some(1 << 20), ..ExecRequest::command(self.script.clone()) }
    }

    /// Compares the end of the guest with what it says of itself.
    #[track_caller]
    pub(crate) fn check(&self, response: &ExecResponse) {
        let Self { name, ends, .. } = self;
        let what = (response.exit_code, response.signal.as_deref(), response.timed_out);
        match ends.as_str() {
            "timeout" => assert!(response.timed_out, "{name}: {what:?} {}", response.stderr),
            "exit" => assert_eq!(response.exit_code, Some(0), "{name}: {what:?} {}", response.stderr),
            "any" => {}
            other => panic!("{name}: there is no end {other:?}"),
        }
        let output = format!("{}{}", response.stdout, response.stderr).to_lowercase();
        let shown: String = output.chars().take(2000).collect();
        for text in &self.says {
            assert!(output.contains(&text.to_lowercase()), "{name}: {text:?} is not in {shown}");
        }
        for text in &self.silent {
            assert!(!output.contains(&text.to_lowercase()), "{name}: {text:?} is in {shown}");
        }
    }
}
