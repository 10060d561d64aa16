//! The HTTP/1.1 messages in one direction of a connection, read as the bytes pass (RFC 9112 sections 2
//! to 7). Heads are decoded, bodies are skipped but for their first bytes.
//!
//! It never asks for more bytes than came and never holds any back: it reads beside the relay, not in
//! it. What it does not understand it calls lost, once and for good, and stays silent.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

/// The largest head that is read, in bytes.
const LARGEST_HEAD: usize = 64 * 1024;
/// The most header fields of a head.
const MOST_FIELDS: usize = 128;
/// How much of a body is kept, in bytes.
pub(in crate::demo) const KEPT: usize = 16 * 1024;

/// Which direction it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Request,
    Answer,
}

/// The head of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::demo) struct Head {
    pub(in crate::demo) start: Start,
    pub(in crate::demo) headers: HeaderMap,
}

/// Its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::demo) enum Start {
    Request { method: Method, target: String },
    Answer(StatusCode),
}

/// The body of a message, as much of it as was kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::demo) struct Body {
    /// Its first bytes, without chunk framing, at most [`KEPT`].
    pub(in crate::demo) bytes: Vec<u8>,
    /// How many there were.
    pub(in crate::demo) length: u64,
}

impl Body {
    /// Whether all of it was kept.
    pub(in crate::demo) fn is_whole(&self) -> bool {
        self.length == self.bytes.len() as u64
    }
}

/// What one step brought.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More bytes are needed.
    More,
    /// A head; [`Messages::expect`] must say how its body ends before the next step.
    Head(Head),
    /// The end of a message.
    End(Body),
    /// This is not, or no longer, HTTP/1.1.
    Lost,
}

/// How a body ends (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Sized(u64),
    Chunked,
    UntilClose,
}

/// The messages of one direction.
#[derive(Debug)]
pub(super) struct Messages {
    kind: Kind,
    state: State,
    head: Vec<u8>,
    body: Body,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    Body(Framing),
    Chunk(Chunk),
    Lost,
}

#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size {
        size: u64,
        digits: u8,
        extension: bool,
    },
    Data(u64),
    /// The line end after a chunk.
    DataEnd,
    /// The trailer section; whether the line has something in it.
    Trailer(bool),
}

impl Messages {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, state: State::Head, head: Vec::new(), body: Body::default() }
    }

    /// Reads on until something is known or `bytes` is used up; returns how many bytes were used.
    pub(super) fn step(&mut self, bytes: &[u8]) -> (Step, usize) {
        match self.state {
            State::Head => self.read_head(bytes),
            State::Body(Framing::Sized(left)) => self.read_sized(left, bytes),
            State::Body(Framing::Chunked) => {
                self.state = State::Chunk(Chunk::START);
                (Step::More, 0)
            }
            State::Body(Framing::UntilClose) => {
                self.keep(bytes);
                (Step::More, bytes.len())
            }
            State::Chunk(at) => self.read_chunks(at, bytes),
            State::Lost => (Step::Lost, bytes.len()),
        }
    }

    /// How the body ends whose head came last.
    pub(super) fn expect(&mut self, framing: Framing) {
        self.state = State::Body(framing);
    }

    /// Nothing more is read.
    pub(super) fn give_up(&mut self) {
        self.state = State::Lost;
        (self.head, self.body) = (Vec::new(), Body::default());
    }

    /// No more bytes come; the message that ends by this.
    pub(super) fn closed(&mut self) -> Option<Body> {
        let ends = matches!(self.state, State::Body(Framing::UntilClose));
        let body = std::mem::take(&mut self.body);
        self.give_up();
        ends.then_some(body)
    }

    fn read_head(&mut self, bytes: &[u8]) -> (Step, usize) {
        for (at, byte) in bytes.iter().enumerate() {
            self.head.push(*byte);
            if self.head.len() > LARGEST_HEAD {
                return self.lost(bytes);
            }
            let complete = *byte == b'\n' && (self.head.ends_with(b"\n\r\n") || self.head.ends_with(b"\n\n"));
            // Empty lines before a request line are skipped (RFC 9112 section 2.2).
            if matches!(self.head.as_slice(), b"\r\n" | b"\n") {
                self.head.clear();
            } else if complete {
                return match parse(self.kind, &self.head) {
                    Some(head) => {
                        self.head = Vec::new();
                        self.state = State::Body(Framing::Sized(0));
                        (Step::Head(head), at + 1)
                    }
                    None => self.lost(bytes),
                };
            }
        }
        (Step::More, bytes.len())
    }

    fn read_sized(&mut self, left: u64, bytes: &[u8]) -> (Step, usize) {
        let used = at_most(left, bytes.len());
        self.keep(bytes.get(..used).unwrap_or_default());
        let left = left.saturating_sub(used as u64);
        self.state = State::Body(Framing::Sized(left));
        if left == 0 { (self.end(), used) } else { (Step::More, used) }
    }

    /// RFC 9112 section 7.1.
    fn read_chunks(&mut self, mut at: Chunk, bytes: &[u8]) -> (Step, usize) {
        let mut used = 0;
        while let Some(byte) = bytes.get(used).copied() {
            if let Chunk::Data(left) = at {
                let more = at_most(left, bytes.len() - used);
                self.keep(bytes.get(used..used + more).unwrap_or_default());
                used += more;
                let left = left.saturating_sub(more as u64);
                at = if left == 0 { Chunk::DataEnd } else { Chunk::Data(left) };
                continue;
            }
            used += 1;
            at = match at.after(byte) {
                Some(Some(next)) => next,
                Some(None) => return (self.end(), used),
                None => return self.lost(bytes),
            };
        }
        self.state = State::Chunk(at);
        (Step::More, used)
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.body.length = self.body.length.saturating_add(bytes.len() as u64);
        let room = KEPT.saturating_sub(self.body.bytes.len());
        self.body.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
    }

    fn end(&mut self) -> Step {
        self.state = State::Head;
        Step::End(std::mem::take(&mut self.body))
    }

    fn lost(&mut self, bytes: &[u8]) -> (Step, usize) {
        self.give_up();
        (Step::Lost, bytes.len())
    }
}

impl Chunk {
    const START: Self = Self::Size { size: 0, digits: 0, extension: false };

    /// After one more byte of the framing: the next state, `Some(None)` at the end of the body, `None` for
    /// what is no chunk.
    fn after(self, byte: u8) -> Option<Option<Self>> {
        let next = match self {
            Self::Size { size, digits, extension } => match byte {
                b'\n' if digits == 0 => return None,
                b'\n' if size == 0 => Self::Trailer(false),
                b'\n' => Self::Data(size),
                _ if extension => self,
                b';' | b' ' | b'\t' | b'\r' if digits > 0 => Self::Size { size, digits, extension: true },
                _ => {
                    let digit = char::from(byte).to_digit(16)?;
                    let size = size.checked_mul(16)?.checked_add(digit.into())?;
                    Self::Size { size, digits: digits.checked_add(1)?, extension }
                }
            },
            Self::DataEnd => match byte {
                b'\r' => self,
                b'\n' => Self::START,
                _ => return None,
            },
            Self::Trailer(_) if byte == b'\r' => self,
            Self::Trailer(false) if byte == b'\n' => return Some(None),
            Self::Trailer(_) => Self::Trailer(byte != b'\n'),
            Self::Data(_) => return None,
        };
        Some(Some(next))
    }
}

fn at_most(left: u64, length: usize) -> usize {
    usize::try_from(left).unwrap_or(usize::MAX).min(length)
}

fn parse(kind: Kind, bytes: &[u8]) -> Option<Head> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let (start, fields) = match kind {
        Kind::Request => {
            let mut request = httparse::Request::new(&mut fields);
            request.parse(bytes).ok().filter(httparse::Status::is_complete)?;
            let method = Method::from_bytes(request.method?.as_bytes()).ok()?;
            (Start::Request { method, target: request.path?.to_owned() }, request.headers)
        }
        Kind::Answer => {
            let mut answer = httparse::Response::new(&mut fields);
            answer.parse(bytes).ok().filter(httparse::Status::is_complete)?;
            (Start::Answer(StatusCode::from_u16(answer.code?).ok()?), answer.headers)
        }
    };
    let mut headers = HeaderMap::with_capacity(fields.len());
    for field in fields.iter() {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        headers.append(name, HeaderValue::from_bytes(field.value).ok()?);
    }
    Some(Head { start, headers })
}

/// How the body of a request ends; `None` when that has more than one reading.
pub(super) fn framing_of_request(headers: &HeaderMap) -> Option<Framing> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return is_chunked(headers).then_some(Framing::Chunked);
    }
    Some(Framing::Sized(content_length(headers)?.unwrap_or(0)))
}

/// How the body of an answer to `method` ends; `None` when that has more than one reading.
pub(super) fn framing_of_answer(method: &Method, status: StatusCode, headers: &HeaderMap) -> Option<Framing> {
    let without_body = *method == Method::HEAD
        || status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if without_body {
        return Some(Framing::Sized(0));
    }
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Some(if is_chunked(headers) { Framing::Chunked } else { Framing::UntilClose });
    }
    Some(content_length(headers)?.map_or(Framing::UntilClose, Framing::Sized))
}

/// Whether `chunked` is the last transfer coding.
fn is_chunked(headers: &HeaderMap) -> bool {
    let last = headers.get_all(header::TRANSFER_ENCODING).iter().next_back();
    let codings = last.and_then(|value| value.to_str().ok()).unwrap_or_default();
    codings.rsplit(',').next().is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked"))
}

/// `Some(None)` without the field; `None` when it cannot be read in one way.
fn content_length(headers: &HeaderMap) -> Option<Option<u64>> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Some(None) };
    if lengths.any(|other| other != first) {
        return None;
    }
    let text = first.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok().map(Some) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All steps of a direction whose bytes come in pieces of these sizes.
    fn steps(kind: Kind, bytes: &[u8], mut sizes: impl FnMut() -> usize) -> Vec<Step> {
        let (mut messages, mut found, mut rest) = (Messages::new(kind), Vec::new(), bytes);
        while !rest.is_empty() {
            let (mut piece, after) = rest.split_at(sizes().clamp(1, rest.len()));
            rest = after;
            loop {
                let (step, used) = messages.step(piece);
                piece = &piece[used..];
                match step {
                    Step::More if piece.is_empty() => break,
                    Step::More => {}
                    Step::Head(head) => {
                        let framing = match &head.start {
                            Start::Request { .. } => framing_of_request(&head.headers),
                            Start::Answer(status) => framing_of_answer(&Method::GET, *status, &head.headers),
                        };
                        found.push(Step::Head(head));
                        match framing {
                            Some(framing) => messages.expect(framing),
                            None => messages.give_up(),
                        }
                    }
                    Step::Lost => {
                        if found.last() != Some(&Step::Lost) {
                            found.push(Step::Lost);
                        }
                        break;
                    }
                    end @ Step::End(_) => found.push(end),
                }
            }
        }
        if let Some(body) = messages.closed() {
            found.push(Step::End(body));
        }
        found
    }

    const REQUESTS: &[u8] = b"\r\nPOST /oauth/token?a=b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello\
        GET / HTTP/1.1\nHost: x\n\n\
        PUT /c HTTP/1.1\r\ntransfer-encoding: gzip, Chunked\r\n\r\n4;e=1\r\nab\r\n\r\n1a\r\n01234567890123456789012345\r\n0\r\nT: 1\r\n\r\n\
        DELETE /d HTTP/1.1\r\n\r\n";
    const ANSWERS: &[u8] =
        b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 204 No Content\r\nContent-Length: 7\r\n\r\n\
        HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok\
        HTTP/1.1 404 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n\
        HTTP/1.0 200 OK\r\n\r\nuntil the end";

    fn brief(steps: &[Step]) -> Vec<String> {
        let text = |step: &Step| match step {
            Step::Head(Head { start: Start::Request { method, target }, .. }) => format!("{method} {target}"),
            Step::Head(Head { start: Start::Answer(status), .. }) => status.as_u16().to_string(),
            Step::End(body) => String::from_utf8(body.bytes.clone()).unwrap(),
            Step::More => "more".into(),
            Step::Lost => "lost".into(),
        };
        steps.iter().map(text).collect()
    }

    #[test]
    fn heads_are_decoded_and_bodies_end_where_they_should() {
        let whole = |kind, bytes| brief(&steps(kind, bytes, || usize::MAX));
        assert_eq!(
            whole(Kind::Request, REQUESTS),
            [
                "POST /oauth/token?a=b",
                "hello",
                "GET /",
                "",
                "PUT /c",
                "ab\r\n01234567890123456789012345",
                "DELETE /d",
                "",
            ]
        );
        let answers = ["103", "", "204", "", "200", "ok", "404", "no", "200", "until the end"];
        // 204 with a length has no body: what follows is the next head.
        let text = String::from_utf8(ANSWERS.to_vec()).unwrap();
        assert_eq!(whole(Kind::Answer, text.as_bytes()), answers);
    }

    #[test]
    fn a_head_split_at_any_byte_is_the_same_head() {
        for (kind, bytes) in [(Kind::Request, REQUESTS), (Kind::Answer, ANSWERS)] {
            let whole = steps(kind, bytes, || usize::MAX);
            for at in 1..bytes.len() {
                let mut sizes = [at, usize::MAX].into_iter();
                assert_eq!(steps(kind, bytes, || sizes.next().unwrap()), whole, "split at {at}");
            }
            assert_eq!(steps(kind, bytes, || 1), whole, "byte by byte");
        }
    }

    #[test]
    fn any_bytes_in_any_pieces_give_the_same_steps_in_bounded_memory() {
        bolero::check!().with_type::<(bool, u8, Vec<u8>, Vec<u8>)>().for_each(
            |(requests, from, noise, sizes)| {
                let (kind, good) =
                    if *requests { (Kind::Request, REQUESTS) } else { (Kind::Answer, ANSWERS) };
                let mut bytes = good.to_vec();
                let at = usize::from(*from) % bytes.len();
                bytes.splice(at..at, noise.iter().copied());
                let mut pieces = sizes.iter().map(|size| usize::from(*size)).cycle();
                let whole = steps(kind, &bytes, || usize::MAX);
                assert_eq!(steps(kind, &bytes, || pieces.next().unwrap_or(3)), whole);
                for step in whole {
                    assert!(!matches!(step, Step::End(body) if body.bytes.len() > KEPT));
                }
            },
        );
    }

    #[test]
    fn what_is_not_http_is_lost_once_and_for_good() {
        for bytes in [
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n"[..],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
            b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            assert_eq!(brief(&steps(Kind::Request, bytes, || usize::MAX)).last().unwrap(), "lost");
        }
        let endless = vec![b'a'; LARGEST_HEAD + 1];
        assert_eq!(brief(&steps(Kind::Request, &endless, || usize::MAX)), ["lost"]);
    }

    #[test]
    fn of_a_large_body_only_the_beginning_is_kept() {
        let mut bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n".to_vec();
        bytes.resize(bytes.len() + 1_000_000, b'x');
        let steps = steps(Kind::Answer, &bytes, || 1000);
        let Some(Step::End(body)) = steps.last() else { panic!("no end") };
        assert_eq!((body.bytes.len(), body.length, body.is_whole()), (KEPT, 1_000_000, false));
    }
}
