//! How much of what was written to a client its side has confirmed (RFC 9293 section 3.4), where the kernel says so.

#[cfg(target_os = "linux")]
mod tcp_info;
/// Other kernels are not asked.
#[cfg(not(target_os = "linux"))]
mod tcp_info {
    pub(super) const fn confirmed(_: std::os::fd::RawFd) -> Option<u64> {
        None
    }
}

use std::os::fd::AsRawFd;

use pingora::protocols::UniqueIDType;
use tokio::net::TcpSocket;

/// How many bytes of this connection, which pingora knows by the number of its socket.
pub(crate) fn of(connection: UniqueIDType) -> Option<u64> {
    tcp_info::confirmed(connection)
}

/// Whether this kernel says it of any. Where there is no socket to ask for, nobody knows.
pub(crate) fn is_counted() -> Option<bool> {
    let socket = TcpSocket::new_v4().or_else(|_| TcpSocket::new_v6()).ok()?;
    Some(of(socket.as_raw_fd()).is_some())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The log would warn of a kernel that is well.
    #[test]
    fn linux_is_known_to_count_before_anybody_has_connected() {
        assert_eq!(is_counted(), Some(true));
    }
}
