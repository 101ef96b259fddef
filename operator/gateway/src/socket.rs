//! Settings of TCP connections: no delay, and a dead peer is noticed in about a minute even while nothing is said.

use std::time::Duration;

use rustix::net::sockopt;
use tokio::net::TcpStream;

/// Silence before the first question whether the other side still lives, and between two of them.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// Questions without an answer.
const KEEPALIVE_RETRIES: u32 = 3;

/// Sets what can be set. A connection that is gone already shows soon enough.
pub(crate) fn prepare(tcp: &TcpStream) {
    let set = || -> std::io::Result<()> {
        tcp.set_nodelay(true)?;
        sockopt::set_socket_keepalive(tcp, true)?;
        sockopt::set_tcp_keepidle(tcp, KEEPALIVE)?;
        sockopt::set_tcp_keepintvl(tcp, KEEPALIVE)?;
        sockopt::set_tcp_keepcnt(tcp, KEEPALIVE_RETRIES)?;
        Ok(())
    };
    if let Err(error) = set() {
        tracing::debug!(%error, "a connection takes no settings");
    }
}
