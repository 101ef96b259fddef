//! Small flag sets and enumerations of system calls.
//!
//! The bit values of [`PollEvents`] and [`Access`] are Linux's and may be passed through; those of [`OpenFlags`] are
//! our own, because every guest library encodes open flags differently.

use bitflags::bitflags;

bitflags! {
    /// How a file is opened.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct OpenFlags: u32 {
        /// For reading.
        const READ = 1;
        /// For writing.
        const WRITE = 1 << 1;
        /// Every write goes to the end.
        const APPEND = 1 << 2;
        /// Make the file if it is missing.
        const CREATE = 1 << 3;
        /// With `CREATE`: fail if it exists.
        const EXCL = 1 << 4;
        /// Make it empty.
        const TRUNC = 1 << 5;
        /// Fail unless it is a directory.
        const DIRECTORY = 1 << 6;
        /// Fail if the last component is a symbolic link.
        const NOFOLLOW = 1 << 7;
        /// Never wait.
        const NONBLOCK = 1 << 8;
        /// Close the fd when the process executes another program.
        const CLOEXEC = 1 << 9;
        /// Each write waits for the file to be durable.
        const SYNC = 1 << 10;
        /// Each write waits for the file's data to be durable.
        const DSYNC = 1 << 11;
        /// Do not make a terminal the controlling one.
        const NOCTTY = 1 << 12;
        /// Only a reference to the path: no reading, no writing, no permission on the file itself.
        const PATH = 1 << 13;
        /// An unnamed file in the given directory.
        const TMPFILE = 1 << 14;
    }
}

bitflags! {
    /// What somebody wants to do with a file. Empty asks whether it exists. The bits are those of `access(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Access: u8 {
        /// Execute a file, search a directory.
        const EXECUTE = 1;
        /// Write a file, change a directory.
        const WRITE = 2;
        /// Read a file, list a directory.
        const READ = 4;
    }
}

bitflags! {
    /// Readiness of a file, with the bits of `poll(2)`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct PollEvents: u16 {
        /// Reading would not block.
        const IN = 0x1;
        /// Urgent data.
        const PRI = 0x2;
        /// Writing would not block.
        const OUT = 0x4;
        /// Something is broken; always reported.
        const ERR = 0x8;
        /// The other side is gone; always reported.
        const HUP = 0x10;
        /// Not an open fd; always reported.
        const NVAL = 0x20;
        /// As `IN`.
        const RDNORM = 0x40;
        /// As `OUT`.
        const WRNORM = 0x100;
        /// The other side will write no more.
        const RDHUP = 0x2000;
    }
}

/// From where a seek counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whence {
    /// The start of the file.
    Start,
    /// The current offset.
    Current,
    /// The end of the file.
    End,
    /// The next data at or after the offset.
    Data,
    /// The next hole at or after the offset.
    Hole,
}

impl OpenFlags {
    /// Whether the opener may read.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        self.contains(Self::READ)
    }

    /// Whether the opener may write.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        self.contains(Self::WRITE)
    }

    /// The permissions that opening an existing file with these flags needs.
    #[must_use]
    pub fn required_access(self) -> Access {
        let mut access = Access::empty();
        access.set(Access::READ, self.is_readable());
        access.set(Access::WRITE, self.is_writable() || self.contains(Self::TRUNC));
        access
    }
}

#[cfg(test)]
mod tests {
    use super::{Access, OpenFlags};

    #[test]
    fn truncating_needs_permission_to_write() {
        assert_eq!((OpenFlags::READ | OpenFlags::TRUNC).required_access(), Access::READ | Access::WRITE);
        assert_eq!(OpenFlags::PATH.required_access(), Access::empty());
    }
}
