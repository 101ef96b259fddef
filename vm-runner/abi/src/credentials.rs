//! Who a process is: user and group ids.

use std::fmt;

/// A user id. 0 is root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Uid(pub u32);

/// A group id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gid(pub u32);

impl Uid {
    /// The user that passes every permission check.
    pub const ROOT: Self = Self(0);

    /// Whether this is root.
    #[must_use]
    pub const fn is_root(self) -> bool {
        self.0 == 0
    }
}

impl Gid {
    /// Root's group.
    pub const ROOT: Self = Self(0);
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The ids of a process: real, effective and saved, and its supplementary groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Real user: who started the process.
    pub uid: Uid,
    /// Effective user: whose permissions count.
    pub euid: Uid,
    /// Saved user: whom the process may become again.
    pub suid: Uid,
    /// Real group.
    pub gid: Gid,
    /// Effective group.
    pub egid: Gid,
    /// Saved group.
    pub sgid: Gid,
    /// Supplementary groups.
    pub groups: Vec<Gid>,
}

impl Credentials {
    /// A user with one group: real, effective and saved ids alike, no supplementary groups.
    #[must_use]
    pub const fn new(uid: Uid, gid: Gid) -> Self {
        Self { uid, euid: uid, suid: uid, gid, egid: gid, sgid: gid, groups: Vec::new() }
    }

    /// Root.
    #[must_use]
    pub const fn root() -> Self {
        Self::new(Uid::ROOT, Gid::ROOT)
    }

    /// Whether permission checks are passed over: the effective user is root.
    #[must_use]
    pub const fn is_privileged(&self) -> bool {
        self.euid.is_root()
    }

    /// Whether the group is the effective one or a supplementary one.
    #[must_use]
    pub fn is_member(&self, group: Gid) -> bool {
        self.egid == group || self.groups.contains(&group)
    }

    /// These credentials with the real ids in force, as `access(2)` checks them.
    #[must_use]
    pub fn with_real_ids(&self) -> Self {
        Self { euid: self.uid, egid: self.gid, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Credentials, Gid, Uid};

    #[test]
    fn membership_counts_the_effective_and_the_supplementary_groups() {
        let mut credentials = Credentials::new(Uid(1000), Gid(1000));
        credentials.groups = vec![Gid(27)];
        credentials.egid = Gid(5);
        assert!(credentials.is_member(Gid(5)));
        assert!(credentials.is_member(Gid(27)));
        assert!(!credentials.is_member(Gid(1000)));
    }

    #[test]
    fn real_ids_replace_the_effective_ones_for_access() {
        let mut credentials = Credentials::new(Uid(1000), Gid(1000));
        credentials.euid = Uid::ROOT;
        assert!(credentials.is_privileged());
        assert!(!credentials.with_real_ids().is_privileged());
    }
}
