//! The host's error numbers in the guest's.

use rustix::io::Errno as Host;
use vm_abi::Errno;

/// The guest's number for a host's; `EIO` for those that files have no use for.
pub(super) fn errno(host: Host) -> Errno {
    match host {
        Host::ACCESS => Errno::EACCES,
        Host::AGAIN => Errno::EAGAIN,
        Host::BADF => Errno::EBADF,
        Host::BUSY => Errno::EBUSY,
        Host::DQUOT => Errno::EDQUOT,
        Host::EXIST => Errno::EEXIST,
        Host::FBIG => Errno::EFBIG,
        Host::ILSEQ => Errno::EILSEQ,
        Host::INTR => Errno::EINTR,
        Host::INVAL => Errno::EINVAL,
        Host::ISDIR => Errno::EISDIR,
        Host::LOOP => Errno::ELOOP,
        // Of this process or the whole host, not of the guest.
        Host::MFILE | Host::NFILE => Errno::ENFILE,
        Host::MLINK => Errno::EMLINK,
        Host::NAMETOOLONG => Errno::ENAMETOOLONG,
        Host::NODATA => Errno::ENODATA,
        Host::NODEV => Errno::ENODEV,
        Host::NOENT => Errno::ENOENT,
        Host::NOLCK => Errno::ENOLCK,
        Host::NOMEM => Errno::ENOMEM,
        Host::NOSPC => Errno::ENOSPC,
        Host::NOTDIR => Errno::ENOTDIR,
        Host::NOTEMPTY => Errno::ENOTEMPTY,
        // What a locked-down process may not ask for; programs know this answer of file systems.
        Host::NOSYS | Host::NOTSUP => Errno::ENOTSUP,
        Host::NXIO => Errno::ENXIO,
        Host::OVERFLOW => Errno::EOVERFLOW,
        Host::PERM => Errno::EPERM,
        Host::RANGE => Errno::ERANGE,
        Host::ROFS => Errno::EROFS,
        Host::STALE => Errno::ESTALE,
        Host::TIMEDOUT => Errno::ETIMEDOUT,
        Host::TOOBIG => Errno::E2BIG,
        Host::TXTBSY => Errno::ETXTBSY,
        Host::XDEV => Errno::EXDEV,
        _ => Errno::EIO,
    }
}
