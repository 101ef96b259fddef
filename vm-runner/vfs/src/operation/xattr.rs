//! Extended attributes: names, limits and who may touch which.
//!
//! `user.*` belongs to those who may read or write the file, and only files and directories have it. `trusted.*` is
//! root's and invisible to others. `security.*` is readable by all and written by root. Access control lists are
//! another way to write a mode (`acl.rs`). Others are `ENOTSUP`.

use vm_abi::{Access, Credentials, Errno};

use crate::error::{Error, VfsResult};
use crate::inode::{MAX_XATTR_NAME_BYTES, MAX_XATTR_VALUE_BYTES, XattrSet};
use crate::location::Location;
use crate::operation::acl::is_acl;

impl Location {
    /// The value of an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `EACCES`, `ERANGE` for a bad name, `ENOTSUP`.
    pub fn get_xattr(&self, credentials: &Credentials, name: &[u8]) -> VfsResult<Vec<u8>> {
        if is_acl(name) {
            // There is none but the mode.
            return Err(Errno::ENODATA.into());
        }
        match Class::of(name)? {
            Class::User if !self.has_user_xattrs() => return Err(Errno::ENODATA.into()),
            Class::User => self.check_access(credentials, Access::READ)?,
            Class::Trusted if !credentials.is_privileged() => return Err(Errno::ENODATA.into()),
            Class::Trusted | Class::Security => {}
        }
        self.inode.get_xattr(name)
    }

    /// Sets an extended attribute.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA`, `EPERM`, `EACCES`, `EROFS`, `ERANGE`, `E2BIG`, `ENOSPC`, `ENOTSUP`.
    pub fn set_xattr(
        &self,
        credentials: &Credentials,
        name: &[u8],
        value: &[u8],
        how: XattrSet,
    ) -> VfsResult<()> {
        if is_acl(name) {
            return self.set_acl(credentials, name, value);
        }
        self.check_xattr_change(credentials, name)?;
        if value.len() > MAX_XATTR_VALUE_BYTES {
            return Err(Error::limit(Errno::E2BIG, "extended attribute value bytes"));
        }
        self.inode.set_xattr(name, value, how)
    }

    /// The names of the extended attributes that these credentials may see.
    ///
    /// # Errors
    /// What the medium answers.
    pub fn list_xattr(&self, credentials: &Credentials) -> VfsResult<Vec<Vec<u8>>> {
        let mut names = self.inode.list_xattr()?;
        if !credentials.is_privileged() {
            names.retain(|name| !name.starts_with(b"trusted."));
        }
        Ok(names)
    }

    /// Removes an extended attribute.
    ///
    /// # Errors
    /// `ENODATA`, `EPERM`, `EACCES`, `EROFS`, `ERANGE`, `ENOTSUP`.
    pub fn remove_xattr(&self, credentials: &Credentials, name: &[u8]) -> VfsResult<()> {
        if is_acl(name) {
            return Err(Errno::ENODATA.into());
        }
        self.check_xattr_change(credentials, name)?;
        self.inode.remove_xattr(name)
    }

    fn check_xattr_change(&self, credentials: &Credentials, name: &[u8]) -> VfsResult<()> {
        let class = Class::of(name)?;
        self.check_writable_mount()?;
        match class {
            Class::User if !self.has_user_xattrs() => Err(Errno::EPERM.into()),
            Class::User => self.check_access(credentials, Access::WRITE),
            Class::Trusted | Class::Security if !credentials.is_privileged() => Err(Errno::EPERM.into()),
            Class::Trusted | Class::Security => Ok(()),
        }
    }

    fn has_user_xattrs(&self) -> bool {
        self.file_type().is_regular() || self.file_type().is_directory()
    }
}

/// To whom a name belongs.
enum Class {
    User,
    Trusted,
    Security,
}

impl Class {
    fn of(name: &[u8]) -> VfsResult<Self> {
        if name.is_empty() || name.len() > MAX_XATTR_NAME_BYTES || name.contains(&0) {
            return Err(Errno::ERANGE.into());
        }
        for (prefix, class) in
            [(&b"user."[..], Self::User), (b"trusted.", Self::Trusted), (b"security.", Self::Security)]
        {
            if let Some(rest) = name.strip_prefix(prefix) {
                return if rest.is_empty() { Err(Errno::EINVAL.into()) } else { Ok(class) };
            }
        }
        Err(Errno::ENOTSUP.into())
    }
}
