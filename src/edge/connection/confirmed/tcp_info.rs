//! What Linux counts of a connection: `TCP_INFO` (tcp(7)).
//!
//! pingora asks for as many bytes of it as it knows, and takes no fewer: Linux has so many since 6.2. Here
//! only the first 128 are asked for, which Linux has since 4.1. nix panics at a shorter answer, and no
//! version of a kernel rules one out: the user mode of QEMU reports the version of its host, and answers
//! every option of TCP with 4 bytes. So the kernel is first asked how long its answer is.
//!
//! The calls are nix's, which wants a handle on the socket, and pingora gives only its number. So a second
//! handle is made for the time of the call: it is sent to ourselves and received (`SCM_RIGHTS`, unix(7)).
//!
//! It must never wait, nor keep the handle.

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::sys::socket::sockopt::GetOsString;
use nix::sys::socket::{ControlMessage, GetSockOpt, MsgFlags, sendmsg};
use nix::{getsockopt_impl, libc, sockopt_impl};
use rustix::cmsg_space;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};

/// To the end of `tcpi_bytes_acked`.
const LENGTH: usize = 128;

sockopt_impl!(
    /// `struct tcp_info` of linux/tcp.h.
    TcpInfo,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    [u8; LENGTH]
);

sockopt_impl!(
    /// As long as the answer is.
    TcpInfoAsText,
    GetOnly,
    libc::IPPROTO_TCP,
    libc::TCP_INFO,
    OsString,
    GetOsString<Room>
);

/// Room for an answer of which only the length counts, and which may fill a part of it: nix makes a text of
/// so much of what this gives as was answered.
struct Room(MaybeUninit<[u8; LENGTH]>);

impl AsMut<[u8]> for Room {
    /// No NUL, at which a text would end.
    fn as_mut(&mut self) -> &mut [u8] {
        self.0.write([b'x'; LENGTH])
    }
}

/// Whether the kernel answers so much of this socket that it can be asked.
pub(super) fn is_whole(socket: RawFd) -> bool {
    handle_on(socket).is_some_and(|handle| length(&TcpInfoAsText, &handle) == Some(LENGTH))
}

fn length(option: &impl GetSockOpt<Val = OsString>, handle: &OwnedFd) -> Option<usize> {
    option.get(handle).ok().map(|text| text.len())
}

/// How many bytes the other side of this socket has confirmed, where the kernel says so. Only where it
/// [`is_whole`].
pub(super) fn confirmed(socket: RawFd) -> Option<u64> {
    read(&TcpInfo.get(&handle_on(socket)?).ok()?)
}

/// `tcpi_bytes_acked`, where something stands in `tcpi_snd_mss`, which every connection has. gVisor has room
/// for both, and writes neither.
fn read(info: &[u8; LENGTH]) -> Option<u64> {
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
        let before = confirmed(served.as_raw_fd());
        let before = before.unwrap_or_else(|| {
            panic!("this Linux does not say it: clients that read slowly are told from others by a longer patience alone")
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

    sockopt_impl!(
        /// An option whose answer has 4 bytes, as all of TCP have under QEMU.
        Short,
        GetOnly,
        libc::IPPROTO_TCP,
        libc::TCP_MAXSEG,
        OsString,
        GetOsString<Room>
    );

    #[test]
    fn an_answer_that_is_too_short_is_noticed_without_a_panic() {
        let (served, _client) = pair();
        let handle = handle_on(served.as_raw_fd()).unwrap();
        assert_eq!((length(&Short, &handle), length(&TcpInfoAsText, &handle)), (Some(4), Some(LENGTH)));
        assert!(is_whole(served.as_raw_fd()) && !is_whole(-1));
    }

    #[test]
    fn what_is_written_by_nobody_says_nothing() {
        let mut info = [0; 128];
        assert_eq!(read(&info), None, "gVisor writes nothing of it");
        info[16..20].copy_from_slice(&536u32.to_ne_bytes());
        assert_eq!(read(&info), Some(0));
        info[120..].copy_from_slice(&7u64.to_ne_bytes());
        assert_eq!(read(&info), Some(7));
    }
}
