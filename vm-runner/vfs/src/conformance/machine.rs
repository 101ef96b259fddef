//! Runs the lines of the conformance tables against a file system.

use std::collections::HashMap;
use std::sync::Arc;

use vm_abi::{Access, Credentials, DeviceNumber, Errno, Gid, Mode, OpenFlags, Stat, Timespec, Uid};

use crate::file_system::FileSystem;
use crate::inode::{Allocation, Caller, Extent, NodeKind, RenameFlags, SetTime, XattrSet};
use crate::location::{Location, MountFlags};
use crate::namespace::Namespace;
use crate::path::VPath;
use crate::walk::{Follow, WalkContext};

/// How much of a file is read; the tables' files are small.
const MAX_READ_BYTES: usize = 1 << 16;

/// A user with a working directory and open files, in a namespace of one file system.
pub(crate) struct Machine {
    namespace: Namespace,
    root: Location,
    cwd: Location,
    credentials: Credentials,
    open: HashMap<String, Location>,
    marks: HashMap<String, Stat>,
}

/// Why a line has no outcome but its errno.
enum Failure {
    Errno(Errno),
    /// The line itself is wrong.
    Line(&'static str),
}

impl From<crate::Error> for Failure {
    fn from(error: crate::Error) -> Self {
        Self::Errno(error.errno())
    }
}

type Outcome = Result<String, Failure>;

impl Machine {
    pub(crate) fn new(file_system: Arc<dyn FileSystem>) -> Self {
        let namespace = Namespace::new(file_system, MountFlags::empty());
        let root = namespace.root();
        Self {
            cwd: root.clone(),
            root,
            namespace,
            credentials: Credentials::root(),
            open: HashMap::new(),
            marks: HashMap::new(),
        }
    }

    /// Runs one command; tells its value, `ok`, or the name of its error.
    pub(crate) fn run(&mut self, command: &str) -> String {
        let words: Vec<Vec<u8>> = command.split_whitespace().map(unescape).collect();
        let arguments = Arguments(words.get(1..).unwrap_or_default());
        let verb = words.first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
        let outcome = self
            .change_machine(&verb, &arguments)
            .or_else(|| self.make(&verb, &arguments))
            .or_else(|| self.change_attributes(&verb, &arguments))
            .or_else(|| self.use_content(&verb, &arguments))
            .or_else(|| self.ask(&verb, &arguments));
        match outcome {
            Some(Ok(value)) if value.is_empty() => "ok".to_owned(),
            Some(Ok(value)) => value,
            Some(Err(Failure::Errno(errno))) => errno.name().to_owned(),
            Some(Err(Failure::Line(what))) => format!("(bad line: {what})"),
            None => "(bad line: unknown command)".to_owned(),
        }
    }

    fn context(&self) -> WalkContext<'_> {
        WalkContext {
            namespace: &self.namespace,
            root: &self.root,
            start: &self.cwd,
            credentials: &self.credentials,
            caller: Caller::default(),
        }
    }

    /// A file by the name under which it was opened, `@name`, or by its path.
    fn file(&self, word: &[u8], follow: Follow) -> Result<Location, Failure> {
        match word.strip_prefix(b"@") {
            Some(name) => {
                let name = String::from_utf8_lossy(name);
                self.open.get(&*name).cloned().ok_or(Failure::Line("no such open file"))
            }
            None => Ok(self.context().resolve_with(word, follow)?),
        }
    }

    fn change_machine(&mut self, verb: &str, arguments: &Arguments<'_>) -> Option<Outcome> {
        let mut change = || -> Outcome {
            match verb {
                "as" => self.credentials = arguments.credentials(0)?,
                "cd" => self.cwd = self.context().resolve(arguments.get(0)?)?,
                "chroot" => self.root = self.context().resolve(arguments.get(0)?)?,
                "hold" => {
                    let opened =
                        self.context().open(arguments.get(1)?, arguments.open_flags(2)?, Mode::new(0o644))?;
                    self.open.insert(arguments.text(0)?, opened.location);
                }
                "drop" => drop(self.open.remove(&arguments.text(0)?)),
                "mark" => {
                    let stat = self.file(arguments.get(1)?, Follow::No)?.stat()?;
                    self.marks.insert(arguments.text(0)?, stat);
                }
                "remount" => {
                    let flags =
                        if arguments.text(0)? == "ro" { MountFlags::READ_ONLY } else { MountFlags::NO_DEV };
                    self.namespace = Namespace::new(Arc::clone(self.root.mount().file_system()), flags);
                    self.root = self.namespace.root();
                    self.cwd = self.root.clone();
                }
                "bind" => {
                    let source = self.context().resolve(arguments.get(0)?)?;
                    self.namespace.bind(&VPath::new(arguments.get(1)?)?, &source, MountFlags::empty())?;
                }
                "unmount" => self.namespace.unmount(&VPath::new(arguments.get(0)?)?)?,
                _ => return Err(Failure::Line("")),
            }
            Ok(String::new())
        };
        let known = ["as", "cd", "chroot", "hold", "drop", "mark", "remount", "bind", "unmount"];
        known.contains(&verb).then(&mut change)
    }

    fn make(&self, verb: &str, arguments: &Arguments<'_>) -> Option<Outcome> {
        let context = self.context();
        let run = || -> Result<(), Failure> {
            match verb {
                "mkdir" => drop(context.mkdir(arguments.get(0)?, arguments.mode(1, 0o755)?)?),
                "create" => {
                    let flags = OpenFlags::CREATE | OpenFlags::EXCL | OpenFlags::WRITE;
                    context.open(arguments.get(0)?, flags, arguments.mode(1, 0o644)?)?;
                }
                "mknod" => {
                    let kind = arguments.node_kind(1)?;
                    context.mknod(arguments.get(0)?, kind, arguments.mode(2, 0o644)?)?;
                }
                "symlink" => drop(context.symlink(arguments.get(0)?, arguments.get(1)?)?),
                "link" => context.link(arguments.get(0)?, Follow::No, arguments.get(1)?)?,
                "linkfollow" => context.link(arguments.get(0)?, Follow::Yes, arguments.get(1)?)?,
                "flink" => {
                    context.link_location(
                        &self.file(arguments.get(0)?, Follow::No)?,
                        &context,
                        arguments.get(1)?,
                    )?;
                }
                "unlink" => context.unlink(arguments.get(0)?)?,
                "rmdir" => context.rmdir(arguments.get(0)?)?,
                "rename" => {
                    let flags = match arguments.text(2).as_deref() {
                        Ok("noreplace") => RenameFlags::NOREPLACE,
                        Ok("exchange") => RenameFlags::EXCHANGE,
                        Ok("both") => RenameFlags::all(),
                        Ok(_) | Err(_) => RenameFlags::empty(),
                    };
                    context.rename(arguments.get(0)?, &context, arguments.get(1)?, flags)?;
                }
                _ => return Err(Failure::Line("")),
            }
            Ok(())
        };
        let known = [
            "mkdir",
            "create",
            "mknod",
            "symlink",
            "link",
            "linkfollow",
            "flink",
            "unlink",
            "rmdir",
            "rename",
        ];
        known.contains(&verb).then(|| run().map(|()| String::new()))
    }

    fn change_attributes(&self, verb: &str, arguments: &Arguments<'_>) -> Option<Outcome> {
        let context = self.context();
        let run = || -> Result<(), Failure> {
            let path = arguments.get(0)?;
            match verb {
                "chmod" if path.starts_with(b"@") => {
                    self.file(path, Follow::No)?.change_mode(&self.credentials, arguments.mode(1, 0)?)?;
                }
                "chmod" => context.chmod(path, arguments.mode(1, 0)?, Follow::Yes)?,
                "lchmod" => context.chmod(path, arguments.mode(1, 0)?, Follow::No)?,
                "chown" => context.chown(path, arguments.uid(1)?, arguments.gid(2)?, Follow::Yes)?,
                "lchown" => context.chown(path, arguments.uid(1)?, arguments.gid(2)?, Follow::No)?,
                "utimes" => context.set_times(path, arguments.time(1)?, arguments.time(2)?, Follow::Yes)?,
                "lutimes" => context.set_times(path, arguments.time(1)?, arguments.time(2)?, Follow::No)?,
                "setxattr" => {
                    let how = match arguments.text(3).as_deref() {
                        Ok("create") => XattrSet::Create,
                        Ok("replace") => XattrSet::Replace,
                        Ok(_) | Err(_) => XattrSet::Any,
                    };
                    let file = self.file(path, Follow::No)?;
                    file.set_xattr(&self.credentials, arguments.get(1)?, arguments.get(2)?, how)?;
                }
                "removexattr" => {
                    self.file(path, Follow::No)?.remove_xattr(&self.credentials, arguments.get(1)?)?;
                }
                _ => return Err(Failure::Line("")),
            }
            Ok(())
        };
        let known = ["chmod", "lchmod", "chown", "lchown", "utimes", "lutimes", "setxattr", "removexattr"];
        known.contains(&verb).then(|| run().map(|()| String::new()))
    }

    fn use_content(&self, verb: &str, arguments: &Arguments<'_>) -> Option<Outcome> {
        let context = self.context();
        let open = |path: &[u8], flags: OpenFlags| -> Result<Location, Failure> {
            match path.starts_with(b"@") {
                true => self.file(path, Follow::No),
                false => Ok(context.open(path, flags, Mode::new(0o644))?.location),
            }
        };
        let run = || -> Outcome {
            let path = arguments.get(0)?;
            let write = OpenFlags::WRITE | OpenFlags::CREATE;
            match verb {
                "open" => drop(context.open(path, arguments.open_flags(1)?, arguments.mode(2, 0o644)?)?),
                "write" => {
                    let file = open(path, write | OpenFlags::TRUNC)?;
                    return Ok(file.inode().write_at(0, arguments.get(1)?)?.to_string());
                }
                "append" => {
                    let appended =
                        open(path, write | OpenFlags::APPEND)?.inode().append(arguments.get(1)?)?;
                    return Ok(format!("{} {}", appended.written, appended.end));
                }
                "pwrite" => {
                    let file = open(path, OpenFlags::WRITE)?;
                    return Ok(file.inode().write_at(arguments.number(1)?, arguments.get(2)?)?.to_string());
                }
                "read" => {
                    let file = open(path, OpenFlags::READ)?;
                    let mut bytes = vec![0; MAX_READ_BYTES];
                    let len = file.inode().read_at(arguments.number(1).unwrap_or(0), &mut bytes)?;
                    return Ok(escape(&bytes[..len]));
                }
                "truncate" => context.truncate(path, arguments.number(1)?)?,
                "ftruncate" => self.file(path, Follow::No)?.set_size(arguments.number(1)?)?,
                "allocate" => {
                    let how = match arguments.text(3)?.as_str() {
                        "keep" => Allocation::KeepSize,
                        "punch" => Allocation::PunchHole,
                        "zero" => Allocation::Zero,
                        _ => Allocation::Extend,
                    };
                    let file = open(path, OpenFlags::WRITE)?;
                    file.inode().allocate(arguments.number(1)?, arguments.number(2)?, how)?;
                }
                _ => return Err(Failure::Line("")),
            }
            Ok(String::new())
        };
        let known = ["open", "write", "append", "pwrite", "read", "truncate", "ftruncate", "allocate"];
        known.contains(&verb).then(run)
    }

    fn ask(&self, verb: &str, arguments: &Arguments<'_>) -> Option<Outcome> {
        let context = self.context();
        let run = || -> Outcome {
            let path = arguments.get(0)?;
            match verb {
                "stat" => self.facts(&self.file(path, Follow::Yes)?.stat()?, arguments),
                "lstat" => self.facts(&self.file(path, Follow::No)?.stat()?, arguments),
                "readlink" => Ok(escape(&context.read_link(path)?)),
                "realpath" => Ok(context.canonicalize(path)?.to_string()),
                "pwd" => Ok(context
                    .path_of(&self.file(path, Follow::Yes)?)
                    .map_or("none".into(), |at| at.to_string())),
                "access" => {
                    Ok(context.access(path, arguments.access(1)?, Follow::Yes).map(|()| String::new())?)
                }
                "ls" => {
                    let entries = context.read_dir(path)?;
                    let names: Vec<_> = entries.iter().map(|entry| entry.name.to_string()).collect();
                    Ok(if names.is_empty() { "none".to_owned() } else { names.join(" ") })
                }
                "entries" => self.entries(path),
                "same" => {
                    let other = self.file(arguments.get(1)?, Follow::No)?;
                    Ok((self.file(path, Follow::No)?.file_id() == other.file_id()).to_string())
                }
                "changed" => self.changed(path, arguments),
                "seek" => {
                    let extent = if arguments.text(2)? == "data" { Extent::Data } else { Extent::Hole };
                    Ok(self
                        .file(path, Follow::Yes)?
                        .inode()
                        .seek_extent(arguments.number(1)?, extent)?
                        .to_string())
                }
                "getxattr" => {
                    let file = self.file(path, Follow::No)?;
                    Ok(escape(&file.get_xattr(&self.credentials, arguments.get(1)?)?))
                }
                "listxattr" => {
                    let names = self.file(path, Follow::No)?.list_xattr(&self.credentials)?;
                    Ok(if names.is_empty() { "none".to_owned() } else { escape(&names.join(&b' ')) })
                }
                _ => Err(Failure::Line("unknown command")),
            }
        };
        Some(run())
    }

    fn facts(&self, stat: &Stat, arguments: &Arguments<'_>) -> Outcome {
        let fact = |word: &Vec<u8>| match word.as_slice() {
            b"mode" => format!("{:o}", stat.mode),
            b"nlink" => stat.nlink.to_string(),
            b"uid" => stat.uid.to_string(),
            b"gid" => stat.gid.to_string(),
            b"size" => stat.size.to_string(),
            b"blocks" => stat.blocks.to_string(),
            b"rdev" => format!("{},{}", stat.rdev.major(), stat.rdev.minor()),
            b"atime" => format!("{}.{}", stat.atime.sec, stat.atime.nsec),
            b"mtime" => format!("{}.{}", stat.mtime.sec, stat.mtime.nsec),
            b"type" => format!("{:?}", stat.file_type()).to_lowercase(),
            _ => "?".to_owned(),
        };
        Ok(arguments.0.iter().skip(1).map(fact).collect::<Vec<_>>().join(" "))
    }

    /// Whether every entry of a directory tells the same inode number and type as the file itself.
    fn entries(&self, path: &[u8]) -> Outcome {
        let directory = self.context().resolve(path)?;
        for entry in directory.inode().read_dir()? {
            let inode = directory.inode().lookup(entry.name.as_name())?;
            let stat = inode.stat()?;
            if (entry.ino, entry.file_type) != (stat.ino, stat.file_type())
                || inode.ino() != stat.ino
                || stat.ino == 0
            {
                return Ok(format!("{} differs", entry.name));
            }
        }
        Ok("consistent".to_owned())
    }

    /// Which facts differ from a mark. The size of directories is the file system's own affair.
    fn changed(&self, mark: &[u8], arguments: &Arguments<'_>) -> Outcome {
        let now = self.file(arguments.get(1)?, Follow::No)?.stat()?;
        let mark = String::from_utf8_lossy(mark);
        let before = self.marks.get(&*mark).ok_or(Failure::Line("no such mark"))?;
        let facts = [
            ("id", (before.dev, before.ino) != (now.dev, now.ino)),
            ("mode", before.mode != now.mode),
            ("owner", (before.uid, before.gid) != (now.uid, now.gid)),
            ("nlink", before.nlink != now.nlink && !now.file_type().is_directory()),
            ("size", before.size != now.size && !now.file_type().is_directory()),
            ("atime", before.atime != now.atime),
            ("mtime", before.mtime != now.mtime),
            ("ctime", before.ctime != now.ctime),
        ];
        let names: Vec<_> = facts.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        Ok(if names.is_empty() { "nothing".to_owned() } else { names.join(" ") })
    }
}

/// The words after the verb.
struct Arguments<'a>(&'a [Vec<u8>]);

impl Arguments<'_> {
    fn get(&self, index: usize) -> Result<&[u8], Failure> {
        self.0.get(index).map(Vec::as_slice).ok_or(Failure::Line("a word is missing"))
    }

    fn text(&self, index: usize) -> Result<String, Failure> {
        Ok(String::from_utf8_lossy(self.get(index)?).into_owned())
    }

    fn number(&self, index: usize) -> Result<u64, Failure> {
        self.text(index)?.parse().map_err(|_| Failure::Line("not a number"))
    }

    fn mode(&self, index: usize, default: u32) -> Result<Mode, Failure> {
        match self.text(index) {
            Err(_) => Ok(Mode::new(default)),
            Ok(text) => u32::from_str_radix(&text, 8).map(Mode::new).map_err(|_| Failure::Line("not a mode")),
        }
    }

    fn credentials(&self, index: usize) -> Result<Credentials, Failure> {
        let text = self.text(index)?;
        let ids: Result<Vec<u32>, _> = text.split([':', ',']).map(str::parse).collect();
        let ids = ids.map_err(|_| Failure::Line("not a user"))?;
        let (uid, gid) =
            (ids.first().copied().unwrap_or(0), ids.get(1).or(ids.first()).copied().unwrap_or(0));
        let mut credentials = Credentials::new(Uid(uid), Gid(gid));
        credentials.groups = ids.iter().skip(2).copied().map(Gid).collect();
        Ok(credentials)
    }

    fn uid(&self, index: usize) -> Result<Option<Uid>, Failure> {
        if self.get(index)? == b"-" { Ok(None) } else { Ok(Some(Uid(self.number(index)? as u32))) }
    }

    fn gid(&self, index: usize) -> Result<Option<Gid>, Failure> {
        if self.get(index)? == b"-" { Ok(None) } else { Ok(Some(Gid(self.number(index)? as u32))) }
    }

    fn time(&self, index: usize) -> Result<Option<SetTime>, Failure> {
        match self.text(index)?.as_str() {
            "-" => Ok(None),
            "now" => Ok(Some(SetTime::Now)),
            text => {
                let (sec, nsec) = text.split_once('.').unwrap_or((text, "0"));
                let time =
                    sec.parse().ok().zip(nsec.parse().ok()).and_then(|(sec, nsec)| Timespec::new(sec, nsec));
                time.map(|time| Some(SetTime::At(time))).ok_or(Failure::Line("not a time"))
            }
        }
    }

    fn node_kind(&self, index: usize) -> Result<NodeKind<'static>, Failure> {
        match self.text(index)?.as_str() {
            "file" => Ok(NodeKind::Regular),
            "dir" => Ok(NodeKind::Directory),
            "fifo" => Ok(NodeKind::Fifo),
            "socket" => Ok(NodeKind::Socket),
            "char" => Ok(NodeKind::CharDevice(DeviceNumber::new(1, 3))),
            "block" => Ok(NodeKind::BlockDevice(DeviceNumber::new(8, 0))),
            _ => Err(Failure::Line("not a kind")),
        }
    }

    fn access(&self, index: usize) -> Result<Access, Failure> {
        self.text(index)?.chars().try_fold(Access::empty(), |access, letter| match letter {
            'r' => Ok(access | Access::READ),
            'w' => Ok(access | Access::WRITE),
            'x' => Ok(access | Access::EXECUTE),
            'f' => Ok(access),
            _ => Err(Failure::Line("not an access")),
        })
    }

    fn open_flags(&self, index: usize) -> Result<OpenFlags, Failure> {
        self.text(index)?.split(',').try_fold(OpenFlags::empty(), |flags, word| match word {
            "r" => Ok(flags | OpenFlags::READ),
            "w" => Ok(flags | OpenFlags::WRITE),
            "rw" => Ok(flags | OpenFlags::READ | OpenFlags::WRITE),
            "creat" => Ok(flags | OpenFlags::CREATE),
            "excl" => Ok(flags | OpenFlags::EXCL),
            "trunc" => Ok(flags | OpenFlags::TRUNC),
            "dir" => Ok(flags | OpenFlags::DIRECTORY),
            "nofollow" => Ok(flags | OpenFlags::NOFOLLOW),
            "path" => Ok(flags | OpenFlags::PATH),
            "tmpfile" => Ok(flags | OpenFlags::TMPFILE),
            _ => Err(Failure::Line("not an open flag")),
        })
    }
}

/// The bytes of a word: `\0`, `\s`, `\e`, and `*N` at its end.
fn unescape(word: &str) -> Vec<u8> {
    if word == "\\e" {
        return Vec::new();
    }
    let (word, count) = match word.rsplit_once('*').map(|(word, count)| (word, count.parse())) {
        Some((repeated, Ok(count))) => (repeated, count),
        Some((_, Err(_))) | None => (word, 1),
    };
    word.replace("\\0", "\0").replace("\\s", " ").repeat(count).into_bytes()
}

fn escape(bytes: &[u8]) -> String {
    if bytes.is_empty() { "\\e".to_owned() } else { String::from_utf8_lossy(bytes).replace('\0', "\\0") }
}
