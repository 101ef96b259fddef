//! What an escaped guest tries, by name.

mod files;
mod kernel;
mod processes;
mod sockets;

use std::io;
use std::path::{Path, PathBuf};

use libc::c_long;

/// Something to try.
pub(crate) struct Attempt {
    pub(crate) name: &'static str,
    pub(crate) expected: Expected,
    pub(crate) run: fn(&Scene) -> io::Result<()>,
}

/// What has to come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// An error, and the process goes on.
    Refused,
    /// The same, by landlock alone.
    RefusedByLandlock,
    /// The kernel ends the process with SIGSYS.
    Killed,
    /// It harms nobody else: whatever comes of it, the supervisor and the neighbours go on.
    Harmless,
    /// The supervisor ends the process, for `spec.limits.memory`, and says so.
    EndedForMemory,
    /// It is needed for the work of a vm process.
    Granted,
}

/// Who and what is around.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) supervisor: usize,
    pub(crate) neighbour: usize,
    pub(crate) data: PathBuf,
    pub(crate) software: PathBuf,
    pub(crate) slot: PathBuf,
    /// A file in the neighbour's slot, with a secret in it.
    pub(crate) secret: PathBuf,
}

impl Scene {
    /// An order to try `name`.
    pub(crate) fn to_text(&self, name: &str) -> String {
        let Self { supervisor, neighbour, data, software, slot, secret } = self;
        let paths = [data, software, slot, secret].map(|path| path.display().to_string()).join("\n");
        format!("{name}\n{supervisor}\n{neighbour}\n{paths}\nend")
    }

    /// Reads an order; `None` while it is being written.
    pub(crate) fn from_text(text: &str) -> Option<(String, Self)> {
        let lines: Vec<&str> = text.lines().collect();
        let [name, supervisor, neighbour, data, software, slot, secret, "end"] = lines[..] else {
            return None;
        };
        let scene = Self {
            supervisor: supervisor.parse().ok()?,
            neighbour: neighbour.parse().ok()?,
            data: data.into(),
            software: software.into(),
            slot: slot.into(),
            secret: secret.into(),
        };
        Some((name.to_owned(), scene))
    }

    /// A file of the software, which may be read.
    fn program(&self) -> PathBuf {
        self.software.join("manifest.json")
    }
}

/// Everything that is tried.
pub(crate) fn all() -> Vec<Attempt> {
    let found = [
        refused("use a descriptor that was left open", |_| unreachable!("the prisoner looked at its start")),
        refused("read an inherited environment", |_| unreachable!("the prisoner looked at its start")),
    ];
    found
        .into_iter()
        .chain(files::attempts())
        .chain(sockets::attempts())
        .chain(processes::attempts())
        .chain(kernel::attempts())
        .collect()
}

fn refused(name: &'static str, run: fn(&Scene) -> io::Result<()>) -> Attempt {
    Attempt { name, expected: Expected::Refused, run }
}

fn bounded(name: &'static str, run: fn(&Scene) -> io::Result<()>) -> Attempt {
    Attempt { name, expected: Expected::RefusedByLandlock, run }
}

fn killed(name: &'static str, run: fn(&Scene) -> io::Result<()>) -> Attempt {
    Attempt { name, expected: Expected::Killed, run }
}

fn harmless(name: &'static str, run: fn(&Scene) -> io::Result<()>) -> Attempt {
    Attempt { name, expected: Expected::Harmless, run }
}

fn ended_for_memory(name: &'static str, run: fn(&Scene) -> io::Result<()>) -> Attempt {
    Attempt { name, expected: Expected::EndedForMemory, run }
}

fn granted(name: &'static str, run: fn(&Scene) -> io::Result<()>) -> Attempt {
    Attempt { name, expected: Expected::Granted, run }
}

/// Makes a system call as it is, past every library.
#[expect(unsafe_code, reason = "an escaped guest makes any call that it likes")]
pub(crate) fn call(number: c_long, arguments: &[usize]) -> io::Result<usize> {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let [a, b, c, d, e, f] = all;
    // SAFETY: none of the attempts passes a pointer to anything but a live buffer of the size that the call expects, or
    // null; those that would change this process's memory are refused.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    usize::try_from(answer).map_err(|_| io::Error::last_os_error())
}

/// The call is made; that it answers anything but an error is the way out.
fn tried(number: c_long, arguments: &[usize]) -> io::Result<()> {
    call(number, arguments).map(drop)
}

/// A path as system calls take it.
fn text(path: impl AsRef<Path>) -> std::ffi::CString {
    use std::os::unix::ffi::OsStrExt as _;
    std::ffi::CString::new(path.as_ref().as_os_str().as_bytes()).unwrap()
}

const HERE: usize = libc::AT_FDCWD as usize;
