//! What `stat` tells about a file.

use crate::{FileType, Gid, Mode, Timespec, Uid};

/// The facts about a file, as Linux's `struct stat` holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The file system; with `ino` it identifies the file.
    pub dev: u64,
    /// The inode number; never 0.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of names.
    pub nlink: u64,
    /// Owner.
    pub uid: Uid,
    /// Group.
    pub gid: Gid,
    /// Which device, for device nodes; else 0.
    pub rdev: DeviceNumber,
    /// Size in bytes.
    pub size: u64,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
    /// Last read.
    pub atime: Timespec,
    /// Last change of the content.
    pub mtime: Timespec,
    /// Last change of content or attributes.
    pub ctime: Timespec,
}

impl Stat {
    /// The type; a mode that names no type counts as a regular file.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        FileType::from_mode_bits(self.mode).unwrap_or(FileType::Regular)
    }

    /// The permission bits.
    #[must_use]
    pub const fn permissions(&self) -> Mode {
        Mode::new(self.mode)
    }
}

/// A device, in Linux's encoding of major and minor number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeviceNumber(pub u64);

impl DeviceNumber {
    /// No device; as a character device it is an overlay's whiteout.
    pub const NONE: Self = Self(0);

    /// The number of a device.
    #[must_use]
    pub const fn new(major: u32, minor: u32) -> Self {
        let (major, minor) = (major as u64, minor as u64);
        Self(
            (major & 0xffff_f000) << 32 | (major & 0xfff) << 8 | (minor & 0xffff_ff00) << 12 | (minor & 0xff),
        )
    }

    /// The driver's number.
    #[must_use]
    pub const fn major(self) -> u32 {
        ((self.0 >> 32) & 0xffff_f000) as u32 | ((self.0 >> 8) & 0xfff) as u32
    }

    /// Which of the driver's devices.
    #[must_use]
    pub const fn minor(self) -> u32 {
        ((self.0 >> 12) & 0xffff_ff00) as u32 | (self.0 & 0xff) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::DeviceNumber;

    #[test]
    fn major_and_minor_survive_the_encoding() {
        for (major, minor) in [(0, 0), (1, 3), (5, 0), (0xfff, 0xff), (0x1234_5678, 0x9abc_def0)] {
            let device = DeviceNumber::new(major, minor);
            assert_eq!((device.major(), device.minor()), (major, minor));
        }
        assert_eq!(DeviceNumber::new(1, 3).0, 0x103);
    }
}
