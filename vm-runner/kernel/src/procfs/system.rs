//! What `/proc` shows of the system, in the formats of Linux's proc(5).

use std::fmt::Write as _;
use std::time::Duration;

use super::network;
use crate::activity::ProcessState;
use crate::kernel::KernelInner;

/// What `uname` and `/proc` call this kernel.
const RELEASE: &str = "6.1.0-lodge";
const VERSION: &str = "#1 SMP";

macro_rules! system_files {
    ($($name:ident = $path:literal;)*) => {
        /// A file or link about the system.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum SystemFile {
            $($name,)*
        }

        impl SystemFile {
            pub(super) const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Where it lies below `/proc`.
            pub(super) fn path(self) -> &'static str {
                match self {
                    $(Self::$name => $path,)*
                }
            }
        }
    };
}

system_files! {
    CommandLine = "cmdline";
    CpuInfo = "cpuinfo";
    FileSystems = "filesystems";
    LoadAverage = "loadavg";
    MemoryInfo = "meminfo";
    Mounts = "mounts";
    Net = "net";
    Stat = "stat";
    Swaps = "swaps";
    Uptime = "uptime";
    Version = "version";
    HostName = "sys/kernel/hostname";
    OsRelease = "sys/kernel/osrelease";
    OsType = "sys/kernel/ostype";
    OsVersion = "sys/kernel/version";
    PidMax = "sys/kernel/pid_max";
    FileMax = "sys/fs/file-max";
    PipeMaxSize = "sys/fs/pipe-max-size";
    Overcommit = "sys/vm/overcommit_memory";
    SoMaxConn = "sys/net/core/somaxconn";
    NetDev = "net-of-self/dev";
    NetTcp = "net-of-self/tcp";
    NetTcp6 = "net-of-self/tcp6";
    NetUdp = "net-of-self/udp";
    NetUdp6 = "net-of-self/udp6";
    NetUnix = "net-of-self/unix";
}

impl SystemFile {
    /// Where it points, if it is a link.
    pub(super) fn target(self) -> Option<&'static [u8]> {
        match self {
            Self::Mounts => Some(b"self/mounts"),
            Self::Net => Some(b"self/net"),
            _ => None,
        }
    }

    pub(super) fn content(self, kernel: &KernelInner) -> Vec<u8> {
        match self {
            Self::CommandLine => b"\n".to_vec(),
            Self::CpuInfo => cpu_info(kernel),
            Self::FileSystems => file_systems(),
            Self::LoadAverage => load_average(kernel),
            Self::MemoryInfo => memory_info(kernel),
            Self::Mounts | Self::Net => Vec::new(),
            Self::Stat => stat(kernel),
            Self::Swaps => b"Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n".to_vec(),
            Self::Uptime => uptime(kernel),
            Self::Version => format!("Linux version {RELEASE} (lodge) {VERSION}\n").into_bytes(),
            Self::HostName => line(&kernel.hostname),
            Self::OsRelease => line(RELEASE),
            Self::OsType => line("Linux"),
            Self::OsVersion => line(VERSION),
            Self::PidMax => line(crate::process::table::MAX_PID),
            Self::FileMax => line(kernel.limits.max_open_files),
            Self::PipeMaxSize => line(kernel.limits.pipe_capacity_bytes),
            Self::Overcommit => line(2),
            Self::SoMaxConn => line(kernel.limits.max_listen_backlog),
            Self::NetDev => network::devices(),
            Self::NetTcp => network::tcp(kernel, network::Family::V4),
            Self::NetTcp6 => network::tcp(kernel, network::Family::V6),
            Self::NetUdp => network::udp_header(network::Family::V4),
            Self::NetUdp6 => network::udp_header(network::Family::V6),
            Self::NetUnix => network::unix(),
        }
    }
}

fn line(value: impl std::fmt::Display) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

fn cpu_info(kernel: &KernelInner) -> Vec<u8> {
    let mut text = String::new();
    for number in 0..kernel.cpu.cpus() {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            "processor\t: {number}\nvendor_id\t: lodge\ncpu family\t: 0\nmodel\t\t: 0\nmodel name\t: wasm32\n\
             physical id\t: 0\ncore id\t\t: {number}\nflags\t\t:\n\n"
        );
    }
    text.into_bytes()
}

fn file_systems() -> Vec<u8> {
    let kinds = ["tmpfs", "overlay", "proc", "devtmpfs", "devpts"];
    kinds.iter().flat_map(|kind| format!("nodev\t{kind}\n").into_bytes()).collect()
}

fn load_average(kernel: &KernelInner) -> Vec<u8> {
    let processes = kernel.table.all();
    let running = count_running(kernel);
    let newest = processes.last().map_or(1, |(process, _)| process.pid.raw());
    let [one, five, fifteen] = kernel.cpu.load_averages();
    format!("{one:.2} {five:.2} {fifteen:.2} {running}/{} {newest}\n", processes.len()).into_bytes()
}

fn count_running(kernel: &KernelInner) -> usize {
    let processes = kernel.table.all();
    let states = processes.iter().map(|(process, relations)| ProcessState::of(process, relations));
    states.filter(|state| *state == ProcessState::Running).count()
}

fn stat(kernel: &KernelInner) -> Vec<u8> {
    let cpus = kernel.cpu.cpus();
    let used = ticks(kernel.cpu.used());
    let whole = ticks(kernel.uptime());
    let idle = (whole * cpus as u128).saturating_sub(used);
    let mut text = format!("cpu  {used} 0 0 {idle} 0 0 0 0 0 0\n");
    for number in 0..cpus {
        let own = used / cpus as u128;
        // Writing to a string cannot fail.
        let _ = writeln!(text, "cpu{number} {own} 0 0 {} 0 0 0 0 0 0", whole.saturating_sub(own));
    }
    let _ = write!(
        text,
        "intr 0\nctxt 0\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n",
        kernel.booted_at.sec,
        kernel.table.made(),
        count_running(kernel),
    );
    text.into_bytes()
}

fn uptime(kernel: &KernelInner) -> Vec<u8> {
    let up = kernel.uptime();
    let idle = (up * u32::try_from(kernel.cpu.cpus()).unwrap_or(1)).saturating_sub(kernel.cpu.used());
    format!("{:.2} {:.2}\n", up.as_secs_f64(), idle.as_secs_f64()).into_bytes()
}

fn memory_info(kernel: &KernelInner) -> Vec<u8> {
    let total = kernel.meters.memory.maximum() / 1024;
    let used = kernel.meters.memory.used() / 1024;
    let free = total.saturating_sub(used);
    let mut text = String::new();
    for (name, kib) in [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapCached", 0),
        ("Active", used),
        ("Inactive", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
        ("Dirty", 0),
        ("Writeback", 0),
        ("AnonPages", used),
        ("Mapped", 0),
        ("Shmem", 0),
        ("SReclaimable", 0),
        ("SUnreclaim", 0),
        ("CommitLimit", total),
        ("Committed_AS", used),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<16}{kib:>8} kB", format!("{name}:"));
    }
    text.into_bytes()
}

/// Time in hundredths of a second, the unit of `/proc/PID/stat`.
pub(super) fn ticks(duration: Duration) -> u128 {
    duration.as_millis() / 10
}
