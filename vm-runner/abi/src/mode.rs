//! Permission bits of a file.

use std::fmt;

use crate::{Access, Credentials, Gid, Uid};

/// The twelve permission bits: set-user-id, set-group-id, sticky, and read, write, execute three times.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Mode(u32);

impl Mode {
    /// The bits a `Mode` can have.
    pub const MASK: u32 = 0o7777;
    /// Set-user-id.
    pub const SET_UID: Self = Self(0o4000);
    /// Set-group-id; on a directory, new entries get its group.
    pub const SET_GID: Self = Self(0o2000);
    /// Sticky: only owners remove entries from such a directory.
    pub const STICKY: Self = Self(0o1000);

    /// The permission bits of a number; all other bits are dropped.
    #[must_use]
    pub const fn new(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether all bits of the other mode are set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// This mode and the bits of another one.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This mode without the bits of another one; so a umask is applied.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether anybody may execute the file.
    #[must_use]
    pub const fn has_execute(self) -> bool {
        self.0 & 0o111 != 0
    }

    /// What the bits allow somebody on a file of this owner: the owner's, else the group's, else the others' bits.
    /// Root is not treated specially here.
    #[must_use]
    pub fn granted(self, owner: Uid, group: Gid, credentials: &Credentials) -> Access {
        let shift = if credentials.euid == owner {
            6
        } else if credentials.is_member(group) {
            3
        } else {
            0
        };
        Access::from_bits_truncate(((self.0 >> shift) & 0o7) as u8)
    }
}

impl fmt::Debug for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mode({:#05o})", self.0)
    }
}

impl fmt::Octal for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Octal::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::Mode;
    use crate::{Access, Credentials, Gid, Uid};

    #[test]
    fn type_bits_are_no_part_of_a_mode() {
        assert_eq!(Mode::new(0o100_644).bits(), 0o644);
        assert_eq!(format!("{:?} {:o}", Mode::new(0o44), Mode::new(0o1777)), "Mode(0o044) 1777");
    }

    #[test]
    fn the_owners_bits_win_over_the_groups_and_the_others() {
        let mode = Mode::new(0o047);
        let owner = Credentials::new(Uid(1), Gid(1));
        let member = Credentials::new(Uid(2), Gid(1));
        let other = Credentials::new(Uid(2), Gid(2));
        assert_eq!(mode.granted(Uid(1), Gid(1), &owner), Access::empty());
        assert_eq!(mode.granted(Uid(1), Gid(1), &member), Access::READ);
        assert_eq!(mode.granted(Uid(1), Gid(1), &other), Access::READ | Access::WRITE | Access::EXECUTE);
    }

    #[test]
    fn a_umask_takes_bits_away() {
        assert_eq!(Mode::new(0o666).without(Mode::new(0o022)), Mode::new(0o644));
        assert!(Mode::new(0o1777).contains(Mode::STICKY));
        assert!(!Mode::new(0o644).has_execute());
    }
}
