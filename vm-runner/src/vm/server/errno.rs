//! The system's errors as problems: which code, in what words, and which limit of the specification was hit.

use vm_abi::Errno;
use vm_api::{Problem, ProblemCode};

/// The problem of a file operation on `path`.
pub(crate) fn file_problem(error: vm_vfs::Error, path: &[u8]) -> Problem {
    let errno = error.errno();
    let shown = shown(path);
    let (code, reason) = describe(errno);
    let problem = Problem::new(code, format!("{shown}: {reason}")).with_errno(errno.name());
    match (code, error.hit_limit()) {
        (ProblemCode::LimitStorage, Some(limit)) if limit.contains("inode") => Problem::new(
            ProblemCode::LimitInodes,
            format!("{shown}: no room for another file; raise spec.limits.storageInodes"),
        )
        .with_errno(errno.name())
        .with_limit("spec.limits.storageInodes"),
        (ProblemCode::LimitStorage, _) => problem.with_limit("spec.storage.size"),
        _ => problem,
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
        Errno::ENOSPC | Errno::EDQUOT => {
            (ProblemCode::LimitStorage, "no space left; delete files or raise spec.storage.size")
        }
        Errno::EFBIG => (ProblemCode::LimitStorage, "the file is larger than the file system allows"),
        Errno::EINVAL => (ProblemCode::InvalidPath, "not possible with this path"),
        other => (ProblemCode::FileError, other.message()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_system_names_the_limit_that_raises_it() {
        let problem = file_problem(vm_vfs::Error::limit(Errno::ENOSPC, "tmpfs bytes"), b"/a");
        assert_eq!((problem.status, problem.limit.as_deref()), (507, Some("spec.storage.size")));
        let problem = file_problem(vm_vfs::Error::limit(Errno::ENOSPC, "tmpfs inodes"), b"/a");
        assert_eq!(
            (problem.code.as_str(), problem.limit.as_deref()),
            ("limit-inodes", Some("spec.limits.storageInodes"))
        );
    }

    #[test]
    fn a_problem_names_the_path_and_the_errno() {
        let problem = file_problem(Errno::ENOENT.into(), b"/home/agent/x\n");
        assert_eq!(problem.errno.as_deref(), Some("ENOENT"));
        assert_eq!(problem.detail, "/home/agent/x\\n: no such file or directory");
    }
}
