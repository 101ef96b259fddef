//! Guest paths and their components. Both are bytes: the guest's names need not be UTF-8.
//!
//! Invariants: a [`Name`] is one component that can stand in a directory: 1 to 255 bytes, no `/`, no NUL, neither `.`
//! nor `..`. A [`VPath`] is absolute and normal: it starts with `/`, and its components are names.

use std::borrow::Borrow;
use std::fmt;

use vm_abi::Errno;

use crate::error::{Error, VfsResult};

/// The longest component, in bytes; longer ones are `ENAMETOOLONG`.
pub const MAX_NAME_BYTES: usize = 255;
/// The longest path, in bytes; longer ones are `ENAMETOOLONG`.
pub const MAX_PATH_BYTES: usize = 4096;

/// A name in a directory, borrowed.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// The name with these bytes.
    ///
    /// # Errors
    /// `ENOENT` if empty, `ENAMETOOLONG` above [`MAX_NAME_BYTES`], `EINVAL` for `.`, `..`, a slash or a NUL.
    pub fn new(bytes: &'a [u8]) -> VfsResult<Self> {
        match bytes {
            b"" => Err(Errno::ENOENT.into()),
            b"." | b".." => Err(Errno::EINVAL.into()),
            _ if bytes.len() > MAX_NAME_BYTES => Err(Errno::ENAMETOOLONG.into()),
            _ if bytes.iter().any(|&byte| byte == b'/' || byte == 0) => Err(Errno::EINVAL.into()),
            _ => Ok(Self(bytes)),
        }
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(self) -> &'a [u8] {
        self.0
    }

    /// An owned copy.
    #[must_use]
    pub fn to_owned(self) -> NameBuf {
        NameBuf(self.0.into())
    }
}

impl fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(self.0).fmt(f)
    }
}

/// A name in a directory, owned.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NameBuf(Box<[u8]>);

impl NameBuf {
    /// The name, borrowed.
    #[must_use]
    pub const fn as_name(&self) -> Name<'_> {
        Name(&self.0)
    }

    /// The bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Maps keyed by `NameBuf` are asked with the bytes of a [`Name`].
impl Borrow<[u8]> for NameBuf {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

impl fmt::Display for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_name().fmt(f)
    }
}

/// An absolute, normal guest path.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct VPath(Vec<u8>);

impl VPath {
    /// `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// The path with these bytes; repeated and trailing slashes are dropped.
    ///
    /// # Errors
    /// `EINVAL` unless absolute, for NULs and for `.` and `..`, which only a walk can resolve; `ENAMETOOLONG`.
    pub fn new(bytes: &[u8]) -> VfsResult<Self> {
        if bytes.first() != Some(&b'/') {
            return Err(Errno::EINVAL.into());
        }
        if bytes.len() > MAX_PATH_BYTES {
            return Err(Errno::ENAMETOOLONG.into());
        }
        let mut path = Self::root();
        for component in bytes.split(|&byte| byte == b'/').filter(|component| !component.is_empty()) {
            path = path.join(Name::new(component)?);
        }
        Ok(path)
    }

    /// This path and one more component.
    #[must_use]
    pub fn join(mut self, name: Name<'_>) -> Self {
        if self.0.len() > 1 {
            self.0.push(b'/');
        }
        self.0.extend_from_slice(name.as_bytes());
        self
    }

    /// The bytes, starting with a slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The components, from the root.
    pub fn components(&self) -> impl Iterator<Item = Name<'_>> {
        self.0.split(|&byte| byte == b'/').filter(|component| !component.is_empty()).map(Name)
    }

    /// Whether this path is the other one or lies below it.
    #[must_use]
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        let rest = self.0.strip_prefix(ancestor.0.as_slice());
        rest.is_some_and(|rest| ancestor.0.len() == 1 || rest.is_empty() || rest[0] == b'/')
    }
}

impl TryFrom<&str> for VPath {
    type Error = Error;

    fn try_from(path: &str) -> VfsResult<Self> {
        Self::new(path.as_bytes())
    }
}

impl fmt::Debug for VPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

impl fmt::Display for VPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        String::from_utf8_lossy(&self.0).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::Errno;

    use super::{Name, VPath};

    #[test]
    fn a_name_is_one_component_that_can_stand_in_a_directory() {
        assert_eq!(Name::new(b"a b\xff").unwrap().as_bytes(), b"a b\xff");
        for (bytes, errno) in [
            (&b""[..], Errno::ENOENT),
            (b".", Errno::EINVAL),
            (b"..", Errno::EINVAL),
            (b"a/b", Errno::EINVAL),
            (b"a\0", Errno::EINVAL),
            (&[b'a'; 256], Errno::ENAMETOOLONG),
        ] {
            assert_eq!(Name::new(bytes).unwrap_err(), errno);
        }
        assert!(Name::new(&[b'a'; 255]).is_ok());
    }

    #[test]
    fn a_path_is_normal_and_absolute() {
        assert_eq!(VPath::new(b"//a///b/").unwrap().as_bytes(), b"/a/b");
        assert_eq!(VPath::new(b"/").unwrap(), VPath::root());
        for bytes in [&b""[..], b"a", b"/a/../b", b"/./a", b"/a\0b"] {
            assert_eq!(VPath::new(bytes).unwrap_err(), Errno::EINVAL);
        }
        assert_eq!(VPath::new(&[b'/'; 4097]).unwrap_err(), Errno::ENAMETOOLONG);
    }

    #[test]
    fn a_path_lies_below_its_ancestors_only() {
        let path = |text: &str| VPath::try_from(text).unwrap();
        assert!(path("/a/b").starts_with(&path("/a")));
        assert!(path("/a/b").starts_with(&path("/")));
        assert!(path("/a").starts_with(&path("/a")));
        assert!(!path("/ab").starts_with(&path("/a")));
        assert_eq!(path("/a/b").components().count(), 2);
        assert_eq!(path("/").components().count(), 0);
    }
}
