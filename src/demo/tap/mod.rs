//! A tap: a relay of bytes in front of one of the demo's servers, so that the demo can show what passes.
//!
//! Every byte passes unchanged in both directions, whatever it is, and so does the end of each direction.
//! Beside the relay a reader (`dialogue`, `message`) decodes what is HTTP/1.1; nothing that it does or
//! fails to do changes the relay. A tap can be closed and opened again: then the server behind it is
//! out of reach, and remembers what it knew.

mod dialogue;
mod message;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex as Turn, Semaphore};
use tokio::task::{JoinHandle, JoinSet};

use dialogue::Dialogue;

pub(super) use dialogue::Heard;
pub(super) use message::{Body, Head, Start};

/// How many connections are relayed at once; more wait in the listener's queue.
const CONNECTIONS: usize = 512;
/// How much is read at once, in bytes.
const PIECE: usize = 16 * 1024;

/// Hears what one connection says, after each piece of it and before that piece goes on.
pub(super) type Witness = Box<dyn FnMut(Vec<Heard>) + Send>;

/// Gives each new connection its witness.
pub(super) type Witnesses = Arc<dyn Fn() -> Witness + Send + Sync>;

/// A relay that runs. Dropping it closes the listener and every connection.
pub(super) struct Tap {
    /// Where it listens.
    address: SocketAddr,
    /// The server behind it.
    to: SocketAddr,
    witnesses: Witnesses,
    /// One of `close` and `open` at a time.
    turn: Turn<()>,
    running: Mutex<Option<JoinHandle<()>>>,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tap").field("address", &self.address).field("to", &self.to).finish_non_exhaustive()
    }
}

impl Tap {
    /// Relays what comes to `listener` in the current tokio runtime.
    ///
    /// # Errors
    /// When the listener is not on loopback or cannot be used.
    pub(super) fn start(
        listener: std::net::TcpListener,
        to: SocketAddr,
        witnesses: Witnesses,
    ) -> io::Result<Self> {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() || !to.ip().is_loopback() {
            let text = format!("the demo relays on loopback only, not from {address} to {to}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let tap = Self { address, to, witnesses, turn: Turn::default(), running: Mutex::new(None) };
        tap.accept_from(listener)?;
        Ok(tap)
    }

    pub(super) fn is_open(&self) -> bool {
        self.running().is_some()
    }

    /// Closes the listener and every connection, and returns when they are closed.
    pub(super) async fn close(&self) {
        let _turn = self.turn.lock().await;
        let Some(task) = self.running().take() else { return };
        task.abort();
        let _ = task.await;
    }

    /// Listens again where it listened before.
    ///
    /// # Errors
    /// When somebody else took the address.
    pub(super) async fn open(&self) -> io::Result<()> {
        let _turn = self.turn.lock().await;
        if self.is_open() {
            return Ok(());
        }
        self.accept_from(std::net::TcpListener::bind(self.address)?)
    }

    fn accept_from(&self, listener: std::net::TcpListener) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let task = tokio::spawn(accept(listener, self.to, Arc::clone(&self.witnesses)));
        *self.running() = Some(task);
        Ok(())
    }

    fn running(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        if let Some(task) = self.running().take() {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, to: SocketAddr, witnesses: Witnesses) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let witness = witnesses();
        connections.spawn(async move {
            let _place = place;
            if let Ok(server) = TcpStream::connect(to).await {
                relay(client, server, &Ear::new(witness)).await;
            }
        });
    }
}

/// The reader of one connection, with the one who listens. It says that the connection is over however it
/// ends.
struct Ear(Mutex<(Dialogue, Witness)>);

impl Ear {
    fn new(witness: Witness) -> Self {
        Self(Mutex::new((Dialogue::new(), witness)))
    }

    fn hear(&self, read: impl FnOnce(&mut Dialogue) -> Vec<Heard>) {
        let mut both = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (dialogue, witness) = &mut *both;
        let heard = read(dialogue);
        if !heard.is_empty() {
            witness(heard);
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.hear(Dialogue::closed);
    }
}

/// Until both directions have ended, or one has failed.
async fn relay(client: TcpStream, server: TcpStream, ear: &Ear) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = async {
        let end = pour(&mut from_client, &mut to_server, |piece| ear.hear(|d| d.client_sent(piece))).await;
        match end {
            // A server may answer and close before it has read everything: its answer still passes.
            Ok(()) | Err(Broken::Write) => Ok(()),
            Err(Broken::Read) => Err(()),
        }
    };
    let down = async {
        let end = pour(&mut from_server, &mut to_client, |piece| ear.hear(|d| d.server_sent(piece))).await;
        end.map_err(drop)
    };
    let _ = tokio::try_join!(up, down);
}

enum Broken {
    Read,
    Write,
}

/// One direction, to its end.
async fn pour(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut heard: impl FnMut(&[u8]),
) -> Result<(), Broken> {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = from.read(&mut buffer).await.map_err(|_| Broken::Read)?;
        let piece = buffer.get(..read).unwrap_or_default();
        if piece.is_empty() {
            return to.shutdown().await.map_err(|_| Broken::Write);
        }
        heard(piece);
        to.write_all(piece).await.map_err(|_| Broken::Write)?;
    }
}

#[cfg(test)]
mod tests;
