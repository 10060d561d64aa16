//! What Linux counts of a connection: `TCP_INFO` (tcp(7)).
//!
//! pingora asks for as many bytes of it as it knows, and takes no fewer: Linux has so many since 6.2. Here it is
//! asked for the first 128, which Linux has since 4.1. The call is nix's, which wants a handle on the socket. pingora tells
//! its number alone, so that another handle is had for the time of the call: as a right that is sent and received
//! (`SCM_RIGHTS`, unix(7)).
//!
//! It must never wait, nor keep the handle.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::{ControlMessage, GetSockOpt, MsgFlags, sendmsg};
use nix::{getsockopt_impl, libc, sockopt_impl};
use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};
use rustix::system::uname;

/// Since which version Linux counts what was confirmed. At a shorter answer nix panics.
const COUNTED_SINCE: (u32, u32) = (4, 1);

sockopt_impl!(
    /// `struct tcp_info` of linux/tcp.h, to the end of `tcpi_bytes_acked`.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u8; 128]
);

/// How many bytes the other side of this socket has confirmed, where the kernel says so.
pub(super) fn confirmed(socket: RawFd) -> Option<u64> {
    if !counts(uname().release().to_str().ok()?) {
        return None;
    }
    read(&TcpInfo.get(&handle_on(socket)?).ok()?)
}

/// Whether a Linux of this version counts.
fn counts(release: &str) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    version >= COUNTED_SINCE
}

/// `tcpi_bytes_acked`, where something stands in `tcpi_snd_mss`, which every connection has. gVisor has room for both, and
/// writes neither.
fn read(info: &[u8; 128]) -> Option<u64> {
    let segment = info.get(16..20)?;
    let acked = info.last_chunk()?;
    segment.iter().any(|byte| *byte != 0).then(|| u64::from_ne_bytes(*acked))
}

/// Another handle on a socket that is open for as long as this takes.
fn handle_on(socket: RawFd) -> Option<OwnedFd> {
    let (to, from) = socketpair(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None).ok()?;
    let (rights, any) = ([socket], [IoSlice::new(&[0])]);
    sendmsg::<()>(to.as_raw_fd(), &any, &[ControlMessage::ScmRights(&rights)], MsgFlags::MSG_DONTWAIT, None)
        .ok()?;
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(1))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let (mut any, flags) = ([0], RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC);
    recvmsg(&from, &mut [IoSliceMut::new(&mut any)], &mut beside, flags).ok()?;
    beside.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handles) => handles.next(),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (listener.accept().unwrap().0, client)
    }

    #[test]
    fn this_kernel_says_what_was_confirmed() {
        let (mut served, mut client) = pair();
        let release = uname().release().to_owned();
        let before = confirmed(served.as_raw_fd());
        let before = before.unwrap_or_else(|| {
            panic!("Linux {release:?} does not say it: clients that read slowly are told from others by a longer patience alone")
        });
        let mut piece = [7; 5000];
        served.write_all(&piece).unwrap();
        client.read_exact(&mut piece).unwrap();
        client.write_all(b"x").unwrap();
        // What comes back confirms what came.
        served.read_exact(&mut [0]).unwrap();
        assert_eq!(confirmed(served.as_raw_fd()).unwrap(), before + 5000);
        drop(client);
    }

    #[test]
    fn a_handle_is_had_for_the_time_of_one_call_and_is_nobody_elses() {
        let (served, _client) = pair();
        let handle = handle_on(served.as_raw_fd()).unwrap();
        let flags = rustix::io::fcntl_getfd(handle.as_fd()).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        assert_eq!(
            rustix::net::sockopt::socket_cookie(handle).unwrap(),
            rustix::net::sockopt::socket_cookie(&served).unwrap()
        );
    }

    #[test]
    fn what_is_no_connection_of_tcp_has_confirmed_nothing_that_is_known() {
        let (one, _other) = UnixStream::pair().unwrap();
        assert_eq!(confirmed(one.as_raw_fd()), None);
        assert_eq!(confirmed(-1), None);
    }

    #[test]
    fn kernels_that_do_not_count_are_not_asked() {
        for release in ["4.1.0", "4.18.0-553.el8_10.x86_64", "5.15.0-91-generic", "6.1.0-18-amd64", "10.0"] {
            assert!(counts(release), "{release}");
        }
        for release in ["2.6.32", "3.10.0-1160.el7.x86_64", "4.0.9", "4", "", "linux"] {
            assert!(!counts(release), "{release}");
        }
        let mut info = [0; 128];
        assert_eq!(read(&info), None, "gVisor writes nothing of it");
        info[16..20].copy_from_slice(&536u32.to_ne_bytes());
        assert_eq!(read(&info), Some(0));
        info[120..].copy_from_slice(&7u64.to_ne_bytes());
        assert_eq!(read(&info), Some(7));
    }
}
