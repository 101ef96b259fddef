//! Resource limits that a process sets itself (`setrlimit`), by Linux's numbers and names.
//!
//! Enforced are the number of open files, file size, CPU time, processes of a user and address space; the others are
//! kept and shown. What the VM as a whole may use is another matter: `limits.rs`.

use std::sync::Arc;
use std::time::Duration;

use vm_abi::{Errno, Signal};

use super::Process;
use crate::kernel::KernelInner;
use crate::limits::Limits;

/// A limit that a process may lower, and raise up to `hard`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rlimit {
    /// What is enforced.
    pub soft: u64,
    /// What `soft` may be raised to.
    pub hard: u64,
}

impl Rlimit {
    /// No limit (`RLIM_INFINITY`).
    pub const INFINITY: u64 = u64::MAX;

    const fn both(limit: u64) -> Self {
        Self { soft: limit, hard: limit }
    }
}

macro_rules! resources {
    ($($name:ident = $number:literal, $title:literal, $unit:literal;)*) => {
        /// What a process can limit. The numbers are Linux's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Resource {
            $(#[doc = $title] $name = $number,)*
        }

        impl Resource {
            /// All, ascending by number.
            pub const ALL: [Self; 16] = [$(Self::$name,)*];

            /// The resource of this number.
            #[must_use]
            pub const fn from_raw(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// Its name and unit, as `/proc/PID/limits` shows them.
            pub(crate) const fn title(self) -> (&'static str, &'static str) {
                match self {
                    $(Self::$name => ($title, $unit),)*
                }
            }
        }
    };
}

resources! {
    Cpu = 0, "Max cpu time", "seconds";
    FileSize = 1, "Max file size", "bytes";
    Data = 2, "Max data size", "bytes";
    Stack = 3, "Max stack size", "bytes";
    Core = 4, "Max core file size", "bytes";
    Resident = 5, "Max resident set", "bytes";
    Processes = 6, "Max processes", "processes";
    OpenFiles = 7, "Max open files", "files";
    LockedMemory = 8, "Max locked memory", "bytes";
    AddressSpace = 9, "Max address space", "bytes";
    Locks = 10, "Max file locks", "locks";
    PendingSignals = 11, "Max pending signals", "signals";
    MessageQueue = 12, "Max msgqueue size", "bytes";
    Nice = 13, "Max nice priority", "";
    RealTimePriority = 14, "Max realtime priority", "";
    RealTime = 15, "Max realtime timeout", "us";
}

/// All limits of a process. Cheap to clone: children share their parent's until one of them changes.
#[derive(Clone, Debug)]
pub(crate) struct Rlimits(Arc<[Rlimit; Resource::ALL.len()]>);

impl Rlimits {
    /// What the commands of a VM start with.
    pub(crate) fn new(limits: &Limits) -> Self {
        let default = |resource| match resource {
            Resource::Stack => Rlimit { soft: 8 << 20, hard: Rlimit::INFINITY },
            Resource::Core => Rlimit { soft: 0, hard: Rlimit::INFINITY },
            Resource::Processes | Resource::PendingSignals => Rlimit::both(limits.max_processes as u64),
            Resource::OpenFiles => Rlimit::both(u64::from(limits.max_fds)),
            Resource::LockedMemory => Rlimit::both(8 << 20),
            Resource::MessageQueue => Rlimit::both(819_200),
            Resource::Nice | Resource::RealTimePriority => Rlimit::both(0),
            Resource::Cpu
            | Resource::FileSize
            | Resource::Data
            | Resource::Resident
            | Resource::AddressSpace
            | Resource::Locks
            | Resource::RealTime => Rlimit::both(Rlimit::INFINITY),
        };
        Self(Arc::new(Resource::ALL.map(default)))
    }

    /// One of them.
    pub(crate) fn get(&self, resource: Resource) -> Rlimit {
        self.0.get(resource as usize).copied().unwrap_or(Rlimit::both(Rlimit::INFINITY))
    }

    /// Changes one of them: only down, but `soft` up to `hard`.
    pub(crate) fn set(&mut self, resource: Resource, limit: Rlimit) -> Result<(), Errno> {
        if limit.soft > limit.hard {
            return Err(Errno::EINVAL);
        }
        if limit.hard > self.get(resource).hard {
            return Err(Errno::EPERM);
        }
        if let Some(own) = Arc::make_mut(&mut self.0).get_mut(resource as usize) {
            *own = limit;
        }
        Ok(())
    }

    /// No fd reaches this number.
    pub(crate) fn fds(&self) -> u32 {
        u32::try_from(self.get(Resource::OpenFiles).soft).unwrap_or(u32::MAX)
    }
}

impl Process {
    /// Kills or warns a process that has used as much CPU time as it may: `SIGXCPU` once a second, then `SIGKILL`.
    pub(crate) fn check_cpu_limit(self: &Arc<Self>, kernel: &KernelInner) {
        let used = self.cpu.used();
        if used < self.cpu_deadline() {
            return;
        }
        let Rlimit { soft, hard } = self.rlimit(Resource::Cpu);
        let second = Duration::from_secs(1);
        if used >= Duration::from_secs(hard) {
            kernel.post_signal(self, Signal::SIGKILL);
        } else if used >= Duration::from_secs(soft) {
            kernel.post_signal(self, Signal::SIGXCPU);
        }
        self.set_cpu_deadline((used.saturating_add(second)).min(Duration::from_secs(hard)));
    }
}

impl KernelInner {
    /// Whether another process of this one's user may exist: `EAGAIN` if not. Root's may.
    pub(crate) fn check_processes_of(&self, parent: &Process) -> Result<(), Errno> {
        let limit = parent.rlimit(Resource::Processes).soft;
        let credentials = parent.credentials();
        if limit >= self.limits.max_processes as u64 || credentials.is_privileged() {
            return Ok(());
        }
        let of_user = |process: &Arc<Process>| process.credentials().uid == credentials.uid;
        let count = self.table.living(|_, _| true).iter().filter(|process| of_user(process)).count();
        if (count as u64) < limit { Ok(()) } else { Err(Errno::EAGAIN) }
    }
}

#[cfg(test)]
mod tests {
    use vm_abi::Errno;

    use super::{Resource, Rlimit, Rlimits};
    use crate::limits::Limits;

    #[test]
    fn limits_go_down_for_good_and_soft_ones_up_again() {
        let mut limits = Rlimits::new(&Limits::default());
        let mut set = |soft, hard| limits.set(Resource::FileSize, Rlimit { soft, hard });
        assert_eq!(set(5, 10), Ok(()));
        assert_eq!(set(10, 10), Ok(()));
        assert_eq!(set(11, 10), Err(Errno::EINVAL));
        assert_eq!(set(11, 11), Err(Errno::EPERM));
        assert_eq!(limits.get(Resource::FileSize), Rlimit { soft: 10, hard: 10 });
    }

    #[test]
    fn resources_have_linux_numbers() {
        for (number, resource) in Resource::ALL.into_iter().enumerate() {
            assert_eq!(Resource::from_raw(u32::try_from(number).unwrap()), Some(resource));
        }
        assert_eq!(Resource::from_raw(16), None);
        assert_eq!(Resource::OpenFiles as u32, 7);
    }
}
