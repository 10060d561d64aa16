//! The other process of a hand-over, and what the two say to each other: lines of JSON on a pair of connected
//! sockets without a name, which the new process finds as its standard input. So nobody else can take part,
//! and nothing is left behind in the file system. The listening sockets travel beside the first line
//! (SCM_RIGHTS, unix(7)).
//!
//! ```text
//! old -> new   sockets   here they are; do not accept yet
//! new -> old   ready     configuration read, everything built, keys fetched
//! old -> new   go        what only one process may have open is closed
//! new -> old   serving   opened, and accepting; these questions are answered
//! new -> old   changed   this was taken back, or lifted
//! old -> new   ask       what a request still needs of the store or the list
//! new -> old   answer    to that
//! ```
//!
//! The two may be of different versions: members that are not known are ignored, lines that are not known end
//! it.
//!
//! - `questions`: what may be asked, and what is answered
//! - `asking`: the old process, to which the store of the new one is a store
//! - `answering`: the new process

pub mod answering;
pub mod asking;
pub mod questions;
#[cfg(test)]
mod tests;

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
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitIdStatus, waitid};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};

use questions::{Answer, Answers, Changed, Question};

/// In the environment of a process that is started to take over: where it finds the other.
const VARIABLE: &str = "TOLLGATE_HANDOVER";
const STDIN: &str = "stdin";
/// As many as the kernel takes at once (SCM_MAX_FD).
const MOST_SOCKETS: usize = 253;
/// The longest line until the new process serves.
const GREETING: usize = 64 * 1024;
/// The longest from then on.
const LINE: usize = 16 << 20;
/// How many questions are worked on at once; others wait.
const AT_ONCE: usize = 256;
/// How many lines wait to be written.
const QUEUED: usize = 16;
/// How much is read at once.
const PIECE: usize = 16 * 1024;

/// What the two processes say.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    /// The addresses that were asked for, in the order of the sockets beside it.
    Sockets {
        addresses: Vec<SocketAddr>,
    },
    /// The issuers whose keys could not be had, and why the store that replicas share cannot be used.
    Ready {
        without_keys: Vec<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        without_store: Option<String>,
    },
    Go {},
    Serving {
        #[serde(default)]
        answers: Answers,
    },
    /// From then on, by the new process: the list of revocations has changed.
    Changed(Changed),
    Ask {
        id: u64,
        what: Question,
    },
    Answer {
        id: u64,
        is: Answer,
    },
}

/// Lines, from the pieces in which they come.
#[derive(Debug)]
struct Lines {
    came: Vec<u8>,
    /// So many bytes of it have no end of a line.
    looked_at: usize,
    longest: usize,
}

impl Lines {
    const fn new(longest: usize) -> Self {
        Self { came: Vec::new(), looked_at: 0, longest }
    }

    /// The next, if it is there.
    fn next(&mut self) -> io::Result<Option<Message>> {
        let new = self.came.get(self.looked_at..).unwrap_or_default();
        let end = new.iter().position(|byte| *byte == b'\n').map(|at| self.looked_at + at);
        if end.unwrap_or(self.came.len()) > self.longest {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a line without end"));
        }
        let Some(end) = end else {
            self.looked_at = self.came.len();
            return Ok(None);
        };
        self.looked_at = 0;
        let message = self.came.get(..end).map(serde_json::from_slice).transpose()?;
        self.came.drain(..=end);
        // A long line is seldom followed by another.
        if self.came.capacity() > 16 * PIECE {
            self.came.shrink_to(PIECE);
        }
        Ok(message)
    }
}

/// The way to the other process.
#[derive(Debug)]
pub struct Channel {
    stream: UnixStream,
    lines: Lines,
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
        let stream = UnixStream::from_std(stream)?;
        Ok(Self { stream, lines: Lines::new(GREETING), sockets: Vec::new() })
    }

    /// Both directions, once the new process serves: each may be used while the other waits.
    fn apart(self) -> (Hears, Says) {
        let (read, write) = self.stream.into_split();
        (Hears { stream: read, lines: Lines { longest: LINE, ..self.lines } }, Says(write))
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
            if let Some(message) = self.lines.next()? {
                return Ok(message);
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
        let (stream, came, sockets) = (&self.stream, &mut self.lines.came, &mut self.sockets);
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

/// The direction from the other process.
#[derive(Debug)]
struct Hears {
    stream: OwnedReadHalf,
    lines: Lines,
}

impl Hears {
    /// The next that the other process says.
    async fn hear(&mut self) -> io::Result<Message> {
        loop {
            if let Some(message) = self.lines.next()? {
                return Ok(message);
            }
            self.lines.came.reserve(PIECE);
            if self.stream.read_buf(&mut self.lines.came).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// The direction to the other process.
#[derive(Debug)]
struct Says(OwnedWriteHalf);

impl Says {
    async fn say(&mut self, line: &[u8]) -> io::Result<()> {
        self.0.write_all(line).await
    }

    /// Nothing more is said. The other process hears that, also while a copy of this end is open.
    async fn end(&mut self) {
        let _ = self.0.shutdown().await;
    }
}

fn line(message: &Message) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    if line.len() > LINE {
        let why = format!("{} bytes are too many for the other process ({LINE} at most)", line.len());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
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
    /// Starts the program that this process was started as, in the version that is installed now, with the
    /// same arguments and environment.
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

    /// Waits until it has ended otherwise than in good order, and says how. It is left to be collected by
    /// whoever its parent is once this process has ended: that is how a service manager, for whom it is the
    /// service, hears of it.
    pub async fn crashed(&self) -> String {
        match self.ended().await {
            Ok(status) if status.exit_status() == Some(0) => std::future::pending().await,
            Ok(status) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!("exit status {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or_default()),
            },
            Err(error) => {
                tracing::error!(%error, "whether the new process goes on cannot be known");
                std::future::pending().await
            }
        }
    }

    async fn ended(&self) -> io::Result<WaitIdStatus> {
        let mut changes = signal(SignalKind::child())?;
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        loop {
            if let Some(status) = waitid(WaitId::Pid(id), look)? {
                return Ok(status);
            }
            if changes.recv().await.is_none() {
                std::future::pending::<()>().await;
            }
        }
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
