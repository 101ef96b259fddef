//! What kind of thing an inode is.

/// The type of a file, as the type bits of a Linux `st_mode` tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FileType {
    /// Bytes.
    Regular,
    /// Names.
    Directory,
    /// A path to something else.
    Symlink,
    /// A device that is read and written as a stream.
    CharDevice,
    /// A device of blocks.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A Unix domain socket.
    Socket,
}

impl FileType {
    /// The bits of `st_mode` that hold the type.
    pub const MASK: u32 = 0o170_000;

    /// The type bits of `st_mode`.
    #[must_use]
    pub const fn mode_bits(self) -> u32 {
        match self {
            Self::Fifo => 0o010_000,
            Self::CharDevice => 0o020_000,
            Self::Directory => 0o040_000,
            Self::BlockDevice => 0o060_000,
            Self::Regular => 0o100_000,
            Self::Symlink => 0o120_000,
            Self::Socket => 0o140_000,
        }
    }

    /// The type that a `st_mode` tells; `None` if its type bits name none.
    #[must_use]
    pub const fn from_mode_bits(mode: u32) -> Option<Self> {
        match mode & Self::MASK {
            0o010_000 => Some(Self::Fifo),
            0o020_000 => Some(Self::CharDevice),
            0o040_000 => Some(Self::Directory),
            0o060_000 => Some(Self::BlockDevice),
            0o100_000 => Some(Self::Regular),
            0o120_000 => Some(Self::Symlink),
            0o140_000 => Some(Self::Socket),
            _ => None,
        }
    }

    /// Whether this is a directory.
    #[must_use]
    pub const fn is_directory(self) -> bool {
        matches!(self, Self::Directory)
    }

    /// Whether this is a regular file.
    #[must_use]
    pub const fn is_regular(self) -> bool {
        matches!(self, Self::Regular)
    }

    /// Whether this is a symbolic link.
    #[must_use]
    pub const fn is_symlink(self) -> bool {
        matches!(self, Self::Symlink)
    }
}

#[cfg(test)]
mod tests {
    use super::FileType;

    #[test]
    fn every_type_survives_the_way_through_its_mode_bits() {
        for file_type in [
            FileType::Regular,
            FileType::Directory,
            FileType::Symlink,
            FileType::CharDevice,
            FileType::BlockDevice,
            FileType::Fifo,
            FileType::Socket,
        ] {
            assert_eq!(FileType::from_mode_bits(file_type.mode_bits() | 0o7777), Some(file_type));
        }
    }

    #[test]
    fn mode_bits_that_name_no_type_are_refused() {
        assert_eq!(FileType::from_mode_bits(0o644), None);
        assert_eq!(FileType::from_mode_bits(0o170_000), None);
    }
}
