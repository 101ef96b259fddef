//! The network, and the line to the supervisor.

use std::io;

use super::{Attempt, call, harmless, killed, refused, tried};

/// The control line.
const LINE: usize = 0;
const STREAM: usize = libc::SOCK_STREAM as usize;
const DATAGRAM: usize = libc::SOCK_DGRAM as usize;

pub(super) fn attempts() -> impl Iterator<Item = Attempt> {
    sockets().into_iter().chain(line())
}

fn sockets() -> Vec<Attempt> {
    vec![
        killed("open an IPv4 socket", |_| tried(libc::SYS_socket, &[libc::AF_INET as usize, STREAM, 0])),
        killed("open an IPv6 socket", |_| tried(libc::SYS_socket, &[libc::AF_INET6 as usize, DATAGRAM, 0])),
        killed("open a Unix socket", |_| tried(libc::SYS_socket, &[libc::AF_UNIX as usize, STREAM, 0])),
        killed("open a netlink socket", |_| {
            tried(libc::SYS_socket, &[libc::AF_NETLINK as usize, libc::SOCK_RAW as usize, 0])
        }),
        killed("open a packet socket", |_| {
            tried(libc::SYS_socket, &[libc::AF_PACKET as usize, libc::SOCK_RAW as usize, 0])
        }),
        killed("open a socket to the hypervisor", |_| {
            tried(libc::SYS_socket, &[libc::AF_VSOCK as usize, STREAM, 0])
        }),
        killed("open a socket to the kernel's ciphers", |_| {
            tried(libc::SYS_socket, &[libc::AF_ALG as usize, libc::SOCK_SEQPACKET as usize, 0])
        }),
        killed("connect to an address", |_| {
            // 127.0.0.1:80
            let address = [2_u8, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
            tried(libc::SYS_connect, &[LINE, address.as_ptr() as usize, address.len()])
        }),
        killed("bind an address", |_| {
            let address = [1_u8, 0, 0, b'x'];
            tried(libc::SYS_bind, &[LINE, address.as_ptr() as usize, address.len()])
        }),
        killed("listen", |_| tried(libc::SYS_listen, &[LINE, 1])),
        killed("accept", |_| tried(libc::SYS_accept4, &[LINE, 0, 0, 0])),
        refused("make a pair of datagram sockets, which could be pointed at others", |_| pair(DATAGRAM)),
        refused("make a pair of network sockets", |_| {
            let mut ends = [0_i32; 2];
            tried(libc::SYS_socketpair, &[libc::AF_INET as usize, STREAM, 0, ends.as_mut_ptr() as usize])
        }),
        refused("send to an address", |_| {
            let address = [1_u8, 0, 0, b'x'];
            tried(libc::SYS_sendto, &[LINE, address.as_ptr() as usize, 1, 0, address.as_ptr() as usize, 4])
        }),
        refused("send a message that may carry descriptors", |_| {
            let message = [0_u8; 56];
            tried(libc::SYS_sendmsg, &[LINE, message.as_ptr() as usize, 0])
        }),
        refused("set an option of its control line", |_| {
            let value = [1_u8, 0, 0, 0];
            let arguments =
                [LINE, libc::SOL_SOCKET as usize, libc::SO_KEEPALIVE as usize, value.as_ptr() as usize, 4];
            tried(libc::SYS_setsockopt, &arguments)
        }),
    ]
}

/// What the supervisor has to bear.
fn line() -> Vec<Attempt> {
    vec![
        harmless("send nonsense over the control line", |_| {
            let nonsense = vec![0xff_u8; 60_000];
            for _ in 0..1000 {
                let arguments =
                    [LINE, nonsense.as_ptr() as usize, nonsense.len(), libc::MSG_DONTWAIT as usize, 0, 0];
                call(libc::SYS_sendto, &arguments)?;
            }
            Ok(())
        }),
        harmless("answer requests with nonsense", |_| {
            // The connections are among these; the request that comes next is spoiled, and so is its connection.
            let nonsense = b"HTTP/9.9 999 \xff\xff\r\nContent-Length: -1\r\n\r\n";
            for fd in 3..256 {
                let _ = call(libc::SYS_sendto, &[fd, nonsense.as_ptr() as usize, nonsense.len(), 0, 0, 0]);
            }
            Ok(())
        }),
        harmless("answer without an end", |_| {
            let head = b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\nX: ";
            for fd in 3..256 {
                let sent = call(libc::SYS_sendto, &[fd, head.as_ptr() as usize, head.len(), 0, 0, 0]);
                let filler = [b'a'; 4096];
                for _ in 0..if sent.is_ok() { 64 } else { 0 } {
                    let arguments =
                        [fd, filler.as_ptr() as usize, filler.len(), libc::MSG_DONTWAIT as usize, 0, 0];
                    let _ = call(libc::SYS_sendto, &arguments);
                }
            }
            Ok(())
        }),
        harmless("close the control line", |_| tried(libc::SYS_shutdown, &[LINE, libc::SHUT_RDWR as usize])),
        harmless("close every connection", |_| {
            for fd in 3..256 {
                let _ = call(libc::SYS_shutdown, &[fd, libc::SHUT_RDWR as usize]);
            }
            Ok(())
        }),
        harmless("end without a word", |_| tried(libc::SYS_exit_group, &[0])),
    ]
}

fn pair(kind: usize) -> io::Result<()> {
    let mut ends = [0_i32; 2];
    tried(libc::SYS_socketpair, &[libc::AF_UNIX as usize, kind, 0, ends.as_mut_ptr() as usize])
}
