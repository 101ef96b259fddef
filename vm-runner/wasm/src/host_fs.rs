//! `host_fs`: what preview 1 leaves out about files: modes, owners, blocks, access checks, extended attributes.

mod attribute;
mod extent;
mod path;
mod xattr;

use crate::host_call::{HostLinker, Restart, async_calls, sync_calls};

/// Name that programs import from.
const MODULE: &str = "host_fs";

/// Defines the module's functions.
pub(crate) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    link_attributes(host)?;
    link_paths(host)?;
    link_xattrs(host)?;
    link_extents(host)
}

fn link_attributes(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        fd_mode(fd: u32) = attribute::fd_mode;
        fd_size(fd: u32) = attribute::fd_size;
        fd_blocks(fd: u32) = attribute::fd_blocks;
        fd_owner(fd: u32, uid_out: u32, gid_out: u32) = attribute::fd_owner;
        path_mode(dir: u32, path: u32, len: u32, follow: u32) = attribute::path_mode;
        path_size(dir: u32, path: u32, len: u32, follow: u32) = attribute::path_size;
        path_blocks(dir: u32, path: u32, len: u32, follow: u32) = attribute::path_blocks;
        path_rdev(dir: u32, path: u32, len: u32, follow: u32) = attribute::path_rdev;
        path_owner(dir: u32, path: u32, len: u32, follow: u32, uid_out: u32, gid_out: u32) = attribute::path_owner;
        fchmod(fd: u32, mode: u32) = attribute::fchmod;
        fd_chown(fd: u32, uid: u32, gid: u32) = attribute::fd_chown;
        fchown(fd: u32, uid: u32, gid: u32) = attribute::fd_chown;
        ftruncate(fd: u32, len: i64) = attribute::ftruncate;
        set_open_mode(mode: u32) = attribute::set_open_mode;
        set_open_direct(direct: u32) = attribute::set_open_direct;
    }
    Ok(())
}

fn link_paths(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        path_access(dir: u32, path: u32, len: u32, mode: u32, effective: u32) = path::path_access;
        chmod(dir: u32, path: u32, len: u32, mode: u32) = path::chmod;
        path_chown(dir: u32, path: u32, len: u32, uid: u32, gid: u32, follow: u32) = path::path_chown;
        chown(dir: u32, path: u32, len: u32, uid: u32, gid: u32, follow: u32) = path::path_chown;
        path_mknod(dir: u32, path: u32, len: u32, mode: u32, rdev: u64) = path::path_mknod;
        path_renameat2(
            old_dir: u32, old: u32, old_len: u32, new_dir: u32, new: u32, new_len: u32, flags: u32
        ) = path::path_renameat2;
        path_statfs(
            dir: u32, path: u32, len: u32, total_out: u32, used_out: u32, available_out: u32, inodes_out: u32,
            free_inodes_out: u32
        ) = path::path_statfs;
        remount(path: u32, len: u32, options: u32, options_len: u32) = path::remount;
    }
    async_calls! { host, MODULE, Restart::IfHandlerAsks;
        open_tmpfile(dir: u32, path: u32, len: u32, flags: u32, mode: u32, fd_out: u32) = path::open_tmpfile;
    }
    Ok(())
}

fn link_xattrs(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        path_getxattr(
            dir: u32, path: u32, len: u32, name: u32, name_len: u32, value: u32, size: u32, follow: u32, size_out: u32
        ) = xattr::path_getxattr;
        path_listxattr(dir: u32, path: u32, len: u32, list: u32, size: u32, follow: u32, size_out: u32) =
            xattr::path_listxattr;
        path_setxattr(
            dir: u32, path: u32, len: u32, name: u32, name_len: u32, value: u32, size: u32, flags: u32, follow: u32
        ) = xattr::path_setxattr;
        path_removexattr(dir: u32, path: u32, len: u32, name: u32, name_len: u32, follow: u32) =
            xattr::path_removexattr;
        fd_getxattr(fd: u32, name: u32, name_len: u32, value: u32, size: u32, size_out: u32) = xattr::fd_getxattr;
        fd_listxattr(fd: u32, list: u32, size: u32, size_out: u32) = xattr::fd_listxattr;
        fd_setxattr(fd: u32, name: u32, name_len: u32, value: u32, size: u32, flags: u32) = xattr::fd_setxattr;
        fd_removexattr(fd: u32, name: u32, name_len: u32) = xattr::fd_removexattr;
    }
    Ok(())
}

fn link_extents(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        fd_link(fd: u32, dir: u32, path: u32, len: u32) = extent::fd_link;
        fd_fiemap(fd: u32, index: u32, start_out: u32, end_out: u32, flags_out: u32) = extent::fd_fiemap;
        fd_punch_hole(fd: u32, offset: u64, len: u64) = extent::fd_punch_hole;
        fd_insert_range(fd: u32, offset: u64, len: u64) = extent::fd_shift_range;
        fd_collapse_range(fd: u32, offset: u64, len: u64) = extent::fd_shift_range;
        fd_zero_range(fd: u32, offset: u64, len: u64, keep_size: u32) = extent::fd_zero_range;
    }
    Ok(())
}
