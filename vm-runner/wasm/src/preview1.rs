//! `wasi_snapshot_preview1`: the standard half of the host interface, on a Unix kernel rather than a capability
//! sandbox. Paths may be absolute and climb; what a process may do is decided by the kernel.

mod argument;
mod clock;
mod descriptor;
mod directory;
mod path;
mod poll;
mod process;
mod read_write;
mod socket;

use crate::host_call::{HostLinker, Restart, async_calls, sync_calls};

/// Name that programs import from.
const MODULE: &str = "wasi_snapshot_preview1";

/// Defines the module's functions.
pub(crate) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    link_process(host)?;
    link_files(host)?;
    link_paths(host)
}

fn link_process(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        args_get(pointers: u32, block: u32) = argument::args_get;
        args_sizes_get(count_out: u32, bytes_out: u32) = argument::args_sizes_get;
        environ_get(pointers: u32, block: u32) = argument::environ_get;
        environ_sizes_get(count_out: u32, bytes_out: u32) = argument::environ_sizes_get;
        clock_res_get(clock: u32, out: u32) = clock::clock_res_get;
        clock_time_get(clock: u32, precision: u64, out: u32) = clock::clock_time_get;
        random_get(out: u32, len: u32) = process::random_get;
        sock_shutdown(fd: u32, how: u32) = socket::sock_shutdown;
    }
    host.note(MODULE, "proc_exit", &["u32"]);
    host.linker.func_wrap(MODULE, "proc_exit", process::proc_exit)?;
    async_calls! { host, MODULE, Restart::Never;
        proc_raise(signal: u32) = process::proc_raise;
        sched_yield() = process::sched_yield;
        poll_oneoff(subscriptions: u32, events: u32, count: u32, count_out: u32) = poll::poll_oneoff;
    }
    async_calls! { host, MODULE, Restart::IfHandlerAsks;
        sock_accept(fd: u32, flags: u32, fd_out: u32) = socket::sock_accept;
        sock_recv(fd: u32, buffers: u32, count: u32, flags: u32, len_out: u32, flags_out: u32) = socket::sock_recv;
        sock_send(fd: u32, buffers: u32, count: u32, flags: u32, len_out: u32) = socket::sock_send;
    }
    Ok(())
}

fn link_files(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        fd_advise(fd: u32, offset: u64, len: u64, advice: u32) = descriptor::fd_advise;
        fd_allocate(fd: u32, offset: u64, len: u64) = descriptor::fd_allocate;
        fd_close(fd: u32) = descriptor::fd_close;
        fd_datasync(fd: u32) = descriptor::fd_datasync;
        fd_fdstat_get(fd: u32, out: u32) = descriptor::fd_fdstat_get;
        fd_fdstat_set_flags(fd: u32, flags: u32) = descriptor::fd_fdstat_set_flags;
        fd_fdstat_set_rights(fd: u32, base: u64, inheriting: u64) = descriptor::fd_fdstat_set_rights;
        fd_filestat_get(fd: u32, out: u32) = descriptor::fd_filestat_get;
        fd_filestat_set_size(fd: u32, size: u64) = descriptor::fd_filestat_set_size;
        fd_filestat_set_times(fd: u32, atime: u64, mtime: u64, flags: u32) = descriptor::fd_filestat_set_times;
        fd_prestat_get(fd: u32, out: u32) = descriptor::fd_prestat_get;
        fd_prestat_dir_name(fd: u32, out: u32, len: u32) = descriptor::fd_prestat_dir_name;
        fd_renumber(from: u32, to: u32) = descriptor::fd_renumber;
        fd_seek(fd: u32, offset: i64, whence: u32, out: u32) = descriptor::fd_seek;
        fd_sync(fd: u32) = descriptor::fd_sync;
        fd_tell(fd: u32, out: u32) = descriptor::fd_tell;
        fd_pread(fd: u32, buffers: u32, count: u32, offset: u64, len_out: u32) = read_write::fd_pread;
        fd_pwrite(fd: u32, buffers: u32, count: u32, offset: u64, len_out: u32) = read_write::fd_pwrite;
    }
    async_calls! { host, MODULE, Restart::IfHandlerAsks;
        fd_read(fd: u32, buffers: u32, count: u32, len_out: u32) = read_write::fd_read;
        fd_write(fd: u32, buffers: u32, count: u32, len_out: u32) = read_write::fd_write;
        fd_readdir(fd: u32, out: u32, len: u32, cookie: u64, len_out: u32) = directory::fd_readdir;
    }
    Ok(())
}

fn link_paths(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        path_create_directory(dir: u32, path: u32, len: u32) = path::path_create_directory;
        path_filestat_get(dir: u32, flags: u32, path: u32, len: u32, out: u32) = path::path_filestat_get;
        path_filestat_set_times(dir: u32, flags: u32, path: u32, len: u32, atime: u64, mtime: u64, time_flags: u32) =
            path::path_filestat_set_times;
        path_link(old_dir: u32, flags: u32, old: u32, old_len: u32, new_dir: u32, new: u32, new_len: u32) =
            path::path_link;
        path_readlink(dir: u32, path: u32, len: u32, out: u32, out_len: u32, len_out: u32) = path::path_readlink;
        path_remove_directory(dir: u32, path: u32, len: u32) = path::path_remove_directory;
        path_rename(old_dir: u32, old: u32, old_len: u32, new_dir: u32, new: u32, new_len: u32) = path::path_rename;
        path_symlink(target: u32, target_len: u32, dir: u32, path: u32, len: u32) = path::path_symlink;
        path_unlink_file(dir: u32, path: u32, len: u32) = path::path_unlink_file;
    }
    async_calls! { host, MODULE, Restart::IfHandlerAsks;
        path_open(
            dir: u32, lookup: u32, path: u32, len: u32, open_flags: u32, rights: u64, inheriting: u64, fd_flags: u32,
            fd_out: u32
        ) = path::path_open;
    }
    Ok(())
}
