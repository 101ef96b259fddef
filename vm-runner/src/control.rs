//! The line between the supervisor and a vm process: a Unix socket over which connected sockets are handed.
//!
//! The supervisor makes a pair of stream sockets, keeps one end and sends the other. There is no listener, no name in
//! the file system that a third process could connect to, and nothing to clean up. When the supervisor ends, the line
//! closes, and the vm process ends too.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

/// Makes the line: the supervisor's end and the vm process's end.
pub(crate) fn line() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// A request follows at once.
    Now,
    /// A request will follow some day: until then, there is time to warm up.
    Later,
}

impl Use {
    const fn byte(self) -> u8 {
        match self {
            Self::Now => b'c',
            Self::Later => b'l',
        }
    }
}

/// Opens a connection to the process at the other end.
///
/// # Errors
/// `EPIPE` or `ECONNRESET` when nobody is there any more.
pub(crate) fn connect(line: BorrowedFd<'_>, usage: Use) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let fds = [theirs.as_fd()];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    ancillary.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(
        line,
        &[io::IoSlice::new(&[usage.byte()])],
        &mut ancillary,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )?;
    Ok(UnixStream::from(ours))
}

/// Takes the next connection, if one waits.
///
/// # Errors
/// `WouldBlock` when none waits, `UnexpectedEof` when the supervisor is gone.
pub(crate) fn accept(line: BorrowedFd<'_>) -> io::Result<(UnixStream, Use)> {
    let mut byte = [0_u8; 8];
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(line, &mut [io::IoSliceMut::new(&mut byte)], &mut ancillary, flags)?;
    let socket = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match socket {
        Some(fd) => {
            let usage = if byte[0] == Use::Later.byte() { Use::Later } else { Use::Now };
            Ok((UnixStream::from(fd), usage))
        }
        None if received.bytes == 0 => Err(io::ErrorKind::UnexpectedEof.into()),
        None => {
            Err(io::Error::new(io::ErrorKind::InvalidData, "a message without a socket on the control line"))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[test]
    fn a_connection_arrives_at_the_other_end() {
        let (supervisor, vm) = line().unwrap();
        for usage in [Use::Later, Use::Now] {
            let mut ours = connect(supervisor.as_fd(), usage).unwrap();
            let (mut theirs, told) = accept(vm.as_fd()).unwrap();
            assert_eq!(told, usage);
            ours.write_all(b"hello").unwrap();
            let mut buffer = [0; 5];
            theirs.read_exact(&mut buffer).unwrap();
            assert_eq!(&buffer, b"hello");
        }
    }

    #[test]
    fn nothing_waits_on_a_quiet_line() {
        let (_supervisor, vm) = line().unwrap();
        assert_eq!(accept(vm.as_fd()).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_end_of_either_side_is_seen_by_the_other() {
        let (supervisor, vm) = line().unwrap();
        drop(vm);
        assert!(connect(supervisor.as_fd(), Use::Now).is_err());
        let (supervisor, vm) = line().unwrap();
        drop(supervisor);
        assert_eq!(accept(vm.as_fd()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
