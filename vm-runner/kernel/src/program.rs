//! Finding the program that a name means: `PATH` search, `#!` lines, the driver.
//!
//! wasm-abi.md 2.1.2. Set-user-id and set-group-id bits of program files are not honoured. A text file without a `#!`
//! line is run by `/bin/sh`: nobody in the guest falls back to a shell by itself.

use std::sync::Arc;

use vm_abi::{Access, Credentials, Errno};
use vm_vfs::{Caller, Location, MountFlags, WalkContext};

use crate::driver::{Program, ProgramImage};
use crate::file::Fd;
use crate::kernel::KernelInner;
use crate::process::environment::{DEFAULT_PATH, value};

/// Which program to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProgramName {
    /// The file at this path, relative to the child's working directory.
    Path(Vec<u8>),
    /// A name looked for in the child's `PATH`; a name with a slash is a path.
    SearchEnv(Vec<u8>),
    /// A name looked for in exactly this list of directories; a name with a slash is a path.
    Search {
        /// The name.
        name: Vec<u8>,
        /// Directories, separated by colons; an empty one is the working directory.
        path_list: Vec<u8>,
    },
    /// The open file.
    Open(Fd),
}

/// A program that was found, with the arguments it gets.
pub(crate) struct FoundProgram {
    pub(crate) program: Arc<dyn Program>,
    pub(crate) path: Vec<u8>,
    pub(crate) argv: Vec<Vec<u8>>,
}

/// A program's file, before anybody looked into it.
#[derive(Clone)]
pub(crate) struct ProgramFile {
    pub(crate) location: Location,
    pub(crate) path: Vec<u8>,
}

/// Who looks for a program, and from where.
pub(crate) struct Search<'a> {
    pub(crate) kernel: &'a KernelInner,
    pub(crate) credentials: &'a Credentials,
    pub(crate) cwd: &'a Location,
    pub(crate) caller: Caller,
}

/// How much of a file tells what it is.
const HEAD_BYTES: usize = 256;
/// How many `#!` lines may lead to each other.
const MAX_INTERPRETERS: usize = 4;
const SHELL: &[u8] = b"/bin/sh";

impl Search<'_> {
    /// Finds the file that a name means.
    pub(crate) fn find(
        &self,
        name: &ProgramName,
        environment: &[Vec<u8>],
        parent_environment: &[Vec<u8>],
        open_file: impl FnOnce(Fd) -> Result<Location, Errno>,
    ) -> Result<ProgramFile, Errno> {
        match name {
            ProgramName::Path(path) => self.at(path),
            ProgramName::Search { name, path_list } => self.in_list(name, path_list),
            ProgramName::SearchEnv(name) => {
                let list = value(environment, b"PATH").or_else(|| value(parent_environment, b"PATH"));
                self.in_list(name, list.unwrap_or(DEFAULT_PATH))
            }
            ProgramName::Open(fd) => {
                let file = ProgramFile {
                    location: open_file(*fd)?,
                    path: format!("/dev/fd/{}", fd.raw()).into_bytes(),
                };
                self.check(&file)?;
                Ok(file)
            }
        }
    }

    /// Makes a program of a file, through as many interpreters as it names.
    pub(crate) fn load(&self, file: ProgramFile, argv: Vec<Vec<u8>>) -> Result<FoundProgram, Errno> {
        let (mut file, mut argv) = (file, argv);
        for _ in 0..=MAX_INTERPRETERS {
            let head = read_head(&file.location)?;
            if let Some(driver) = self.kernel.drivers.iter().find(|driver| driver.recognizes(&head)) {
                let image = ProgramImage { location: file.location, path: file.path, head };
                let program = driver.load(&image)?;
                return Ok(FoundProgram { program, path: image.path, argv });
            }
            let interpreter = Interpreter::named_by(&head)?;
            let script = std::mem::take(&mut file.path);
            file = match self.at(&interpreter.path) {
                // A machine without a shell does not run texts.
                Err(Errno::ENOENT) if !interpreter.is_named => return Err(Errno::ENOEXEC),
                found => found?,
            };
            let rest = argv.into_iter().skip(1);
            let before = [interpreter.path].into_iter().chain(interpreter.argument).chain([script]);
            argv = before.chain(rest).collect();
        }
        Err(Errno::ELOOP)
    }

    fn at(&self, path: &[u8]) -> Result<ProgramFile, Errno> {
        let root = self.kernel.namespace.root();
        let walk = WalkContext {
            namespace: &self.kernel.namespace,
            root: &root,
            start: self.cwd,
            credentials: self.credentials,
            caller: self.caller,
        };
        let file = ProgramFile { location: walk.resolve(path)?, path: path.to_vec() };
        self.check(&file)?;
        Ok(file)
    }

    fn in_list(&self, name: &[u8], path_list: &[u8]) -> Result<ProgramFile, Errno> {
        if name.is_empty() || name.contains(&b'/') {
            return self.at(name);
        }
        let mut first_denial = None;
        for directory in path_list.split(|byte| *byte == b':') {
            let path = match directory {
                b"" => name.to_vec(),
                _ => [directory, b"/", name].concat(),
            };
            match self.at(&path) {
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ENAMETOOLONG) => {}
                Err(Errno::EACCES) => first_denial = Some(Errno::EACCES),
                other => return other,
            }
        }
        Err(first_denial.unwrap_or(Errno::ENOENT))
    }

    /// Only regular files that may be executed are programs.
    fn check(&self, file: &ProgramFile) -> Result<(), Errno> {
        let is_forbidden = file.location.mount().flags().contains(MountFlags::NO_EXEC);
        if is_forbidden || !file.location.file_type().is_regular() {
            return Err(Errno::EACCES);
        }
        Ok(file.location.check_access(self.credentials, Access::EXECUTE)?)
    }
}

fn read_head(location: &Location) -> Result<Vec<u8>, Errno> {
    let mut head = vec![0; HEAD_BYTES];
    let mut filled = 0;
    while filled < HEAD_BYTES {
        match location.inode().read_at(filled as u64, &mut head[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    head.truncate(filled);
    Ok(head)
}

/// What runs a script.
#[derive(Debug, PartialEq, Eq)]
struct Interpreter {
    path: Vec<u8>,
    argument: Option<Vec<u8>>,
    /// Whether the script names it itself.
    is_named: bool,
}

impl Interpreter {
    /// The interpreter of a file that no driver recognises.
    fn named_by(head: &[u8]) -> Result<Self, Errno> {
        let Some(after_mark) = head.strip_prefix(b"#!") else {
            let first_line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let is_text = !first_line.contains(&0);
            return if is_text {
                Ok(Self { path: SHELL.to_vec(), argument: None, is_named: false })
            } else {
                Err(Errno::ENOEXEC)
            };
        };
        let end = after_mark.iter().position(|byte| *byte == b'\n');
        let line = after_mark[..end.unwrap_or(after_mark.len())].trim_ascii();
        let blank = line.iter().position(u8::is_ascii_whitespace);
        // A name that the line's limit cuts is not the name; a file that ends with its only line is fine.
        let is_cut = end.is_none() && blank.is_none() && head.len() == HEAD_BYTES;
        let (path, rest) = line.split_at(blank.unwrap_or(line.len()));
        if path.is_empty() || is_cut || path.contains(&0) {
            return Err(Errno::ENOEXEC);
        }
        let argument = rest.trim_ascii();
        let argument = (!argument.is_empty()).then(|| argument.to_vec());
        Ok(Self { path: path.to_vec(), argument, is_named: true })
    }
}

#[cfg(test)]
mod tests {
    use super::{Errno, HEAD_BYTES, Interpreter};

    fn interpreter(head: &[u8]) -> Result<(String, Option<String>), Errno> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Interpreter::named_by(head).map(|found| (text(found.path), found.argument.map(text)))
    }

    #[test]
    fn everything_after_the_interpreter_is_one_argument() {
        assert_eq!(
            interpreter(b"#! /bin/env  -S a b \nrest"),
            Ok(("/bin/env".into(), Some("-S a b".into())))
        );
        assert_eq!(interpreter(b"#!/bin/sh"), Ok(("/bin/sh".into(), None)));
    }

    #[test]
    fn a_line_without_a_whole_name_is_no_program() {
        assert_eq!(interpreter(b"#!\n/bin/sh"), Err(Errno::ENOEXEC));
        assert_eq!(interpreter(b"#!   \n"), Err(Errno::ENOEXEC));
        let mut endless = b"#!/".to_vec();
        endless.resize(HEAD_BYTES, b'a');
        assert_eq!(interpreter(&endless), Err(Errno::ENOEXEC));
    }

    #[test]
    fn text_without_a_mark_is_the_shells_and_binary_is_nobodys() {
        assert_eq!(interpreter(b"echo hi\n\0"), Ok(("/bin/sh".into(), None)));
        assert_eq!(interpreter(b""), Ok(("/bin/sh".into(), None)));
        assert_eq!(interpreter(b"\x7fELF\0\n"), Err(Errno::ENOEXEC));
    }
}
