//! How arguments and results of system calls look in a log: as `strace` shows them, in short.

use std::fmt::{Debug, Write as _};
use std::io::IoSlice;
use std::net::IpAddr;

use vm_abi::{Errno, Mode, OpenFlags, Signal, Stat, Timespec, Whence};

use crate::context::ProcessContext;
use crate::file::Fd;
use crate::process::wait::{WaitResult, WaitStatus, WaitTarget};
use crate::process::{Pgid, Pid, Sid};
use crate::syscall::{
    DirFd, Disposition, HeldLock, KillTarget, PollFd, ProgramName, Replaced, SocketAddress, StatFs,
};

/// How many bytes of data are shown.
const MAX_DATA_BYTES: usize = 64;
/// How many bytes of a path are shown.
const MAX_PATH_BYTES: usize = 256;
/// How many items of a list are shown.
const MAX_ITEMS: usize = 16;
/// How long anything else may be.
const MAX_OTHER_BYTES: usize = 128;

/// An argument.
pub(crate) trait Show {
    /// Writes it.
    fn show(&self, ctx: &ProcessContext, out: &mut String);
}

/// A result.
pub(crate) trait Outcome {
    /// Writes it, closing the bracket of the arguments.
    fn show_outcome(&self, ctx: &ProcessContext, out: &mut String);
}

/// A path, or a name.
pub(crate) struct Path<'a>(pub(crate) &'a [u8]);
/// Bytes that go to or from a file.
pub(crate) struct Data<'a>(pub(crate) &'a [u8]);
/// The same, in pieces.
pub(crate) struct Pieces<'a>(pub(crate) &'a [IoSlice<'a>]);
/// Bytes that came, into so much room.
pub(crate) struct Filled<'a> {
    pub(crate) head: &'a [u8],
    pub(crate) room: usize,
}
/// Room for bytes, of which nothing is known yet.
pub(crate) struct Room(pub(crate) usize);
/// Files to wait for.
pub(crate) struct PollFds<'a>(pub(crate) &'a [PollFd]);
/// A list of strings.
pub(crate) struct Strings<'a>(pub(crate) &'a [Vec<u8>]);
/// A list of secret strings.
pub(crate) struct Variables<'a>(pub(crate) &'a [Vec<u8>]);
/// Anything else.
pub(crate) struct Other<'a>(pub(crate) &'a dyn Debug);

impl Show for Path<'_> {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        quote(self.0, MAX_PATH_BYTES, out);
    }
}

impl Show for Data<'_> {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        quote(self.0, MAX_DATA_BYTES, out);
        let _ = write!(out, ", {}", self.0.len());
    }
}

impl Show for Pieces<'_> {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let head: Vec<u8> =
            self.0.iter().flat_map(|piece| piece.iter()).copied().take(MAX_DATA_BYTES + 1).collect();
        quote(&head, MAX_DATA_BYTES, out);
        let _ = write!(out, ", {}", crate::file::total_len(self.0));
    }
}

impl Show for Filled<'_> {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        quote(self.head, MAX_DATA_BYTES, out);
        let _ = write!(out, ", {}", self.room);
    }
}

impl Show for Room {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = write!(out, "{}", self.0);
    }
}

impl Show for Strings<'_> {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        list(self.0.iter(), out, |string, out| quote(string, MAX_DATA_BYTES, out));
    }
}

impl Show for Variables<'_> {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = write!(out, "/* {} vars */", self.0.len());
    }
}

impl Show for Other<'_> {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        cut(&format!("{:?}", self.0), out);
    }
}

impl Show for Fd {
    fn show(&self, ctx: &ProcessContext, out: &mut String) {
        let _ = write!(out, "{}", self.raw());
        if let Ok(description) = ctx.description(*self) {
            let name = crate::procfs::name_of(ctx.kernel(), &description);
            out.push('<');
            escape(&name[..name.len().min(MAX_PATH_BYTES)], out);
            out.push('>');
        }
    }
}

impl Show for DirFd {
    fn show(&self, ctx: &ProcessContext, out: &mut String) {
        match self {
            Self::Cwd => out.push_str("AT_FDCWD"),
            Self::Root => out.push_str("/* root */"),
            Self::Fd(fd) => fd.show(ctx, out),
        }
    }
}

impl Show for Mode {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = write!(out, "0{:03o}", self.bits());
    }
}

impl Show for OpenFlags {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        out.push_str(match (self.is_readable(), self.is_writable()) {
            (true, true) => "O_RDWR",
            (false, true) => "O_WRONLY",
            (true, false) => "O_RDONLY",
            (false, false) => "0",
        });
        for (name, _) in self.difference(Self::READ | Self::WRITE).iter_names() {
            let name = if name == "CREATE" { "CREAT" } else { name };
            let _ = write!(out, "|O_{name}");
        }
    }
}

impl Show for Signal {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = write!(out, "{self}");
    }
}

impl Show for Whence {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        out.push_str(match self {
            Self::Start => "SEEK_SET",
            Self::Current => "SEEK_CUR",
            Self::End => "SEEK_END",
            Self::Data => "SEEK_DATA",
            Self::Hole => "SEEK_HOLE",
        });
    }
}

impl Show for ProgramName {
    fn show(&self, ctx: &ProcessContext, out: &mut String) {
        match self {
            Self::Path(path) | Self::SearchEnv(path) | Self::Search { name: path, path_list: _ } => {
                Path(path).show(ctx, out);
            }
            Self::Open(fd) => fd.show(ctx, out),
        }
    }
}

impl Show for KillTarget {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = match self {
            Self::Process(pid) => write!(out, "{pid}"),
            Self::Group(group) => write!(out, "-{group}"),
            Self::OwnGroup => write!(out, "0"),
            Self::Everyone => write!(out, "-1"),
        };
    }
}

impl Show for WaitTarget {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = match self {
            Self::Any => write!(out, "-1"),
            Self::Child(pid) => write!(out, "{pid}"),
            Self::Group(group) => write!(out, "-{group}"),
            Self::OwnGroup => write!(out, "0"),
        };
    }
}

impl Show for PollFds<'_> {
    fn show(&self, ctx: &ProcessContext, out: &mut String) {
        list(self.0.iter(), out, |file, out| {
            out.push_str("{fd=");
            match file.fd {
                Some(fd) => fd.show(ctx, out),
                None => out.push_str("-1"),
            }
            out.push_str(", events=");
            names(file.events.iter_names().map(|(name, _)| name), "POLL", out);
            out.push('}');
        });
    }
}

macro_rules! show_plainly {
    ($($ty:ty),*) => { $(
        impl Show for $ty {
            fn show(&self, _ctx: &ProcessContext, out: &mut String) {
                let _ = write!(out, "{self}");
            }
        }
    )* };
}

show_plainly!(u32, u64, i32, i64, usize, Pid, Pgid, Sid);

macro_rules! show_debug {
    ($($ty:ty),*) => { $(
        impl Show for $ty {
            fn show(&self, ctx: &ProcessContext, out: &mut String) {
                Other(self).show(ctx, out);
            }
        }
    )* };
}

show_debug!(Disposition, HeldLock, Replaced, SocketAddress, StatFs, Vec<IpAddr>);

impl Show for Vec<Vec<u8>> {
    fn show(&self, ctx: &ProcessContext, out: &mut String) {
        Strings(self).show(ctx, out);
    }
}

impl Show for Timespec {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = write!(out, "{}.{:09}", self.sec, self.nsec);
    }
}

impl Show for () {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        out.push('0');
    }
}

impl Show for Stat {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = write!(out, "0 {{{:?}, mode=0{:03o}, size={}}}", self.file_type(), self.mode, self.size);
    }
}

impl Show for Vec<u8> {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = write!(out, "{} ", self.len());
        quote(self, MAX_PATH_BYTES, out);
    }
}

impl Show for WaitResult {
    fn show(&self, _ctx: &ProcessContext, out: &mut String) {
        let _ = write!(out, "{} ", self.pid);
        let _ = match self.status {
            WaitStatus::Exited(code) => write!(out, "{{exited {code}}}"),
            WaitStatus::Signaled(signal) => write!(out, "{{killed by {signal}}}"),
            WaitStatus::Stopped(signal) => write!(out, "{{stopped by {signal}}}"),
            WaitStatus::Continued => write!(out, "{{continued}}"),
        };
    }
}

impl<A: Show, B: Show> Show for (A, B) {
    fn show(&self, ctx: &ProcessContext, out: &mut String) {
        out.push_str("0 [");
        self.0.show(ctx, out);
        out.push_str(", ");
        self.1.show(ctx, out);
        out.push(']');
    }
}

impl<T: Show> Show for Option<T> {
    fn show(&self, ctx: &ProcessContext, out: &mut String) {
        match self {
            Some(value) => value.show(ctx, out),
            None => out.push('0'),
        }
    }
}

impl<T: Show + ?Sized> Show for &T {
    fn show(&self, ctx: &ProcessContext, out: &mut String) {
        (**self).show(ctx, out);
    }
}

impl<T: Show> Outcome for Result<T, Errno> {
    fn show_outcome(&self, ctx: &ProcessContext, out: &mut String) {
        out.push_str(") = ");
        match self {
            Ok(value) => value.show(ctx, out),
            Err(errno) => {
                let _ = write!(out, "-1 {} ({})", errno.name(), errno.message());
            }
        }
    }
}

fn list<T>(items: impl ExactSizeIterator<Item = T>, out: &mut String, show: impl Fn(T, &mut String)) {
    let len = items.len();
    out.push('[');
    for (index, item) in items.take(MAX_ITEMS).enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        show(item, out);
    }
    out.push_str(if len > MAX_ITEMS { ", ...]" } else { "]" });
}

fn names(names: impl Iterator<Item = &'static str>, prefix: &str, out: &mut String) {
    for (index, name) in names.enumerate() {
        let _ = write!(out, "{}{prefix}{name}", if index > 0 { "|" } else { "" });
    }
}

fn cut(text: &str, out: &mut String) {
    let end = text.floor_char_boundary(MAX_OTHER_BYTES);
    out.push_str(&text[..end]);
    out.push_str(if end < text.len() { "..." } else { "" });
}

fn quote(bytes: &[u8], max: usize, out: &mut String) {
    out.push('"');
    escape(&bytes[..bytes.len().min(max)], out);
    out.push_str(if bytes.len() > max { "\"..." } else { "\"" });
}

fn escape(bytes: &[u8], out: &mut String) {
    for byte in bytes {
        let _ = write!(out, "{}", byte.escape_ascii());
    }
}

#[cfg(test)]
mod tests {
    use super::{cut, quote};

    #[test]
    fn long_data_is_cut_and_odd_bytes_are_escaped() {
        let mut out = String::new();
        quote(b"a\"\n\xff", 64, &mut out);
        quote(b"abcdef", 3, &mut out);
        cut(&"ü".repeat(100), &mut out);
        assert!(out.starts_with("\"a\\\"\\n\\xff\"\"abc\"...üü"), "{out}");
        assert!(out.ends_with("ü..."), "{out}");
    }
}
