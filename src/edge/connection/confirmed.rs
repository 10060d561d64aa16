//! How much of what was written to a client its side has confirmed (RFC 9293 section 3.4), where the kernel
//! says so.

#[cfg(target_os = "linux")]
mod tcp_info;
/// Other kernels are not asked.
#[cfg(not(target_os = "linux"))]
mod tcp_info {
    pub(super) const fn is_whole(_: std::os::fd::RawFd) -> bool {
        false
    }

    pub(super) const fn confirmed(_: std::os::fd::RawFd) -> Option<u64> {
        None
    }
}

use std::os::fd::AsRawFd;

use pingora::protocols::UniqueIDType;
use tokio::net::TcpSocket;

/// This kernel says it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counting(());

impl Counting {
    /// `None`: it does not, or answers what nobody understands (an emulator, for one).
    pub(crate) fn of_this_kernel() -> Option<Self> {
        let socket = TcpSocket::new_v4().or_else(|_| TcpSocket::new_v6()).ok()?;
        tcp_info::is_whole(socket.as_raw_fd()).then_some(())?;
        let counting = Self(());
        counting.of(socket.as_raw_fd()).map(|_| counting)
    }

    /// How many bytes of this connection, which pingora knows by the number of its socket.
    pub(crate) fn of(self, connection: UniqueIDType) -> Option<u64> {
        tcp_info::confirmed(connection)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// The log would warn of a kernel that is well.
    #[test]
    fn linux_is_known_to_count_before_anybody_has_connected() {
        assert!(Counting::of_this_kernel().is_some());
    }
}
