//! Operations on paths, in POSIX's order of errors: methods of [`WalkContext`](crate::WalkContext), one file a verb.
//!
//! Callers are the kernel's system calls and the files API; both get the same checks. The caller applies the umask.

mod acl;
mod attribute;
mod create;
mod open;
mod remove;
mod rename;
mod xattr;

pub use open::Opened;
