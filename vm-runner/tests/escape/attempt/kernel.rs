//! The kernel's own interfaces, and the host as a whole.

use super::{Attempt, killed, refused, text, tried};

/// Room for whatever a call reads.
const ZEROS: [u8; 256] = [0; 256];

fn zeros() -> usize {
    ZEROS.as_ptr() as usize
}

pub(super) fn attempts() -> impl Iterator<Item = Attempt> {
    roots().into_iter().chain(interfaces()).chain(memory()).chain(host())
}

fn roots() -> Vec<Attempt> {
    vec![
        killed("mount", |_| {
            let (kind, at) = (text("tmpfs"), text("/tmp"));
            let (kind, at) = (kind.as_ptr() as usize, at.as_ptr() as usize);
            tried(libc::SYS_mount, &[kind, at, kind, 0, 0])
        }),
        killed("mount by the new calls", |_| {
            let kind = text("proc");
            tried(libc::SYS_fsopen, &[kind.as_ptr() as usize, 0])
        }),
        killed("clone a mount", |_| {
            let path = text("/");
            tried(libc::SYS_open_tree, &[super::HERE, path.as_ptr() as usize, 1])
        }),
        killed("unmount", |_| {
            let path = text("/proc");
            tried(libc::SYS_umount2, &[path.as_ptr() as usize, libc::MNT_DETACH as usize])
        }),
        killed("enter a user namespace of its own", |_| {
            tried(libc::SYS_unshare, &[libc::CLONE_NEWUSER as usize])
        }),
        killed("enter another namespace", |_| tried(libc::SYS_setns, &[0, 0])),
        killed("change its root", |_| {
            let path = text("/");
            tried(libc::SYS_chroot, &[path.as_ptr() as usize])
        }),
    ]
}

fn interfaces() -> Vec<Attempt> {
    vec![
        killed("load a program into the kernel", |_| tried(libc::SYS_bpf, &[5, zeros(), 128])),
        killed("load a kernel module", |_| tried(libc::SYS_finit_module, &[0, zeros(), 0])),
        killed("count the events of processors", |_| {
            tried(libc::SYS_perf_event_open, &[zeros(), 0, usize::MAX, usize::MAX, 0])
        }),
        killed("make calls through a ring", |_| tried(libc::SYS_io_uring_setup, &[8, zeros()])),
        killed("use the old asynchronous calls", |_| tried(libc::SYS_io_setup, &[8, zeros()])),
        killed("handle page faults", |_| tried(libc::SYS_userfaultfd, &[1])),
        killed("use the kernel's key rings", |_| tried(libc::SYS_keyctl, &[0, 0, 0, 0, 0])),
        killed("add a key", |_| tried(libc::SYS_add_key, &[zeros(), zeros(), zeros(), 1, 0])),
        killed("read the kernel's log", |_| tried(libc::SYS_syslog, &[3, zeros(), 0])),
        killed("switch to another kind of process", |_| tried(libc::SYS_personality, &[0x0040_0000])),
        refused("type into a terminal", |_| tried(libc::SYS_ioctl, &[2, libc::TIOCSTI as usize, zeros()])),
        refused("make a call that does not exist", |_| tried(9999, &[])),
        #[cfg(target_arch = "x86_64")]
        refused("make a call by its x32 number", |_| {
            tried(libc::SYS_kill | 0x4000_0000, &[std::process::id() as usize, 0])
        }),
        #[cfg(target_arch = "x86_64")]
        killed("make a call of the 32-bit kind", |_| {
            thirty_two_bit_getpid();
            Ok(())
        }),
    ]
}

fn memory() -> Vec<Attempt> {
    vec![
        killed("share memory with others", |_| tried(libc::SYS_shmget, &[0x1234, 4096, 0o1666])),
        killed("open a queue of messages", |_| tried(libc::SYS_msgget, &[0x1234, 0o1666])),
        killed("open a semaphore", |_| tried(libc::SYS_semget, &[0x1234, 1, 0o1666])),
        killed("open a queue by name", |_| {
            let name = text("queue");
            tried(libc::SYS_mq_open, &[name.as_ptr() as usize, libc::O_CREAT as usize, 0o600, 0])
        }),
        refused("hold memory that cannot be swapped", |_| tried(libc::SYS_mlockall, &[1])),
        refused("hold memory that nobody sees", |_| tried(libc::SYS_memfd_secret, &[0])),
    ]
}

fn host() -> Vec<Attempt> {
    vec![
        killed("reboot the host", |_| tried(libc::SYS_reboot, &[0, 0, 0, 0])),
        killed("set the host's clock", |_| tried(libc::SYS_clock_settime, &[0, zeros()])),
        killed("name the host", |_| tried(libc::SYS_sethostname, &[zeros(), 1])),
        killed("swap", |_| tried(libc::SYS_swapon, &[zeros(), 0])),
        killed("load another kernel", |_| tried(libc::SYS_kexec_load, &[0, 0, 0, 0])),
        #[cfg(target_arch = "x86_64")]
        killed("talk to the hardware", |_| tried(libc::SYS_iopl, &[3])),
    ]
}

#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "the 32-bit gate is reached by an instruction alone")]
fn thirty_two_bit_getpid() {
    // SAFETY: getpid reads and writes no memory; the registers that the gate changes are named.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") 20_usize => _, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
}
