//! The path walk: from a path to a location, as POSIX prescribes it.
//!
//! Each component but the last must be a directory the walker may search. Symbolic links on the way are followed,
//! at most [`MAX_LINKS`] of them in one walk. `..` goes up through mounts and stops at the root directory.
//! A trailing slash means that the last component must be a directory.

use std::sync::Arc;

use vm_abi::{Access, Credentials, Errno};

use crate::error::VfsResult;
use crate::inode::Caller;
use crate::location::Location;
use crate::namespace::{MountTable, Namespace};
use crate::path::{MAX_PATH_BYTES, Name, NameBuf, VPath};

/// How many symbolic links one walk follows; more are `ELOOP`.
pub const MAX_LINKS: u32 = 40;

/// Who walks, and from where. Cheap to copy; every operation on a path is a method of it.
#[derive(Clone, Copy)]
pub struct WalkContext<'a> {
    /// The mounts.
    pub namespace: &'a Namespace,
    /// Where absolute paths start, and where `..` stops.
    pub root: &'a Location,
    /// Where relative paths start: the working directory or an open directory.
    pub start: &'a Location,
    /// Whose permissions count.
    pub credentials: &'a Credentials,
    /// Which process asks, for procfs.
    pub caller: Caller,
}

/// Whether a symbolic link as last component stands for itself or for its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// For its target.
    Yes,
    /// For itself, unless a slash follows it.
    No,
}

/// Everything of a path but its last component, resolved.
#[derive(Clone, Debug)]
pub struct ParentLocation {
    /// The directory that holds, or would hold, the last component. The walker may search it.
    pub directory: Location,
    /// The last component.
    pub last: LastComponent,
    /// Whether a slash follows it.
    pub trailing_slash: bool,
}

/// The last component of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LastComponent {
    /// A name, which may or may not exist.
    Name(NameBuf),
    /// `.`
    Dot,
    /// `..`
    DotDot,
    /// The path is only slashes.
    Root,
}

impl<'a> WalkContext<'a> {
    /// The same walker, starting elsewhere.
    #[must_use]
    pub const fn starting_at<'b>(self, start: &'b Location) -> WalkContext<'b>
    where
        'a: 'b,
    {
        WalkContext { start, ..self }
    }

    /// What a path names, following a last symbolic link.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `EACCES`, `ELOOP`, `ENAMETOOLONG`, `EINVAL` for a NUL.
    pub fn resolve(&self, path: &[u8]) -> VfsResult<Location> {
        self.resolve_with(path, Follow::Yes)
    }

    /// What a path names.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve).
    pub fn resolve_with(&self, path: &[u8], follow: Follow) -> VfsResult<Location> {
        Walk::new(self).resolve(self.start, path, follow)
    }

    /// As [`resolve_with`](Self::resolve_with); if asked to, the location remembers where it was found.
    pub(crate) fn resolve_noting(&self, path: &[u8], follow: Follow, notes: bool) -> VfsResult<Location> {
        let mut walk = Walk::new(self);
        let location = walk.resolve(self.start, path, follow)?;
        match walk.found {
            Some((directory, name)) if notes && location.origin().is_none() => {
                Ok(location.found_in(&directory, &name))
            }
            _ => Ok(location),
        }
    }

    /// Where an entry for a path is, or would be made.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve), for all but the last component.
    pub fn resolve_parent(&self, path: &[u8]) -> VfsResult<ParentLocation> {
        Walk::new(self).parent(self.start, path)
    }

    /// The absolute path, free of links, `.` and `..`, of what a path names.
    ///
    /// # Errors
    /// As [`resolve`](Self::resolve); `ENOENT` if the directory was removed.
    pub fn canonicalize(&self, path: &[u8]) -> VfsResult<VPath> {
        let mut walk = Walk::new(self);
        let location = walk.resolve(self.start, path, Follow::Yes)?;
        if location.file_type().is_directory() {
            return self.path_of(&location).ok_or_else(|| Errno::ENOENT.into());
        }
        let (directory, name) = walk.found.ok_or(Errno::ENOENT)?;
        let directory = self.path_of(&directory).ok_or(Errno::ENOENT)?;
        Ok(directory.join(name.as_name()))
    }

    /// The path of a directory; `None` if it was removed or lies outside of the root.
    #[must_use]
    pub fn path_of(&self, directory: &Location) -> Option<VPath> {
        self.namespace.path_of(directory, self.root)
    }
}

/// A walk under way.
pub(crate) struct Walk<'a> {
    context: &'a WalkContext<'a>,
    pub(crate) table: Arc<MountTable>,
    links_followed: u32,
    /// Directory and name through which the last thing was found.
    found: Option<(Location, NameBuf)>,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(context: &'a WalkContext<'a>) -> Self {
        Self { context, table: context.namespace.snapshot(), links_followed: 0, found: None }
    }

    pub(crate) fn resolve(&mut self, start: &Location, path: &[u8], follow: Follow) -> VfsResult<Location> {
        let parent = self.parent(start, path)?;
        self.finish(&parent, follow)
    }

    /// Walks everything but the last component.
    pub(crate) fn parent(&mut self, start: &Location, path: &[u8]) -> VfsResult<ParentLocation> {
        check_path(path)?;
        let absolute = path[0] == b'/';
        let mut at = if absolute { self.context.root.clone() } else { start.clone() };
        let mut components = path.split(|&byte| byte == b'/').filter(|part| !part.is_empty());
        let Some(mut component) = components.next() else {
            return Ok(ParentLocation { directory: at, last: LastComponent::Root, trailing_slash: true });
        };
        self.check_search(&at)?;
        for next in components {
            at = self.step(&at, component)?;
            self.check_search(&at)?;
            component = next;
        }
        let last = match component {
            b"." => LastComponent::Dot,
            b".." => LastComponent::DotDot,
            name => LastComponent::Name(Name::new(name)?.to_owned()),
        };
        Ok(ParentLocation { directory: at, last, trailing_slash: path.ends_with(b"/") })
    }

    /// Walks the last component.
    pub(crate) fn finish(&mut self, parent: &ParentLocation, follow: Follow) -> VfsResult<Location> {
        let found = match &parent.last {
            LastComponent::Root | LastComponent::Dot => parent.directory.clone(),
            LastComponent::DotDot => self.table.parent_of(&parent.directory, self.context.root)?,
            LastComponent::Name(name) => {
                let found = self.lookup(&parent.directory, name.as_name())?;
                if found.file_type().is_symlink() && (follow == Follow::Yes || parent.trailing_slash) {
                    self.follow(&parent.directory, &found)?
                } else {
                    self.found = Some((parent.directory.clone(), name.clone()));
                    found
                }
            }
        };
        if parent.trailing_slash && !found.file_type().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        Ok(found)
    }

    /// The entry of a directory as the walker sees it, mounts included.
    pub(crate) fn lookup(&self, directory: &Location, name: Name<'_>) -> VfsResult<Location> {
        Ok(self.table.cross(self.lookup_covered(directory, name)?))
    }

    /// The entry of a directory itself, whatever is mounted over it.
    pub(crate) fn lookup_covered(&self, directory: &Location, name: Name<'_>) -> VfsResult<Location> {
        let inode = directory.inode.lookup_for(self.context.caller, name)?;
        Ok(directory.with_inode(inode))
    }

    /// Where following a link from its directory arrives.
    pub(crate) fn follow(&mut self, directory: &Location, link: &Location) -> VfsResult<Location> {
        match self.link_target(link)? {
            LinkTarget::Path(path) => self.resolve(directory, &path, Follow::Yes),
            LinkTarget::Jump(location) => Ok(location),
        }
    }

    /// Where a link points, counting it.
    pub(crate) fn link_target(&mut self, link: &Location) -> VfsResult<LinkTarget> {
        self.count_retry()?;
        match link.inode.jump(self.context.caller) {
            Some(location) => Ok(LinkTarget::Jump(location?)),
            None => Ok(LinkTarget::Path(link.inode.read_link_for(self.context.caller)?)),
        }
    }

    /// Counts one more attempt against the same limit as links, so that no walk goes on for ever.
    pub(crate) fn count_retry(&mut self) -> VfsResult<()> {
        self.links_followed += 1;
        if self.links_followed > MAX_LINKS { Err(Errno::ELOOP.into()) } else { Ok(()) }
    }

    fn step(&mut self, at: &Location, component: &[u8]) -> VfsResult<Location> {
        match component {
            b"." => Ok(at.clone()),
            b".." => self.table.parent_of(at, self.context.root),
            name => {
                let found = self.lookup(at, Name::new(name)?)?;
                if found.file_type().is_symlink() { self.follow(at, &found) } else { Ok(found) }
            }
        }
    }

    fn check_search(&self, directory: &Location) -> VfsResult<()> {
        if !directory.file_type().is_directory() {
            return Err(Errno::ENOTDIR.into());
        }
        directory.check_access(self.context.credentials, Access::EXECUTE)
    }
}

/// Where a link points.
pub(crate) enum LinkTarget {
    /// To this path.
    Path(Vec<u8>),
    /// Straight to this location.
    Jump(Location),
}

fn check_path(path: &[u8]) -> VfsResult<()> {
    if path.is_empty() {
        return Err(Errno::ENOENT.into());
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(Errno::ENAMETOOLONG.into());
    }
    if path.contains(&0) {
        return Err(Errno::EINVAL.into());
    }

    Ok(())
}
