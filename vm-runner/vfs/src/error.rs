//! The one error of this crate: an error number, and where it helps the limit that was hit.

use std::fmt;

use vm_abi::Errno;

/// What every operation on files answers.
pub type VfsResult<T> = Result<T, Error>;

/// Why an operation on files failed.
#[derive(Clone, Copy, Debug)]
pub struct Error {
    errno: Errno,
    limit: Option<&'static str>,
}

impl Error {
    /// An error that its number explains.
    #[must_use]
    pub const fn new(errno: Errno) -> Self {
        Self { errno, limit: None }
    }

    /// An error that comes from a limit, with the limit's name for logs and problem documents.
    #[must_use]
    pub const fn limit(errno: Errno, limit: &'static str) -> Self {
        Self { errno, limit: Some(limit) }
    }

    /// What the guest sees.
    #[must_use]
    pub const fn errno(self) -> Errno {
        self.errno
    }

    /// Which limit was hit, if it was one.
    #[must_use]
    pub const fn hit_limit(self) -> Option<&'static str> {
        self.limit
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::new(errno)
    }
}

impl From<Error> for Errno {
    fn from(error: Error) -> Self {
        error.errno
    }
}

/// Two errors are equal if the guest cannot tell them apart.
impl PartialEq for Error {
    fn eq(&self, other: &Self) -> bool {
        self.errno == other.errno
    }
}

impl Eq for Error {}

impl PartialEq<Errno> for Error {
    fn eq(&self, other: &Errno) -> bool {
        self.errno == *other
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            None => write!(f, "{} ({})", self.errno.message(), self.errno.name()),
            Some(limit) => {
                write!(f, "{} ({}): limit of {limit} reached", self.errno.message(), self.errno.name())
            }
        }
    }
}

impl std::error::Error for Error {}
