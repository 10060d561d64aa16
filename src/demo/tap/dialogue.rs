//! Both directions of one connection: which answer belongs to which request (RFC 9112 section 9.3.2).
//! It stops at what it does not understand, at upgrades and tunnels.

use std::collections::VecDeque;

use http::{Method, StatusCode};

use super::message::{Body, Head, Kind, Messages, Start, Step, framing_of_answer, framing_of_request};

/// How many requests may wait for their answers on one connection.
const MOST_WAITING: usize = 256;

/// Something that was heard. Numbers count the requests of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::demo) enum Heard {
    Asked {
        number: u64,
        head: Head,
    },
    AskedWhole {
        number: u64,
        body: Body,
    },
    Answered {
        number: u64,
        head: Head,
    },
    AnsweredWhole {
        number: u64,
        body: Body,
    },
    /// The connection ended, or could not be followed any more, before the answer was whole.
    BrokenOff {
        number: u64,
    },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Dialogue {
    requests: Messages,
    answers: Messages,
    asked: u64,
    /// Without an answer yet, the oldest first.
    waiting: VecDeque<(u64, Method)>,
    /// The request whose answer is being read.
    answering: Option<u64>,
    lost: bool,
}

impl Dialogue {
    pub(super) fn new() -> Self {
        Self {
            requests: Messages::new(Kind::Request),
            answers: Messages::new(Kind::Answer),
            asked: 0,
            waiting: VecDeque::new(),
            answering: None,
            lost: false,
        }
    }

    /// The client sent these bytes.
    pub(super) fn client_sent(&mut self, mut bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        while !self.lost {
            let (step, used) = self.requests.step(bytes);
            bytes = bytes.get(used..).unwrap_or_default();
            match step {
                Step::More if bytes.is_empty() => break,
                Step::More => {}
                Step::Head(head) => {
                    let framing = framing_of_request(&head.headers);
                    let Start::Request { method, .. } = &head.start else { break };
                    match framing {
                        Some(framing) if self.waiting.len() < MOST_WAITING => {
                            self.requests.expect(framing);
                            self.waiting.push_back((self.asked, method.clone()));
                            heard.push(Heard::Asked { number: self.asked, head });
                            self.asked += 1;
                        }
                        _ => self.lose(&mut heard),
                    }
                }
                Step::End(body) => heard.push(Heard::AskedWhole { number: self.asked - 1, body }),
                Step::Lost => self.lose(&mut heard),
            }
        }
        heard
    }

    /// The server sent these bytes.
    pub(super) fn server_sent(&mut self, mut bytes: &[u8]) -> Vec<Heard> {
        let mut heard = Vec::new();
        while !self.lost {
            let (step, used) = self.answers.step(bytes);
            bytes = bytes.get(used..).unwrap_or_default();
            match step {
                Step::More if bytes.is_empty() => break,
                Step::More => {}
                Step::Head(head) => self.answered(head, &mut heard),
                Step::End(body) => {
                    // Interim answers end here too; their request goes on waiting.
                    if let Some(number) = self.answering.take() {
                        heard.push(Heard::AnsweredWhole { number, body });
                    }
                }
                Step::Lost => self.lose(&mut heard),
            }
        }
        heard
    }

    /// The connection is over.
    pub(super) fn closed(&mut self) -> Vec<Heard> {
        let mut heard = Vec::new();
        if let (Some(body), Some(number)) = (self.answers.closed(), self.answering) {
            self.answering = None;
            heard.push(Heard::AnsweredWhole { number, body });
        }
        self.lose(&mut heard);
        heard
    }

    fn answered(&mut self, head: Head, heard: &mut Vec<Heard>) {
        let Start::Answer(status) = head.start else { return self.lose(heard) };
        if status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS {
            return; // an interim answer; without a body
        }
        let Some((number, method)) = self.waiting.pop_front() else { return self.lose(heard) };
        let framing = framing_of_answer(&method, status, &head.headers);
        heard.push(Heard::Answered { number, head });
        if status == StatusCode::SWITCHING_PROTOCOLS || (method == Method::CONNECT && status.is_success()) {
            heard.push(Heard::AnsweredWhole { number, body: Body::default() });
            return self.lose(heard);
        }
        self.answering = Some(number);
        match framing {
            Some(framing) => self.answers.expect(framing),
            None => self.lose(heard),
        }
    }

    fn lose(&mut self, heard: &mut Vec<Heard>) {
        self.lost = true;
        self.requests.give_up();
        self.answers.give_up();
        let open = self.answering.take().into_iter().chain(self.waiting.drain(..).map(|(number, _)| number));
        heard.extend(open.map(|number| Heard::BrokenOff { number }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn brief(heard: &[Heard]) -> Vec<String> {
        let start = |head: &Head| match &head.start {
            Start::Request { method, target } => format!("{method} {target}"),
            Start::Answer(status) => status.as_u16().to_string(),
        };
        let text = |body: &Body| String::from_utf8(body.bytes.clone()).unwrap();
        let line = |heard: &Heard| match heard {
            Heard::Asked { number, head } => format!("{number} {}", start(head)),
            Heard::AskedWhole { number, body } => format!("{number} sent {:?}", text(body)),
            Heard::Answered { number, head } => format!("{number} {}", start(head)),
            Heard::AnsweredWhole { number, body } => format!("{number} got {:?}", text(body)),
            Heard::BrokenOff { number } => format!("{number} broken off"),
        };
        heard.iter().map(line).collect()
    }

    #[test]
    fn answers_belong_to_their_requests_in_order_and_interim_ones_to_none() {
        let mut dialogue = Dialogue::new();
        let asked = dialogue.client_sent(
            b"HEAD /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiGET /c HTTP/1.1\r\n\r\n",
        );
        assert_eq!(
            brief(&asked),
            ["0 HEAD /a", "0 sent \"\"", "1 POST /b", "1 sent \"hi\"", "2 GET /c", "2 sent \"\""]
        );
        let answered = dialogue.server_sent(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n\
            HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\n!HTTP/1.1 200 OK\r\n\r\nto the",
        );
        assert_eq!(brief(&answered), ["0 200", "0 got \"\"", "1 201", "1 got \"!\"", "2 200"]);
        assert!(dialogue.server_sent(b" end").is_empty());
        assert_eq!(brief(&dialogue.closed()), ["2 got \"to the end\""]);
    }

    #[test]
    fn what_is_open_when_the_connection_ends_is_broken_off() {
        let mut dialogue = Dialogue::new();
        dialogue.client_sent(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
        dialogue.server_sent(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
        assert_eq!(brief(&dialogue.closed()), ["0 broken off", "1 broken off"]);
        assert!(dialogue.closed().is_empty());
    }

    #[test]
    fn an_upgrade_and_what_cannot_be_followed_end_the_reading() {
        let upgrade = b"GET /a HTTP/1.1\r\nUpgrade: x\r\n\r\n";
        let mut dialogue = Dialogue::new();
        dialogue.client_sent(upgrade);
        let switched = dialogue.server_sent(b"HTTP/1.1 101 Switching Protocols\r\n\r\n\x00\x01 GET");
        assert_eq!(brief(&switched), ["0 101", "0 got \"\""]);
        assert!(dialogue.client_sent(upgrade).is_empty() && dialogue.server_sent(b"HTTP/1.1 ").is_empty());

        let mut dialogue = Dialogue::new();
        assert!(brief(&dialogue.server_sent(b"HTTP/1.1 408 Request Timeout\r\n\r\n")).is_empty());
        assert!(dialogue.client_sent(upgrade).is_empty(), "an answer without a request is not understood");

        let mut dialogue = Dialogue::new();
        dialogue.client_sent(upgrade);
        assert_eq!(brief(&dialogue.server_sent(b"SSH-2.0-x\r\n\r\n")), ["0 broken off"]);
    }

    #[test]
    fn requests_without_answers_do_not_pile_up() {
        let mut dialogue = Dialogue::new();
        let many = b"GET / HTTP/1.1\r\n\r\n".repeat(MOST_WAITING + 1);
        let heard = dialogue.client_sent(&many);
        assert_eq!(heard.iter().filter(|h| matches!(h, Heard::BrokenOff { .. })).count(), MOST_WAITING);
    }
}
