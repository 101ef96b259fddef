//! How an upper layer says "not here" and "nothing from below": whiteouts and opaque directories.

use std::sync::Arc;

use vm_abi::{DeviceNumber, Errno, FileType, Mode};

use crate::error::VfsResult;
use crate::inode::{Inode, NodeKind, Owner, XattrSet};
use crate::path::Name;

/// Extended attributes with this prefix are the overlay's own; the guest never sees them.
pub(super) const PRIVATE_XATTR_PREFIX: &[u8] = b"trusted.overlay.";
const OPAQUE_XATTR: &[u8] = b"trusted.overlay.opaque";
const OPAQUE_VALUE: &[u8] = b"y";

/// What one layer has at a name.
pub(super) enum LayerEntry {
    /// Nothing; lower layers decide.
    Missing,
    /// A mark that hides what lower layers have.
    Whiteout,
    /// A file.
    Present(Arc<dyn Inode>),
}

impl LayerEntry {
    pub(super) fn find(directory: &dyn Inode, name: Name<'_>) -> VfsResult<Self> {
        match directory.lookup(name) {
            Ok(inode) if is_whiteout(&*inode)? => Ok(Self::Whiteout),
            Ok(inode) => Ok(Self::Present(inode)),
            Err(error) if error == Errno::ENOENT => Ok(Self::Missing),
            Err(error) => Err(error),
        }
    }
}

pub(super) fn is_whiteout(inode: &dyn Inode) -> VfsResult<bool> {
    Ok(inode.file_type() == FileType::CharDevice && inode.stat()?.rdev == DeviceNumber::NONE)
}

pub(super) fn make_whiteout(directory: &dyn Inode, name: Name<'_>) -> VfsResult<()> {
    directory.create(name, NodeKind::CharDevice(DeviceNumber::NONE), Mode::new(0), Owner::ROOT).map(|_| ())
}

pub(super) fn is_opaque(directory: &dyn Inode) -> VfsResult<bool> {
    match directory.get_xattr(OPAQUE_XATTR) {
        Ok(value) => Ok(value == OPAQUE_VALUE),
        Err(error) if error == Errno::ENODATA || error == Errno::ENOTSUP => Ok(false),
        Err(error) => Err(error),
    }
}

pub(super) fn make_opaque(directory: &dyn Inode) -> VfsResult<()> {
    directory.set_xattr(OPAQUE_XATTR, OPAQUE_VALUE, XattrSet::Any)
}
