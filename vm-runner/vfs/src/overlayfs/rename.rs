//! Renaming.
//!
//! What is moved is copied up before: a file, or a directory with all that is in it, because its lower parts would
//! stay at the old name. The copying is done before the tree is held; what appeared meanwhile is copied under it.

use std::sync::Arc;

use vm_abi::Errno;

use super::Changing;
use super::change::make_spare_whiteout;
use super::marker::{self, LayerEntry};
use super::node::{Node, Place};
use crate::error::VfsResult;
use crate::inode::{Inode, RenameFlags};
use crate::path::Name;

/// An entry by directory and name.
#[derive(Clone, Copy)]
struct Entry<'a> {
    directory: &'a Node,
    name: Name<'a>,
}

/// What is at both ends of a rename.
struct Ends {
    moved: Arc<Node>,
    replaced: Option<Arc<Node>>,
}

impl Node {
    pub(super) fn rename_entry(
        &self,
        name: Name<'_>,
        new_parent: &Arc<Self>,
        new_name: Name<'_>,
        flags: RenameFlags,
    ) -> VfsResult<()> {
        let from = Entry { directory: self, name };
        let to = Entry { directory: new_parent, name: new_name };
        {
            let looking = self.shared.look();
            let Some(ends) = check_rename(from, to, flags)? else { return Ok(()) };
            drop(looking);
            ends.moved.copy_up_files()?;
            if let (true, Some(other)) = (flags.contains(RenameFlags::EXCHANGE), &ends.replaced) {
                other.copy_up_files()?;
            }
        }
        let changing = self.shared.change();
        let Some(ends) = check_rename(from, to, flags)? else { return Ok(()) };
        if flags.contains(RenameFlags::EXCHANGE) {
            exchange(&changing, from, to, &ends)
        } else {
            relocate(&changing, from, to, &ends)
        }
    }

    /// Copies up a file, or all files below a directory. Precondition: the tree is not held.
    fn copy_up_files(self: &Arc<Self>) -> VfsResult<()> {
        let mut waiting = vec![Arc::clone(self)];
        while let Some(node) = waiting.pop() {
            if !node.file_type.is_directory() {
                node.copy_up(u64::MAX)?;
                continue;
            }
            let _looking = self.shared.look();
            if node.state().lowers.is_empty() {
                continue;
            }
            for entry in node.list()? {
                waiting.push(node.find(entry.name.as_name())?);
            }
        }
        Ok(())
    }

    /// Gives this entry, with all that is in it, to the upper layer alone.
    fn move_to_upper(
        self: &Arc<Self>,
        changing: &Changing<'_>,
        upper_directory: &dyn Inode,
        name: Name<'_>,
    ) -> VfsResult<Arc<dyn Inode>> {
        if !self.file_type.is_directory() {
            return self.settle(changing, upper_directory, name);
        }
        let own_upper = self.copy_up_directory(changing)?;
        let mut waiting = vec![Arc::clone(self)];
        while let Some(node) = waiting.pop() {
            // Below a directory of the upper layer alone there is nothing of lower ones.
            if node.state().lowers.is_empty() {
                continue;
            }
            let upper = node.copy_up_directory(changing)?;
            for entry in node.list()? {
                let child = node.find(entry.name.as_name())?;
                if child.file_type.is_directory() {
                    child.copy_up_directory(changing)?;
                    waiting.push(child);
                } else {
                    child.settle(changing, &*upper, entry.name.as_name())?;
                }
            }
            node.detach_lowers(changing)?;
        }
        Ok(own_upper)
    }

    /// Whether this directory is the other one or lies below it.
    fn is_within(&self, ancestor: &Arc<Self>) -> bool {
        let mut at = self.this.upgrade();
        while let Some(node) = at {
            if Arc::ptr_eq(&node, ancestor) {
                return true;
            }
            at = match &node.state().place {
                Place::In { directory, name: _ } => Some(Arc::clone(directory)),
                Place::Root | Place::Unnamed | Place::Nowhere => None,
            };
        }
        false
    }
}

/// What is to be renamed, if it may be; `None` if there is nothing to do. The tree is held.
fn check_rename(from: Entry<'_>, to: Entry<'_>, flags: RenameFlags) -> VfsResult<Option<Ends>> {
    to.directory.check_alive()?;
    let moved = from.directory.find(from.name)?;
    let replaced = match to.directory.find(to.name) {
        Ok(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(Errno::EEXIST.into()),
        Ok(replaced) => Some(replaced),
        Err(error) if error == Errno::ENOENT && !flags.contains(RenameFlags::EXCHANGE) => None,
        Err(error) => return Err(error),
    };
    let is_directory = moved.file_type.is_directory();
    if is_directory && to.directory.is_within(&moved) {
        return Err(Errno::EINVAL.into());
    }
    if let Some(replaced) = &replaced {
        // Two names of one file: nothing to do, says POSIX.
        if Arc::ptr_eq(&moved, replaced) {
            return Ok(None);
        }
        if flags.contains(RenameFlags::EXCHANGE) {
            if replaced.file_type.is_directory() && from.directory.is_within(replaced) {
                return Err(Errno::EINVAL.into());
            }
        } else if is_directory {
            replaced.check_empty_directory()?;
        } else if replaced.file_type.is_directory() {
            return Err(Errno::EISDIR.into());
        }
    }
    Ok(Some(Ends { moved, replaced }))
}

fn exchange(changing: &Changing<'_>, from: Entry<'_>, to: Entry<'_>, ends: &Ends) -> VfsResult<()> {
    let Some(other) = &ends.replaced else {
        return Err(Errno::ENOENT.into());
    };
    let from_upper = from.directory.copy_up_directory(changing)?;
    let to_upper = to.directory.copy_up_directory(changing)?;
    let moved_upper = ends.moved.move_to_upper(changing, &*from_upper, from.name)?;
    let other_upper = other.move_to_upper(changing, &*to_upper, to.name)?;
    hide_below(to, &*moved_upper)?;
    hide_below(from, &*other_upper)?;
    from_upper.rename(from.name, &to_upper, to.name, RenameFlags::EXCHANGE)?;
    ends.moved.state_mut().place = to.directory.place_of(to.name)?;
    other.state_mut().place = from.directory.place_of(from.name)?;
    Ok(())
}

fn relocate(changing: &Changing<'_>, from: Entry<'_>, to: Entry<'_>, ends: &Ends) -> VfsResult<()> {
    let from_upper = from.directory.copy_up_directory(changing)?;
    let to_upper = to.directory.copy_up_directory(changing)?;
    let moved_upper = ends.moved.move_to_upper(changing, &*from_upper, from.name)?;
    hide_below(to, &*moved_upper)?;
    let leaves_lower = !from.directory.lower_entry(from.name)?.is_empty();
    // Made before anything else is done, so that running out of space leaves everything as it is.
    let whiteout = if leaves_lower { Some(make_spare_whiteout(&*from_upper)?) } else { None };
    if let Some(replaced) = ends.replaced.as_ref().filter(|replaced| replaced.file_type.is_directory()) {
        replaced.sweep(changing)?;
    }
    let is_whiteout = matches!(LayerEntry::find(&*to_upper, to.name)?, LayerEntry::Whiteout);
    if is_whiteout && ends.moved.file_type.is_directory() {
        to_upper.unlink(to.name)?;
    }
    from_upper.rename(from.name, &to_upper, to.name, RenameFlags::empty())?;
    if let Some(whiteout) = whiteout {
        from_upper.rename(whiteout.as_name(), &from_upper, from.name, RenameFlags::empty())?;
    }
    ends.moved.state_mut().place = to.directory.place_of(to.name)?;
    if let Some(replaced) = &ends.replaced {
        replaced.leave(to.directory, to.name);
    }
    Ok(())
}

/// A directory that comes to a name must not be merged with what lower layers have there.
fn hide_below(at: Entry<'_>, upper: &dyn Inode) -> VfsResult<()> {
    let needs_mark = upper.file_type().is_directory() && !at.directory.lower_entry(at.name)?.is_empty();
    if needs_mark { marker::make_opaque(upper) } else { Ok(()) }
}
