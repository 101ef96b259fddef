//! Opening a path: from what the vfs found to an open file.

use std::sync::Arc;

use vm_abi::{Credentials, Errno, FileType, Mode, OpenFlags};
use vm_vfs::{Location, NodeOpen, Opened};

use super::File;
use super::description::FileDescription;
use super::directory::Directory;
use super::regular::RegularFile;
use crate::anonymous::AnonymousNode;
use crate::context::ProcessContext;
use crate::device;
use crate::kernel::KernelInner;
use crate::pipe::pipe_of;
use crate::poll::Waiter;
use crate::process::logical_path;

/// Who opens a path, and where it starts.
pub(crate) struct Opener<'a> {
    /// The process that waits and is counted.
    pub(crate) ctx: &'a ProcessContext,
    /// Whose permissions count.
    pub(crate) credentials: &'a Credentials,
    /// Where relative paths start.
    pub(crate) start: &'a Location,
    /// The path of that, if it is known.
    pub(crate) start_path: Option<&'a [u8]>,
}

/// Opens a path. `mode` has the umask applied. Waits only for the other side of a named pipe.
pub(crate) async fn open(
    opener: Opener<'_>,
    path: &[u8],
    flags: OpenFlags,
    mode: Mode,
) -> Result<Arc<FileDescription>, Errno> {
    let Opener { ctx, credentials, start, start_path } = opener;
    let Opened { location, node, is_new: _ } =
        ctx.walk(start, credentials, |walk| walk.open(path, flags, mode))?;
    let file: Box<dyn File> = match node {
        NodeOpen::Plain => plain(ctx, &location),
        NodeOpen::Fifo => open_pipe(ctx, credentials, &location, flags).await?,
        NodeOpen::Device(number) => device::open(ctx, number, flags)?,
        NodeOpen::Object(_) => return Err(Errno::ENXIO),
    };
    let kernel = ctx.kernel();
    let opened_as = match start_path {
        Some(start_path) => logical_path(start_path, path),
        None => kernel
            .namespace
            .path_of(start, &kernel.namespace.root())
            .and_then(|start_path| logical_path(start_path.as_bytes(), path)),
    };
    let description = kernel.new_description(location, file, flags)?;
    Ok(Arc::new(description.with_path(opened_as.unwrap_or_else(|| path.to_vec()))))
}

fn plain(ctx: &ProcessContext, location: &Location) -> Box<dyn File> {
    if location.file_type().is_directory() {
        Box::new(Directory::new(location.clone(), &ctx.kernel().meters.memory))
    } else {
        Box::new(RegularFile::new(location.clone()))
    }
}

async fn open_pipe(
    ctx: &ProcessContext,
    credentials: &Credentials,
    location: &Location,
    flags: OpenFlags,
) -> Result<Box<dyn File>, Errno> {
    if let Some(pipe) = pipe_of(location.inode()) {
        return Ok(Box::new(pipe.open_end(flags)));
    }
    let kernel = ctx.kernel();
    let pipe = kernel.fifos.pipe(location.file_id(), || {
        let charge = kernel.meters.pipes.take_one()?;
        let now = kernel.clock.realtime();
        let node = AnonymousNode::new(kernel.next_ino(), FileType::Fifo, Mode::new(0o600), credentials, now);
        Ok((node, kernel.pipe_space(), charge))
    })?;
    Ok(Box::new(pipe.open_named(Waiter::Process(ctx), flags).await?))
}

impl KernelInner {
    /// Makes an open file that lies at no path.
    pub(crate) fn describe(
        &self,
        location: Location,
        file: Box<dyn File>,
        flags: OpenFlags,
    ) -> Result<Arc<FileDescription>, Errno> {
        self.new_description(location, file, flags).map(Arc::new)
    }

    fn new_description(
        &self,
        location: Location,
        file: Box<dyn File>,
        flags: OpenFlags,
    ) -> Result<FileDescription, Errno> {
        let charge = self.meters.open_files.take_one()?;
        Ok(FileDescription::new(self.next_file_id(), location, file, flags, charge))
    }
}
