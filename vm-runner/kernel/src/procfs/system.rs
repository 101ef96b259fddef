//! What `/proc` shows of the system.

use std::fmt::Write as _;
use std::time::Duration;

use vm_abi::FileType;
use vm_vfs::MountFlags;

use crate::kernel::KernelInner;

/// A file about the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SystemFile {
    CpuInfo,
    FileSystems,
    LoadAverage,
    MemoryInfo,
    Mounts,
    Stat,
    Uptime,
    Version,
}

impl SystemFile {
    pub(super) const ALL: [Self; 8] = [
        Self::CpuInfo,
        Self::FileSystems,
        Self::LoadAverage,
        Self::MemoryInfo,
        Self::Mounts,
        Self::Stat,
        Self::Uptime,
        Self::Version,
    ];

    pub(super) fn name(self) -> &'static [u8] {
        match self {
            Self::CpuInfo => b"cpuinfo",
            Self::FileSystems => b"filesystems",
            Self::LoadAverage => b"loadavg",
            Self::MemoryInfo => b"meminfo",
            Self::Mounts => b"mounts",
            Self::Stat => b"stat",
            Self::Uptime => b"uptime",
            Self::Version => b"version",
        }
    }

    pub(super) fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }

    pub(super) fn file_type(self) -> FileType {
        if self.target().is_some() { FileType::Symlink } else { FileType::Regular }
    }

    /// Where it points, if it is a link.
    pub(super) fn target(self) -> Option<Vec<u8>> {
        (self == Self::Mounts).then(|| b"self/mounts".to_vec())
    }

    pub(super) fn content(self, kernel: &KernelInner) -> Vec<u8> {
        match self {
            Self::CpuInfo => b"processor\t: 0\nmodel name\t: wasm32\n\n".to_vec(),
            Self::FileSystems => b"nodev\ttmpfs\nnodev\toverlay\nnodev\tproc\nnodev\tdevtmpfs\n".to_vec(),
            Self::LoadAverage => load_average(kernel),
            Self::MemoryInfo => memory_info(kernel),
            Self::Mounts => mounts(kernel),
            Self::Stat => format!(
                "cpu  0 0 0 0 0 0 0 0 0 0\nbtime {}\nprocesses {}\nprocs_running 1\nprocs_blocked 0\n",
                kernel.booted_at.sec,
                kernel.meters.processes.used()
            )
            .into_bytes(),
            Self::Uptime => {
                let seconds = kernel.clock.monotonic().as_secs_f64();
                format!("{seconds:.2} {seconds:.2}\n").into_bytes()
            }
            Self::Version => b"Linux version 0.0.1-lodge (lodge) #1 wasm32\n".to_vec(),
        }
    }
}

/// Nobody counts load: the numbers of processes are true, the averages are zero.
fn load_average(kernel: &KernelInner) -> Vec<u8> {
    let processes = kernel.table.all();
    let running = processes.iter().filter(|(_, relations)| relations.ended.is_none()).count();
    let newest = processes.last().map_or(1, |(process, _)| process.pid.raw());
    format!("0.00 0.00 0.00 {running}/{} {newest}\n", processes.len()).into_bytes()
}

fn memory_info(kernel: &KernelInner) -> Vec<u8> {
    let total = kernel.meters.memory.maximum() / 1024;
    let free = total.saturating_sub(kernel.meters.memory.used() / 1024);
    let mut text = String::new();
    for (name, kib) in [
        ("MemTotal", total),
        ("MemFree", free),
        ("MemAvailable", free),
        ("Buffers", 0),
        ("Cached", 0),
        ("SwapTotal", 0),
        ("SwapFree", 0),
    ] {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<16}{kib:>8} kB", format!("{name}:"));
    }
    text.into_bytes()
}

/// All mounts, as `mount(8)` and `df(1)` read them.
pub(super) fn mounts(kernel: &KernelInner) -> Vec<u8> {
    let mut lines = Vec::new();
    for mount in kernel.namespace.mounts() {
        let mut options = vec![if mount.flags.contains(MountFlags::READ_ONLY) { "ro" } else { "rw" }];
        options.extend(mount.flags.contains(MountFlags::NO_DEV).then_some("nodev"));
        options.extend(mount.flags.contains(MountFlags::NO_EXEC).then_some("noexec"));
        options.push("relatime");
        escape(&mut lines, mount.source.as_bytes());
        lines.push(b' ');
        escape(&mut lines, mount.path.as_bytes());
        lines.extend_from_slice(format!(" {} {} 0 0\n", mount.kind, options.join(",")).as_bytes());
    }
    lines
}

/// Blanks and backslashes would end the field.
fn escape(line: &mut Vec<u8>, field: &[u8]) {
    for &byte in field {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' => line.extend_from_slice(format!("\\{byte:03o}").as_bytes()),
            _ => line.push(byte),
        }
    }
}

/// Time in hundredths of a second, the unit of `/proc/PID/stat`.
pub(super) fn ticks(duration: Duration) -> u128 {
    duration.as_millis() / 10
}

#[cfg(test)]
mod tests {
    #[test]
    fn blanks_in_a_field_are_escaped() {
        let mut line = Vec::new();
        super::escape(&mut line, b"/a b\\c");
        assert_eq!(line, b"/a\\040b\\134c");
    }
}
