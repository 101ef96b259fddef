//! The system's errors as problems: which code, in what words, and which limit of the specification was hit.

use vm_abi::Errno;
use vm_api::{Problem, ProblemCode};

/// Which limits a place in the file system has, by the specification's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Storage {
    /// What is full, for people.
    pub(crate) name: String,
    /// The field that gives it more bytes; `None` if there is none.
    pub(crate) bytes: Option<String>,
    /// The field that gives it more files.
    pub(crate) inodes: Option<String>,
}

/// The problem of a file operation on `path`, which lies in `storage`.
pub(crate) fn file_problem(error: vm_vfs::Error, path: &[u8], storage: impl FnOnce() -> Storage) -> Problem {
    let errno = error.errno();
    let (code, reason) = describe(errno);
    let problem = if code == ProblemCode::LimitStorage {
        full(error, &shown(path), storage())
    } else {
        Problem::new(code, format!("{}: {reason}", shown(path)))
    };
    problem.with_errno(errno.name()).with_path(path)
}

fn full(error: vm_vfs::Error, shown: &str, storage: Storage) -> Problem {
    let Storage { name, bytes, inodes } = storage;
    if error == Errno::ENOSPC && error.hit_limit().is_none() {
        // No limit of ours: the host said so.
        let detail = format!(
            "{shown}: the volume of the runner that holds {name} is full; until it has space again, files can only be \
             read and deleted"
        );
        return Problem::new(ProblemCode::StorageFull, detail);
    }
    let is_inodes = error.hit_limit().is_some_and(|limit| limit.contains("inode"));
    let (code, field) =
        if is_inodes { (ProblemCode::LimitInodes, inodes) } else { (ProblemCode::LimitStorage, bytes) };
    let reason = match (is_inodes, error == Errno::EFBIG) {
        (true, _) => "no room for another file",
        (false, true) => "the file is larger than can be",
        (false, false) => "no space left",
    };
    match field {
        Some(field) => {
            let detail = format!("{shown}: {reason} in {name}; delete files or raise {field}");
            Problem::new(code, detail).with_limit(field)
        }
        None => Problem::new(code, format!("{shown}: {reason} in {name}; delete files")),
    }
}

/// A path for people: percent-free, but without control characters.
pub(crate) fn shown(path: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(path).chars().take(256).collect();
    text.escape_debug().to_string()
}

fn describe(errno: Errno) -> (ProblemCode, &'static str) {
    match errno {
        Errno::ENOENT => (ProblemCode::PathNotFound, "no such file or directory"),
        Errno::EEXIST => (ProblemCode::PathExists, "exists already"),
        Errno::ENOTDIR => (ProblemCode::NotADirectory, "a part of the path is not a directory"),
        Errno::EISDIR => (ProblemCode::IsADirectory, "is a directory"),
        Errno::ENOTEMPTY => (
            ProblemCode::DirectoryNotEmpty,
            "the directory is not empty; ?recursive deletes it with its entries",
        ),
        Errno::EACCES | Errno::EPERM => (ProblemCode::PermissionDenied, "the user may not do this"),
        Errno::EROFS => (ProblemCode::ReadOnlyFileSystem, "the file system is read-only"),
        Errno::ELOOP => (ProblemCode::TooManySymlinks, "too many symbolic links"),
        Errno::ENAMETOOLONG => (ProblemCode::PathTooLong, "a path has at most 4096 bytes, a name in it 255"),
        Errno::EXDEV => {
            (ProblemCode::CrossDevice, "the destination lies on another file system; copy and delete instead")
        }
        Errno::EBUSY | Errno::ETXTBSY => (ProblemCode::FileBusy, "is in use, as a mount point or otherwise"),
        Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => (ProblemCode::LimitStorage, "no space left"),
        Errno::EINVAL => (ProblemCode::InvalidPath, "not possible with this path"),
        other => (ProblemCode::FileError, other.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace() -> Storage {
        Storage {
            name: "the workspace".to_owned(),
            bytes: Some("spec.storage.size".to_owned()),
            inodes: Some("spec.limits.storageInodes".to_owned()),
        }
    }

    #[test]
    fn a_full_file_system_names_the_limit_that_raises_it() {
        let problem = file_problem(vm_vfs::Error::limit(Errno::ENOSPC, "tmpfs bytes"), b"/a", workspace);
        assert_eq!((problem.status, problem.limit.as_deref()), (507, Some("spec.storage.size")));
        assert_eq!(
            problem.detail,
            "/a: no space left in the workspace; delete files or raise spec.storage.size"
        );
        let problem = file_problem(vm_vfs::Error::limit(Errno::ENOSPC, "tmpfs inodes"), b"/a", workspace);
        assert_eq!(
            (problem.code.as_str(), problem.limit.as_deref()),
            ("limit-inodes", Some("spec.limits.storageInodes"))
        );
    }

    #[test]
    fn a_full_volume_of_the_host_is_not_blamed_on_the_specification() {
        let problem = file_problem(Errno::ENOSPC.into(), b"/a", workspace);
        assert_eq!((problem.code.as_str(), problem.limit.as_deref()), ("storage-full", None));
        assert!(problem.detail.contains("volume of the runner"), "{problem}");
        let problem = file_problem(Errno::EFBIG.into(), b"/a", workspace);
        assert_eq!(problem.limit.as_deref(), Some("spec.storage.size"));
    }

    #[test]
    fn a_problem_names_the_path_and_the_errno() {
        let problem = file_problem(Errno::ENOENT.into(), b"/home/agent/x\n", workspace);
        assert_eq!(problem.errno.as_deref(), Some("ENOENT"));
        assert_eq!(problem.path.as_deref(), Some("/home/agent/x\n"));
        assert_eq!(problem.detail, "/home/agent/x\\n: no such file or directory");
    }
}
