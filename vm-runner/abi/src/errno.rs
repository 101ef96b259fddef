//! Error numbers, as the guest sees them.
//!
//! The discriminants are the WASI preview 1 numbers, plus `ENODATA` (78), which the published software packages
//! use for a missing extended attribute. There is no variant for success: a syscall returns `Result<T, Errno>`.

use std::fmt;

macro_rules! errnos {
    ($($name:ident = $number:literal, $message:literal;)*) => {
        /// Why a system call failed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u16)]
        pub enum Errno {
            $(#[doc = $message] $name = $number,)*
        }

        impl Errno {
            /// Every error number, ascending.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name POSIX gives it, for example `ENOENT`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)*
                }
            }

            /// The sentence Linux's C library prints for it, for example `No such file or directory`.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self {
                    $(Self::$name => $message,)*
                }
            }

            /// The error of this WASI number; `None` for success (0) and for unknown numbers.
            #[must_use]
            pub const fn from_raw(number: u16) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    E2BIG = 1, "Argument list too long";
    EACCES = 2, "Permission denied";
    EADDRINUSE = 3, "Address already in use";
    EADDRNOTAVAIL = 4, "Cannot assign requested address";
    EAFNOSUPPORT = 5, "Address family not supported by protocol";
    EAGAIN = 6, "Resource temporarily unavailable";
    EALREADY = 7, "Operation already in progress";
    EBADF = 8, "Bad file descriptor";
    EBADMSG = 9, "Bad message";
    EBUSY = 10, "Device or resource busy";
    ECANCELED = 11, "Operation canceled";
    ECHILD = 12, "No child processes";
    ECONNABORTED = 13, "Software caused connection abort";
    ECONNREFUSED = 14, "Connection refused";
    ECONNRESET = 15, "Connection reset by peer";
    EDEADLK = 16, "Resource deadlock avoided";
    EDESTADDRREQ = 17, "Destination address required";
    EDOM = 18, "Numerical argument out of domain";
    EDQUOT = 19, "Disk quota exceeded";
    EEXIST = 20, "File exists";
    EFAULT = 21, "Bad address";
    EFBIG = 22, "File too large";
    EHOSTUNREACH = 23, "No route to host";
    EIDRM = 24, "Identifier removed";
    EILSEQ = 25, "Invalid or incomplete multibyte or wide character";
    EINPROGRESS = 26, "Operation now in progress";
    EINTR = 27, "Interrupted system call";
    EINVAL = 28, "Invalid argument";
    EIO = 29, "Input/output error";
    EISCONN = 30, "Transport endpoint is already connected";
    EISDIR = 31, "Is a directory";
    ELOOP = 32, "Too many levels of symbolic links";
    EMFILE = 33, "Too many open files";
    EMLINK = 34, "Too many links";
    EMSGSIZE = 35, "Message too long";
    EMULTIHOP = 36, "Multihop attempted";
    ENAMETOOLONG = 37, "File name too long";
    ENETDOWN = 38, "Network is down";
    ENETRESET = 39, "Network dropped connection on reset";
    ENETUNREACH = 40, "Network is unreachable";
    ENFILE = 41, "Too many open files in system";
    ENOBUFS = 42, "No buffer space available";
    ENODEV = 43, "No such device";
    ENOENT = 44, "No such file or directory";
    ENOEXEC = 45, "Exec format error";
    ENOLCK = 46, "No locks available";
    ENOLINK = 47, "Link has been severed";
    ENOMEM = 48, "Cannot allocate memory";
    ENOMSG = 49, "No message of desired type";
    ENOPROTOOPT = 50, "Protocol not available";
    ENOSPC = 51, "No space left on device";
    ENOSYS = 52, "Function not implemented";
    ENOTCONN = 53, "Transport endpoint is not connected";
    ENOTDIR = 54, "Not a directory";
    ENOTEMPTY = 55, "Directory not empty";
    ENOTRECOVERABLE = 56, "State not recoverable";
    ENOTSOCK = 57, "Socket operation on non-socket";
    ENOTSUP = 58, "Operation not supported";
    ENOTTY = 59, "Inappropriate ioctl for device";
    ENXIO = 60, "No such device or address";
    EOVERFLOW = 61, "Value too large for defined data type";
    EOWNERDEAD = 62, "Owner died";
    EPERM = 63, "Operation not permitted";
    EPIPE = 64, "Broken pipe";
    EPROTO = 65, "Protocol error";
    EPROTONOSUPPORT = 66, "Protocol not supported";
    EPROTOTYPE = 67, "Protocol wrong type for socket";
    ERANGE = 68, "Numerical result out of range";
    EROFS = 69, "Read-only file system";
    ESPIPE = 70, "Illegal seek";
    ESRCH = 71, "No such process";
    ESTALE = 72, "Stale file handle";
    ETIMEDOUT = 73, "Connection timed out";
    ETXTBSY = 74, "Text file busy";
    EXDEV = 75, "Invalid cross-device link";
    ENOTCAPABLE = 76, "Capabilities insufficient";
    ENODATA = 78, "No data available";
}

impl Errno {
    /// The WASI number.
    #[must_use]
    pub const fn raw(self) -> u16 {
        self as u16
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl std::error::Error for Errno {}

#[cfg(test)]
mod tests {
    use super::Errno;

    #[test]
    fn every_errno_survives_the_way_through_its_number() {
        for &errno in Errno::ALL {
            assert_eq!(Errno::from_raw(errno.raw()), Some(errno), "{}", errno.name());
        }
        assert_eq!(Errno::ALL.len(), 77);
    }

    #[test]
    fn success_and_unknown_numbers_are_no_errno() {
        for number in [0, 77, 79, u16::MAX] {
            assert_eq!(Errno::from_raw(number), None);
        }
    }

    #[test]
    fn numbers_names_and_messages_match_wasi_and_linux() {
        assert_eq!(Errno::ENOENT.raw(), 44);
        assert_eq!(Errno::ENOTDIR.raw(), 54);
        assert_eq!(Errno::EXDEV.raw(), 75);
        assert_eq!(Errno::ENODATA.raw(), 78);
        assert_eq!(Errno::ENOENT.name(), "ENOENT");
        assert_eq!(Errno::ENOTEMPTY.to_string(), "Directory not empty");
    }
}
