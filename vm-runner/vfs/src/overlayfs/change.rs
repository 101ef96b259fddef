//! Making and removing entries.

use std::sync::Arc;

use vm_abi::{DeviceNumber, Errno, Mode};

use super::Changing;
use super::lower_cache::LowerStack;
use super::marker::{self, LayerEntry};
use super::node::{Node, Place};
use crate::error::VfsResult;
use crate::inode::{Inode, NodeKind, Owner, RenameFlags};
use crate::path::{Name, NameBuf};

/// How many names are tried for a whiteout that is to be moved into place.
const SPARE_NAMES: u32 = 16;

impl Node {
    pub(super) fn create_entry(
        &self,
        name: Name<'_>,
        kind: NodeKind<'_>,
        mode: Mode,
        owner: Owner,
    ) -> VfsResult<Arc<Self>> {
        // It would be a whiteout.
        if kind == NodeKind::CharDevice(DeviceNumber::NONE) {
            return Err(Errno::EPERM.into());
        }
        let changing = self.shared.change();
        self.check_vacant(name)?;
        let upper = self.copy_up_directory(&changing)?;
        let hides = !self.lower_entry(name)?.is_empty();
        let created = over_whiteout(&*upper, name, || {
            let created = upper.create(name, kind, mode, owner)?;
            if hides
                && kind == NodeKind::Directory
                && let Err(error) = marker::make_opaque(&*created)
            {
                upper.rmdir(name)?;
                return Err(error);
            }
            Ok(created)
        })?;
        self.shared.node(Some(created), LowerStack::default(), self.place_of(name)?)
    }

    pub(super) fn create_without_entry(&self, mode: Mode, owner: Owner) -> VfsResult<Arc<Self>> {
        let _looking = self.shared.look();
        self.check_alive()?;
        let created = self.shared.upper.root().create_unnamed(mode, owner)?;
        self.shared.node(Some(created), LowerStack::default(), Place::Unnamed)
    }

    pub(super) fn link_entry(&self, name: Name<'_>, target: &Arc<Self>) -> VfsResult<()> {
        if target.file_type.is_directory() {
            return Err(Errno::EPERM.into());
        }
        if target.is_gone()? {
            return Err(Errno::ENOENT.into());
        }
        {
            let _looking = self.shared.look();
            self.check_vacant(name)?;
        }
        let linked = target.copy_up(u64::MAX)?;
        let changing = self.shared.change();
        self.check_vacant(name)?;
        let upper = self.copy_up_directory(&changing)?;
        over_whiteout(&*upper, name, || upper.link(name, &linked))?;
        target.state_mut().place = self.place_of(name)?;
        Ok(())
    }

    pub(super) fn unlink_entry(&self, name: Name<'_>) -> VfsResult<()> {
        let changing = self.shared.change();
        let node = self.find(name)?;
        if node.file_type.is_directory() {
            return Err(Errno::EISDIR.into());
        }
        self.remove_entry(&changing, name, &node)
    }

    pub(super) fn rmdir_entry(&self, name: Name<'_>) -> VfsResult<()> {
        let changing = self.shared.change();
        let node = self.find(name)?;
        node.check_empty_directory()?;
        node.sweep(&changing)?;
        self.remove_entry(&changing, name, &node)
    }

    /// Takes an entry away, whichever layers have it.
    fn remove_entry(&self, changing: &Changing<'_>, name: Name<'_>, node: &Node) -> VfsResult<()> {
        let hides = !self.lower_entry(name)?.is_empty();
        let is_in_upper = matches!(self.upper_entry(name)?, LayerEntry::Present(_));
        let upper = self.copy_up_directory(changing)?;
        let is_directory = node.file_type.is_directory();
        let remove = |name| if is_directory { upper.rmdir(name) } else { upper.unlink(name) };
        match (is_in_upper, hides) {
            (_, false) => remove(name)?,
            (false, true) => marker::make_whiteout(&*upper, name)?,
            (true, true) => {
                // The whiteout is made first, so that running out of space leaves everything as it is.
                let spare = make_spare_whiteout(&*upper)?;
                upper.rename(spare.as_name(), &upper, name, RenameFlags::EXCHANGE)?;
                remove(spare.as_name())?;
            }
        }
        node.leave(self, name);
        Ok(())
    }

    /// Notes that the node is no longer found here.
    pub(super) fn leave(&self, directory: &Self, name: Name<'_>) {
        let mut state = self.state_mut();
        let is_here = match &state.place {
            Place::In { directory: old, name: old_name } => {
                std::ptr::eq(&raw const **old, directory) && old_name.as_name() == name
            }
            Place::Root | Place::Unnamed | Place::Nowhere => false,
        };
        if is_here {
            state.place = Place::Nowhere;
        }
    }

    /// Prepares an empty directory for removal: nothing shines through, and no whiteouts are left in the upper part.
    pub(super) fn sweep(&self, changing: &Changing<'_>) -> VfsResult<()> {
        let Some(upper) = self.upper() else { return Ok(()) };
        self.detach_lowers(changing)?;
        for entry in upper.read_dir()? {
            upper.unlink(entry.name.as_name())?;
        }
        Ok(())
    }

    pub(super) fn check_empty_directory(&self) -> VfsResult<()> {
        if !self.file_type.is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        if self.list()?.is_empty() { Ok(()) } else { Err(Errno::ENOTEMPTY.into()) }
    }

    pub(super) fn check_alive(&self) -> VfsResult<()> {
        if !self.file_type.is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        match &self.state().place {
            Place::Root | Place::In { .. } => Ok(()),
            Place::Unnamed | Place::Nowhere => Err(Errno::ENOENT.into()),
        }
    }

    pub(super) fn place_of(&self, name: Name<'_>) -> VfsResult<Place> {
        let directory = self.this.upgrade().ok_or(Errno::ENOENT)?;
        Ok(Place::In { directory, name: name.to_owned() })
    }

    /// Whether a file lost its last name. That its copy has none yet does not mean that it may get one again.
    fn is_gone(&self) -> VfsResult<bool> {
        let state = self.state();
        match (&state.place, &state.upper) {
            (Place::Nowhere, None) => Ok(true),
            (Place::Nowhere, Some(upper)) => Ok(upper.stat()?.nlink == 0),
            (Place::Root | Place::Unnamed | Place::In { .. }, _) => Ok(false),
        }
    }

    fn check_vacant(&self, name: Name<'_>) -> VfsResult<()> {
        self.check_alive()?;
        match self.find(name) {
            Ok(_) => Err(Errno::EEXIST.into()),
            Err(error) if error == Errno::ENOENT => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Makes an entry where a whiteout may be; puts the whiteout back if that fails.
fn over_whiteout<T>(upper: &dyn Inode, name: Name<'_>, make: impl FnOnce() -> VfsResult<T>) -> VfsResult<T> {
    match LayerEntry::find(upper, name)? {
        LayerEntry::Missing | LayerEntry::Present(_) => make(),
        LayerEntry::Whiteout => {
            upper.unlink(name)?;
            let result = make();
            if result.is_err() {
                // The inode it takes was given back a moment ago.
                marker::make_whiteout(upper, name)?;
            }
            result
        }
    }
}

/// A whiteout at a name of its own, to be moved into place. Being a whiteout, it is not seen.
pub(super) fn make_spare_whiteout(upper: &dyn Inode) -> VfsResult<NameBuf> {
    for number in 0..SPARE_NAMES {
        let name = format!(".wh.overlay-spare-{number}").into_bytes();
        let name = Name::new(&name)?;
        match LayerEntry::find(upper, name)? {
            LayerEntry::Missing => {
                marker::make_whiteout(upper, name)?;
                return Ok(name.to_owned());
            }
            // Left over from a crash.
            LayerEntry::Whiteout => return Ok(name.to_owned()),
            LayerEntry::Present(_) => {}
        }
    }
    Err(Errno::EEXIST.into())
}
