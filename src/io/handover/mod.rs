//! The other process of a hand-over, and what the two say to each other: lines of JSON on a pair of connected
//! sockets without a name, which the new process finds as its standard input. So nobody else can take part, and
//! nothing is left behind in the file system. The listening sockets travel beside the first line (SCM_RIGHTS, unix(7)).
//!
//! ```text
//! old -> new   sockets   here they are; do not accept yet
//! new -> old   ready     configuration read, everything built, keys fetched
//! old -> new   go        what only one process may have open is closed
//! new -> old   serving   opened, and accepting
//! ```
//!
//! The two may be of different versions: members that are not known are ignored, lines that are not known end it.

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::cmsg_space;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::UnixStream;

use crate::core::revocation::Revocation;

/// In the environment of a process that is started to take over: where it finds the other.
const VARIABLE: &str = "TOLLGATE_HANDOVER";
const STDIN: &str = "stdin";
/// As many as the kernel takes at once (SCM_MAX_FD).
const MOST_SOCKETS: usize = 253;
/// The longest line.
const LINE: usize = 64 * 1024;

/// What the two processes say.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The addresses that were asked for, in the order of the sockets beside it.
    Sockets {
        addresses: Vec<SocketAddr>,
    },
    /// The issuers whose keys could not be had.
    Ready {
        without_keys: Vec<String>,
    },
    Go {},
    Serving {},
    /// From then on, by the new process: the list of revocations has changed.
    Changed {
        lifted: bool,
        revocation: Revocation,
    },
}

/// The way to the other process.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    /// What came and was not read yet.
    came: Vec<u8>,
    sockets: Vec<OwnedFd>,
}

impl Channel {
    /// Both ends.
    ///
    /// # Errors
    /// When no more files can be open.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = StdUnixStream::pair()?;
        Ok((Self::over(one)?, Self::over(other)?))
    }

    /// The process that started this one so that it takes over; `None` when it was started in another way.
    ///
    /// # Errors
    /// When this process is told to take over and there is nobody to take over from.
    pub fn to_predecessor() -> io::Result<Option<Self>> {
        if std::env::var_os(VARIABLE).is_none_or(|at| at != STDIN) {
            return Ok(None);
        }
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        Self::over(stdin.into()).map(Some)
    }

    fn over(stream: StdUnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self { stream: UnixStream::from_std(stream)?, came: Vec::new(), sockets: Vec::new() })
    }

    /// Nothing more is said. The other process hears that, also while a copy of this end is open.
    pub async fn ends(mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// # Errors
    /// When the other process is gone.
    pub async fn say(&mut self, message: &Message) -> io::Result<()> {
        self.stream.write_all(&line(message)?).await
    }

    /// Hands over sockets, each with the address that was asked for.
    ///
    /// # Errors
    /// When the other process is gone, or these are too many.
    pub async fn give(&mut self, sockets: &[(SocketAddr, OwnedFd)]) -> io::Result<()> {
        let addresses = sockets.iter().map(|(address, _)| *address).collect();
        let sockets: Vec<BorrowedFd<'_>> = sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
        let line = line(&Message::Sockets { addresses })?;
        let send = || {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_SOCKETS))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !beside.push(SendAncillaryMessage::ScmRights(&sockets)) {
                return Err(io::Error::other(format!("more than {MOST_SOCKETS} listeners")));
            }
            Ok(sendmsg(&self.stream, &[IoSlice::new(&line)], &mut beside, SendFlags::empty())?)
        };
        let sent = self.stream.async_io(Interest::WRITABLE, send).await?;
        self.stream.write_all(line.get(sent..).unwrap_or_default()).await
    }

    /// The next that the other process says.
    ///
    /// # Errors
    /// When it is gone, or is not understood.
    pub async fn hear(&mut self) -> io::Result<Message> {
        loop {
            if let Some(end) = self.came.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.came.drain(..=end).collect();
                return Ok(serde_json::from_slice(&line)?);
            }
            if self.came.len() > LINE {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"));
            }
            self.read().await?;
        }
    }

    /// The sockets that are handed over.
    ///
    /// # Errors
    /// As [`Self::hear`].
    pub async fn take(&mut self) -> io::Result<Vec<(SocketAddr, OwnedFd)>> {
        let Message::Sockets { addresses } = self.hear().await? else { return Err(unexpected()) };
        let sockets = std::mem::take(&mut self.sockets);
        if addresses.len() != sockets.len() {
            return Err(unexpected());
        }
        Ok(addresses.into_iter().zip(sockets).collect())
    }

    async fn read(&mut self) -> io::Result<()> {
        let (stream, came, sockets) = (&self.stream, &mut self.came, &mut self.sockets);
        let receive = || {
            let mut piece = [0; 4096];
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_SOCKETS))];
            let mut beside = RecvAncillaryBuffer::new(&mut space);
            let into = &mut [IoSliceMut::new(&mut piece)];
            let received = recvmsg(stream, into, &mut beside, RecvFlags::empty())?;
            for message in beside.drain() {
                if let RecvAncillaryMessage::ScmRights(files) = message {
                    sockets.extend(files);
                }
            }
            came.extend(piece.iter().take(received.bytes));
            Ok(received.bytes)
        };
        if stream.async_io(Interest::READABLE, receive).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for socket in &self.sockets {
            fcntl_setfd(socket, FdFlags::CLOEXEC)?;
        }
        Ok(())
    }
}

fn line(message: &Message) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// It was understood, but not at this time.
pub fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the other process did not say what was expected")
}

/// A process that was started to take over.
#[derive(Debug)]
pub struct Successor(Child);

impl Successor {
    /// Starts the program that this process was started as, in the version that is installed now, with the same
    /// arguments and environment.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start() -> io::Result<(Self, Channel)> {
        if std::process::id() == 1 {
            let why = "this is process 1, with which its container ends; start another container instead";
            return Err(io::Error::other(why));
        }
        let mut arguments = std::env::args_os();
        let program = arguments.next().ok_or(io::ErrorKind::NotFound)?;
        Self::start_as(program, arguments)
    }

    fn start_as(program: OsString, arguments: impl Iterator<Item = OsString>) -> io::Result<(Self, Channel)> {
        let (ours, theirs) = StdUnixStream::pair()?;
        let mut command = Command::new(program);
        command.args(arguments).env(VARIABLE, STDIN).stdin(Stdio::from(OwnedFd::from(theirs)));
        let child = command.spawn()?;
        Ok((Self(child), Channel::over(ours)?))
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// Ends it at once, if it has not ended by itself, and waits until it is gone. Blocks.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn end(mut self) -> io::Result<ExitStatus> {
        // One that has ended by itself keeps its own status.
        self.0.kill()?;
        self.0.wait()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn listeners(count: usize) -> Vec<(SocketAddr, OwnedFd)> {
        let asked_for: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let socket = TcpListener::bind(asked_for).unwrap();
        (0..count).map(|_| (asked_for, socket.try_clone().unwrap().into())).collect()
    }

    #[tokio::test]
    async fn sockets_arrive_beside_their_addresses_and_listen_on() {
        let (mut old, mut new) = Channel::pair().unwrap();
        let given = listeners(MOST_SOCKETS);
        old.give(&given).await.unwrap();
        old.say(&Message::Go {}).await.unwrap();
        let mut taken = new.take().await.unwrap();
        assert_eq!(new.hear().await.unwrap(), Message::Go {});
        assert_eq!(taken.len(), MOST_SOCKETS);
        drop((given, old));

        let (asked_for, socket) = taken.remove(0);
        assert_eq!(asked_for.port(), 0);
        let socket = TcpListener::from(socket);
        let mut client = TcpStream::connect(socket.local_addr().unwrap()).unwrap();
        client.write_all(b"hello").unwrap();
        let mut came = [0; 5];
        socket.accept().unwrap().0.read_exact(&mut came).unwrap();
        assert_eq!(&came, b"hello");
        assert!(rustix::io::fcntl_getfd(&socket).unwrap().contains(FdFlags::CLOEXEC), "ours alone");
    }

    #[tokio::test]
    async fn too_many_sockets_are_an_error_and_not_half_a_hand_over() {
        let (mut old, new) = Channel::pair().unwrap();
        old.give(&listeners(MOST_SOCKETS + 1)).await.unwrap_err();
        drop(new);
    }

    #[tokio::test]
    async fn an_end_nonsense_and_a_line_without_end_are_errors() {
        let (old, mut new) = Channel::pair().unwrap();
        drop(old);
        assert_eq!(new.hear().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        for said in [&b"{\"ready\":{}}\n"[..], b"{\"newer\":{}}\n", b"\xff\n", &vec![b'{'; LINE + 1]] {
            let (old, mut new) = Channel::pair().unwrap();
            let saying = tokio::spawn({
                let said = said.to_vec();
                async move {
                    let mut old = old;
                    old.stream.write_all(&said).await
                }
            });
            let error = new.hear().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
            saying.abort();
        }
        let (mut old, mut new) = Channel::pair().unwrap();
        old.stream.write_all(b"{\"go\":{\"of\":\"a later version\"}}\n").await.unwrap();
        assert_eq!(new.hear().await.unwrap(), Message::Go {});
    }

    #[tokio::test]
    async fn a_process_that_ends_is_noticed_and_one_that_does_not_is_ended() {
        let arguments = |command: &str| [OsString::from("-c"), command.into()].into_iter();
        let shell = || OsString::from("sh");
        let (successor, mut channel) = Successor::start_as(shell(), arguments("exit 3")).unwrap();
        assert_eq!(channel.hear().await.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(successor.end().unwrap().code(), Some(3));
        Successor::start_as("/is/not/there".into(), arguments("")).unwrap_err();

        // It says that it serves, from the way that it was told of, and then hangs.
        let hangs = "echo '{\"serving\":{}}' >&0; test \"$TOLLGATE_HANDOVER\" = stdin && exec sleep 600";
        let (successor, mut channel) = Successor::start_as(shell(), arguments(hangs)).unwrap();
        assert_eq!(channel.hear().await.unwrap(), Message::Serving {});
        assert_eq!(successor.end().unwrap().code(), None, "by a signal");
    }
}
