//! What is mounted, as `mount(8)`, `df(1)` and `findmnt(8)` read it.

use vm_vfs::{MountEntry, MountFlags};

use crate::kernel::KernelInner;

/// `/proc/mounts`.
pub(super) fn mounts(kernel: &KernelInner) -> Vec<u8> {
    let mut lines = Vec::new();
    for mount in kernel.namespace.mounts() {
        escape(&mut lines, mount.source.as_bytes());
        lines.push(b' ');
        escape(&mut lines, mount.path.as_bytes());
        lines.extend_from_slice(format!(" {} {} 0 0\n", mount.kind, options(&mount)).as_bytes());
    }
    lines
}

/// `/proc/PID/mountinfo`: id, parent's id, device, root, mount point, options, no optional fields, type, source, options
/// of the file system.
pub(super) fn mount_info(kernel: &KernelInner) -> Vec<u8> {
    let mut lines = Vec::new();
    let mounts = kernel.namespace.mounts();
    for (index, mount) in mounts.iter().enumerate() {
        let parent = parent_of(&mounts, index).map_or(0, |parent| parent + 1);
        // Nothing lies on a real device: numbers as tmpfs has them.
        lines.extend_from_slice(format!("{} {parent} 0:{} / ", index + 1, index + 1).as_bytes());
        escape(&mut lines, mount.path.as_bytes());
        lines.extend_from_slice(format!(" {} - {} ", options(mount), mount.kind).as_bytes());
        escape(&mut lines, mount.source.as_bytes());
        let access = if mount.flags.contains(MountFlags::READ_ONLY) { "ro" } else { "rw" };
        lines.extend_from_slice(format!(" {access}\n").as_bytes());
    }
    lines
}

/// The mount that a mount lies in: the one with the longest path that leads to it, the last of those.
fn parent_of(mounts: &[MountEntry], index: usize) -> Option<usize> {
    let path = mounts.get(index)?.path.as_bytes();
    let is_above = |other: &[u8]| {
        let rest = if other == b"/" {
            path.get(1..)
        } else {
            path.strip_prefix(other).and_then(|rest| rest.strip_prefix(b"/"))
        };
        rest.is_some_and(|rest| !rest.is_empty())
    };
    let above = mounts.iter().enumerate().filter(|(_, other)| is_above(other.path.as_bytes()));
    above.max_by_key(|(_, other)| other.path.as_bytes().len()).map(|(index, _)| index)
}

fn options(mount: &MountEntry) -> String {
    let mut options = vec![if mount.flags.contains(MountFlags::READ_ONLY) { "ro" } else { "rw" }];
    options.extend(mount.flags.contains(MountFlags::NO_DEV).then_some("nodev"));
    options.extend(mount.flags.contains(MountFlags::NO_EXEC).then_some("noexec"));
    options.push("relatime");
    options.join(",")
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

#[cfg(test)]
mod tests {
    #[test]
    fn blanks_in_a_field_are_escaped() {
        let mut line = Vec::new();
        super::escape(&mut line, b"/a b\\c");
        assert_eq!(line, b"/a\\040b\\134c");
    }
}
