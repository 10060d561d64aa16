//! HTTP/2 frame by frame (RFC 9113 section 4), for what no client library agrees to send.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::within;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// One frame, as bytes.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block: each field literally, nothing indexed, nothing compressed (RFC 7541 section 6.2.2).
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            integer(text.len(), &mut bytes);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// With a prefix of seven bits (RFC 7541 section 5.1).
fn integer(number: usize, bytes: &mut Vec<u8>) {
    if number < 127 {
        return bytes.push(u8::try_from(number).unwrap());
    }
    bytes.push(127);
    let mut rest = number - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status in a header block of ours: an index, or three digits.
    fn status(&self) -> u16 {
        match self.payload[..] {
            [0x88, ..] => 200,
            [0x89, ..] => 204,
            [0x8b, ..] => 304,
            [0x8c, ..] => 400,
            [0x8d, ..] => 404,
            [0x8e, ..] => 500,
            [0x48 | 0x08, 3, a, b, c, ..] => {
                [a, b, c].iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
            }
            [0x48 | 0x08, 0x82, a, b, ..] => huffman(&[a, b]),
            [0x48 | 0x08, 0x83, a, b, c, ..] => huffman(&[a, b, c]),
            _ => 0,
        }
    }
}

/// Three digits (RFC 7541 appendix B): 0, 1, 2 have five bits, the others six.
fn huffman(bytes: &[u8]) -> u16 {
    let mut bits = bytes.iter().fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    bits <<= 32 - 8 * bytes.len();
    let mut number = 0;
    for _ in 0..3 {
        let (digit, length) = match bits >> 27 {
            small @ 0..=2 => (small, 5),
            _ => ((bits >> 26) - 0b01_1001 + 3, 6),
        };
        bits <<= length;
        number = number * 10 + u16::try_from(digit).unwrap();
    }
    number
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Answered with this status; the answer may go on.
    Answered(u16),
    /// RST_STREAM with this code.
    Reset(u32),
    /// The connection ended, with GOAWAY or without.
    Connection,
}

impl End {
    pub fn is_refusal(self) -> bool {
        !matches!(self, Self::Answered(200..=399))
    }
}

/// A connection on which anything can be sent.
pub struct RawHttp2 {
    pub read: OwnedReadHalf,
    pub write: OwnedWriteHalf,
}

impl RawHttp2 {
    /// `settings`: identifiers and values.
    pub async fn connect(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let (read, mut write) = TcpStream::connect(address).await.unwrap().into_split();
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        let first = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &payload)[..]].concat();
        write.write_all(&first).await.unwrap();
        Self { read, write }
    }

    /// False when the other side has closed.
    pub async fn send(&mut self, bytes: &[u8]) -> bool {
        self.write.write_all(bytes).await.is_ok()
    }

    /// The next frame. `None` at the end.
    pub async fn next_of(read: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
        let mut head = [0; 9];
        within("a frame", read.read_exact(&mut head)).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        within("a payload", read.read_exact(&mut payload)).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The same, and confirms settings.
    pub async fn next(&mut self) -> Option<Frame> {
        let found = Self::next_of(&mut self.read).await?;
        if found.kind == SETTINGS && found.flags & ACK == 0 {
            self.send(&frame(SETTINGS, ACK, 0, &[])).await;
        }
        Some(found)
    }

    /// Reads until it is clear what becomes of `stream`.
    pub async fn end_of(&mut self, stream: u32) -> End {
        Self::end_of_read(&mut self.read, stream).await
    }

    /// The same for the half that reads.
    pub async fn end_of_read(read: &mut OwnedReadHalf, stream: u32) -> End {
        loop {
            let Some(frame) = Self::next_of(read).await else { return End::Connection };
            match frame.kind {
                HEADERS if frame.stream == stream => return End::Answered(frame.status()),
                RST_STREAM if frame.stream == stream => {
                    return End::Reset(u32::from_be_bytes(frame.payload[..4].try_into().unwrap()));
                }
                GOAWAY => return End::Connection,
                _ => {}
            }
        }
    }
}
