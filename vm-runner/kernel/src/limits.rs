//! Everything in a VM that has a limit, in one struct.
//!
//! Each field says what it protects and which error number a guest sees at the limit. `tests/limits.rs` has a test per
//! field. Limits of file systems (sizes, inodes) belong to `vm-vfs`; limits on names and paths are POSIX's and fixed.

/// What one VM may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Processes at once, zombies included: the process table. `EAGAIN`.
    pub max_processes: usize,
    /// Fds of one process, unless it lowers its own limit: fd tables. `EMFILE`.
    pub max_fds: u32,
    /// File descriptions of the whole VM. `ENFILE`.
    pub max_open_files: usize,
    /// Pipes of the whole VM, for each may always hold 64 KiB. `ENFILE`.
    pub max_pipes: usize,
    /// What one pipe may hold: memory. Writers wait, or see `EAGAIN`.
    pub pipe_capacity_bytes: usize,
    /// What all pipes together may hold beyond 64 KiB each: memory. Writers wait, or see `EAGAIN`.
    pub max_pipe_total_bytes: usize,
    /// Sockets of the whole VM. `ENFILE`.
    pub max_sockets: usize,
    /// What a socket may hold for its reader: memory. Senders wait, or see `EAGAIN`.
    pub socket_buffer_bytes: usize,
    /// What all sockets together may hold beyond 16 KiB each: memory. Senders wait, or see `EAGAIN`; a message that
    /// nobody would make room for is `ENOBUFS`.
    pub max_socket_total_bytes: usize,
    /// Connections that wait to be accepted at one listener. Further ones see `ECONNREFUSED`.
    pub max_listen_backlog: usize,
    /// Pseudo terminals of the whole VM. `ENOSPC`.
    pub max_terminals: usize,
    /// Bytes of a program's arguments and environment together: memory. `E2BIG`.
    pub max_args_bytes: usize,
    /// File actions of one spawn: time. `E2BIG`.
    pub max_file_actions: usize,
    /// Entries of one poll: memory and time. `EINVAL`.
    pub max_poll_fds: usize,
    /// Advisory file locks of the whole VM: memory and time. `ENOLCK`.
    pub max_locks: usize,
    /// Memory of all programs together, as their drivers report it, with their arguments, lists of directories that are
    /// being read, and what pipes and sockets hold beyond what each may hold anyway. `ENOMEM`.
    pub max_memory_bytes: u64,
    /// CPU time of all programs together, in thousandths of a CPU; no limit if 0. Programs run slower.
    pub cpu_millis: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_processes: 512,
            max_fds: 1024,
            max_open_files: 16 * 1024,
            max_pipes: 1024,
            pipe_capacity_bytes: 64 << 20,
            max_pipe_total_bytes: 128 << 20,
            max_sockets: 1024,
            socket_buffer_bytes: 256 << 10,
            max_socket_total_bytes: 32 << 20,
            max_listen_backlog: 128,
            max_terminals: 64,
            max_args_bytes: 4 << 20,
            max_file_actions: 4096,
            max_poll_fds: 16_384,
            max_locks: 4096,
            max_memory_bytes: 2 << 30,
            cpu_millis: 0,
        }
    }
}
