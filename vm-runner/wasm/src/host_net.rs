//! `host_net`: sockets, name resolution, and the `poll` of every kind of fd.

mod address;
mod address_text;
mod option;
mod poll;
mod resolve;
mod socket;

pub(crate) use poll::poll_fds;
pub(crate) use socket::message_flags;

use crate::host_call::{HostLinker, Restart, async_calls, sync_calls};

/// Name that programs import from.
const MODULE: &str = "host_net";

/// Defines the module's functions.
pub(crate) fn link(host: &mut HostLinker) -> wasmtime::Result<()> {
    sync_calls! { host, MODULE;
        net_socket(domain: u32, kind: u32, protocol: u32, fd_out: u32) = socket::net_socket;
        net_bind(fd: u32, address: u32, len: u32) = socket::net_bind;
        net_listen(fd: u32, backlog: u32) = socket::net_listen;
        net_validate_socket(fd: u32) = socket::net_validate_socket;
        net_validate_accept(fd: u32) = socket::net_validate_accept;
        net_getsockname(fd: u32, out: u32, len: u32) = socket::net_getsockname;
        net_getpeername(fd: u32, out: u32, len: u32) = socket::net_getpeername;
        net_close(fd: u32) = socket::net_close;
        net_set_nonblock(fd: u32, enable: u32) = socket::net_set_nonblock;
        net_getaddrinfo(
            host: u32, host_len: u32, service: u32, service_len: u32, family: u32, out: u32, len: u32
        ) = resolve::net_getaddrinfo;
        net_dns_query_rr_v1(
            name: u32, name_len: u32, record_type: u32, out: u32, capacity: u32, len_out: u32, ttl_out: u32,
            flags_out: u32
        ) = resolve::net_dns_query_rr_v1;
        net_tls_connect(fd: u32, host: u32, host_len: u32, flags: u32) = resolve::net_tls_connect;
        net_setsockopt(fd: u32, level: u32, option: u32, value: u32, len: u32) = option::net_setsockopt;
        net_getsockopt(fd: u32, level: u32, option: u32, value: u32, len: u32) = option::net_getsockopt;
    }
    async_calls! { host, MODULE, Restart::IfHandlerAsks;
        net_connect(fd: u32, address: u32, len: u32) = socket::net_connect;
        net_accept(fd: u32, fd_out: u32, address: u32, len: u32) = socket::net_accept;
        net_send(fd: u32, data: u32, len: u32, flags: u32, sent_out: u32) = socket::net_send;
        net_recv(fd: u32, data: u32, len: u32, flags: u32, received_out: u32) = socket::net_recv;
        net_sendto(fd: u32, data: u32, len: u32, flags: u32, address: u32, address_len: u32, sent_out: u32) =
            socket::net_sendto;
        net_recvfrom(
            fd: u32, data: u32, len: u32, flags: u32, received_out: u32, address: u32, address_len: u32
        ) = socket::net_recvfrom;
    }
    async_calls! { host, MODULE, Restart::Never;
        net_poll(fds: u32, count: u32, timeout_ms: i32, ready_out: u32) = poll::net_poll;
    }
    Ok(())
}
