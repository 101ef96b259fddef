//! The files that a vm process may reach: landlock, as far as the kernel has it.
//!
//! A vm process reads its software folder, and in its slot it makes, changes and removes regular files. It makes no
//! folder there: the supervisor moves what a slot holds back to the workspace it belongs to, and an escaped guest that
//! could make `slot/<uid of another>` would plant files in another workspace. Nothing may be executed anywhere.
//! Landlock also takes TCP, sockets outside and signals to others away; `system_calls` does that once more.
//! What landlock does not control (looking at the metadata of a path that one can guess; changing it) is taken away by
//! `system_calls` as far as it changes anything.

use std::fmt;
use std::path::Path;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, PathBeneath, PathFd, PathFdError,
    Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope,
    make_bitflags,
};

use super::Grants;
use crate::vm::software_image::CERTIFICATE_BUNDLES;

/// The newest version of landlock that these rules were written for. Older kernels enforce what they know.
const WRITTEN_FOR: ABI = ABI::V10;
/// The first version without which files that may only be read could be emptied (Linux 6.2).
const WHOLE_SINCE: ABI = ABI::V3;
/// Tells the engine which pages of a guest's memory were written. Shows a process nothing that it does not know.
const PAGEMAP: &str = "/proc/self/pagemap";

/// Where SQLite gets its random numbers; without it, it takes the time and the process's number.
const RANDOM: &str = "/dev/urandom";

/// What the kernel offered of landlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Landlock {
    /// It is enforced, in this version of its interface.
    Enforced(ABI),
    /// The kernel was built without it.
    NotBuilt,
    /// The kernel was started without it.
    NotEnabled,
}

impl Landlock {
    /// Whether all of a vm process's access to files is bounded.
    pub(crate) fn is_whole(self) -> bool {
        matches!(self, Self::Enforced(version) if version >= WHOLE_SINCE)
    }

    /// Version of the interface; 0 if there is none.
    pub(crate) fn version(self) -> i32 {
        match self {
            Self::Enforced(version) => version as i32,
            Self::NotBuilt | Self::NotEnabled => 0,
        }
    }
}

impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enforced(version) if self.is_whole() => {
                write!(f, "landlock {} is enforced", *version as i32)
            }
            Self::Enforced(version) => {
                write!(f, "the kernel's landlock {} is older than {}", *version as i32, WHOLE_SINCE as i32)
            }
            Self::NotBuilt => f.write_str("the kernel was built without landlock"),
            Self::NotEnabled => f.write_str("landlock is not enabled in this kernel (boot parameter lsm=)"),
        }
    }
}

/// Why access to files could not be restricted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("giving up files: {0}")]
    Open(#[from] PathFdError),
    #[error("giving up files: {0}")]
    Rules(#[from] RulesetError),
}

/// Restricts this thread, and those that it starts, to the files it was granted.
pub(super) fn restrict(grants: Grants<'_>) -> Result<Landlock, Error> {
    let read = make_bitflags!(AccessFs::{ReadFile | ReadDir});
    let slot = read | make_bitflags!(AccessFs::{WriteFile | Truncate | MakeReg | RemoveFile});
    let mut rules = add(nothing()?, grants.software, read)?;
    if let Some(folder) = grants.slot {
        rules = add(rules, folder, slot)?;
    }
    for volume in grants.volumes {
        let access = if volume.read_only {
            read
        } else {
            slot | make_bitflags!(AccessFs::{RemoveDir | MakeDir | MakeSym | MakeFifo | Refer})
        };
        rules = add(rules, &volume.path, access)?;
    }
    for file in CERTIFICATE_BUNDLES.into_iter().chain([PAGEMAP, RANDOM]) {
        // What is not there, or not readable, is not needed.
        if let Ok(file) = PathFd::new(file) {
            rules = rules.add_rule(PathBeneath::new(file, AccessFs::ReadFile))?;
        }
    }
    enforce(rules)
}

/// What the kernel offers of landlock, found out by a thread that gives up everything and ends.
///
/// # Errors
/// When the thread could not be started, or the kernel refuses.
pub(crate) fn probe() -> Result<Landlock, super::Error> {
    let probe = std::thread::Builder::new().name("landlock".to_owned()).spawn(|| enforce(nothing()?));
    let probe = probe.map_err(|source| super::Error::Step { what: "files, on trial", source })?;
    // A thread that panicked has enforced nothing.
    Ok(probe.join().unwrap_or(Ok(Landlock::NotBuilt))?)
}

/// Rules that allow nothing.
fn nothing() -> Result<RulesetCreated, RulesetError> {
    Ruleset::default()
        .handle_access(AccessFs::from_all(WRITTEN_FOR))?
        .handle_access(AccessNet::from_all(WRITTEN_FOR))?
        .scope(Scope::from_all(WRITTEN_FOR))?
        .create()
}

fn add(rules: RulesetCreated, folder: &Path, access: BitFlags<AccessFs>) -> Result<RulesetCreated, Error> {
    Ok(rules.add_rule(PathBeneath::new(PathFd::new(folder)?, access))?)
}

fn enforce(rules: RulesetCreated) -> Result<Landlock, Error> {
    let status = rules.restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => Landlock::NotEnabled,
        (RulesetStatus::NotEnforced, _)
        | (_, LandlockStatus::NotImplemented | LandlockStatus::NotEnabled) => Landlock::NotBuilt,
        (_, LandlockStatus::Available { effective_abi, .. }) => Landlock::Enforced(effective_abi),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_landlock_that_lets_files_be_emptied_is_not_whole() {
        assert!(!Landlock::Enforced(ABI::V2).is_whole());
        assert!(Landlock::Enforced(ABI::V3).is_whole());
        assert!(!Landlock::NotEnabled.is_whole());
        assert!(Landlock::Enforced(ABI::V2).to_string().contains("older than 3"));
    }

    #[test]
    fn finding_out_restricts_nobody_else() {
        let landlock = probe().unwrap();
        assert!(landlock.version() >= 0);
        assert!(tempfile::tempfile().is_ok());
    }
}
