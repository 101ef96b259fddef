//! Unix domain sockets by name: paths and abstract names.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use vm_abi::{Access, Errno, Mode};
use vm_vfs::{FileId, NodeKind, WalkContext};

use super::address::{SocketAddress, UnixAddress};
use super::{Network, SocketNode};

/// Abstract names are at most as long as on Linux.
const MAX_NAME_BYTES: usize = 107;

/// Bound Unix domain sockets.
#[derive(Default)]
pub(super) struct UnixTable {
    by_name: HashMap<Vec<u8>, Weak<SocketNode>>,
    by_file: HashMap<FileId, Weak<SocketNode>>,
    last_automatic: u32,
}

impl UnixTable {
    /// Gives a name up. The file of a path stays, as on every Unix, but leads nowhere.
    pub(super) fn release(&mut self, address: &UnixAddress, socket: &Weak<SocketNode>) {
        match address {
            // An accepted socket has its listener's address, which is not its own to give up.
            UnixAddress::Abstract(name) => {
                if self.by_name.get(name).is_some_and(|bound| bound.ptr_eq(socket)) {
                    self.by_name.remove(name);
                }
            }
            UnixAddress::Path(_) => self.by_file.retain(|_, bound| !bound.ptr_eq(socket)),
            UnixAddress::Unnamed | UnixAddress::Autobind => {}
        }
    }

    fn automatic_name(&mut self) -> Vec<u8> {
        loop {
            self.last_automatic = self.last_automatic.wrapping_add(1) & 0xf_ffff;
            let name = format!("{:05x}", self.last_automatic).into_bytes();
            if !self.by_name.contains_key(&name) {
                return name;
            }
        }
    }
}

impl Network {
    /// Binds a socket to a Unix address, making the file of a path. Tells the address it got.
    pub(super) fn bind_unix(
        &self,
        socket: &Arc<SocketNode>,
        address: &UnixAddress,
        walk: &WalkContext<'_>,
        umask: Mode,
    ) -> Result<SocketAddress, Errno> {
        let address = match address {
            UnixAddress::Unnamed => return Err(Errno::EINVAL),
            UnixAddress::Path(path) => {
                let made = walk.mknod(path, NodeKind::Socket, Mode::new(0o777).without(umask));
                let file = made.map_err(|error| match error.errno() {
                    Errno::EEXIST => Errno::EADDRINUSE,
                    other => other,
                })?;
                self.unix.lock().by_file.insert(file.file_id(), Arc::downgrade(socket));
                UnixAddress::Path(path.clone())
            }
            UnixAddress::Autobind | UnixAddress::Abstract(_) => self.bind_name(socket, address)?,
        };
        Ok(SocketAddress::Unix(address))
    }

    fn bind_name(&self, socket: &Arc<SocketNode>, address: &UnixAddress) -> Result<UnixAddress, Errno> {
        let mut table = self.unix.lock();
        let name = match address {
            UnixAddress::Abstract(name) => name.clone(),
            UnixAddress::Autobind | UnixAddress::Unnamed | UnixAddress::Path(_) => table.automatic_name(),
        };
        if name.len() > MAX_NAME_BYTES {
            return Err(Errno::EINVAL);
        }
        if table.by_name.contains_key(&name) {
            return Err(Errno::EADDRINUSE);
        }
        table.by_name.insert(name.clone(), Arc::downgrade(socket));
        Ok(UnixAddress::Abstract(name))
    }

    /// The socket that is bound to a Unix address. `ECONNREFUSED` if none is.
    pub(super) fn find_unix(
        &self,
        address: &UnixAddress,
        walk: &WalkContext<'_>,
    ) -> Result<Arc<SocketNode>, Errno> {
        let found = match address {
            UnixAddress::Unnamed | UnixAddress::Autobind => return Err(Errno::EINVAL),
            UnixAddress::Abstract(name) => self.unix.lock().by_name.get(name).and_then(Weak::upgrade),
            UnixAddress::Path(path) => {
                let file = walk.resolve(path)?;
                file.check_access(walk.credentials, Access::WRITE)?;
                self.unix.lock().by_file.get(&file.file_id()).and_then(Weak::upgrade)
            }
        };
        found.ok_or(Errno::ECONNREFUSED)
    }
}
