//! Why an AS cannot be used now, and for how long it says so: `Retry-After` (RFC 9110 section 10.2.3, RFC
//! 6585 section 4) goes on to whoever asked, within bounds.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use crate::core::denial::Denial;

/// What is passed on of an AS's `Retry-After`: never so soon that it is no pause, nor so long that one answer
/// of an AS keeps everybody away who could be served by then.
const SHORTEST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why an AS cannot be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outage {
    /// For the log.
    pub why: &'static str,
    /// What it answered with, for the log; `None` where nothing came.
    pub status: Option<u16>,
    /// Nothing came with the status.
    is_wordless: bool,
    /// When it wants to be asked again, where it says so (RFC 9110 section 10.2.3).
    retry_after: Option<Duration>,
}

impl From<&'static str> for Outage {
    fn from(why: &'static str) -> Self {
        Self { why, status: None, is_wordless: false, retry_after: None }
    }
}

impl Outage {
    /// One that the AS tells of itself, with these headers.
    pub fn said(why: &'static str, headers: &HeaderMap) -> Self {
        Self { retry_after: retry_after(headers), ..why.into() }
    }

    /// Whether it was a refusal without a word: 400 and nothing else, where section 5.2 of RFC 6749 wants to
    /// be told what is wrong. Glewlwyd says so of a refresh token that is over.
    pub fn is_wordless_refusal(&self) -> bool {
        self.status == Some(StatusCode::BAD_REQUEST.as_u16()) && self.is_wordless
    }

    #[must_use]
    pub fn answered(self, status: StatusCode, body: &[u8]) -> Self {
        Self { status: Some(status.as_u16()), is_wordless: body.trim_ascii().is_empty(), ..self }
    }

    /// What whoever asked for something is told.
    pub fn denial(self) -> Denial {
        self.retry_after.map_or(Denial::AuthorizationServerUnavailable, |retry_after| {
            Denial::AuthorizationServerBusy { retry_after }
        })
    }
}

/// What `Retry-After` says in seconds. A moment needs a clock that agrees with the AS's; it counts as nothing
/// said.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let mut fields = headers.get_all(header::RETRY_AFTER).iter();
    let seconds = fields.next()?.to_str().ok()?.trim();
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    if fields.next().is_some() || !is_number {
        return None;
    }
    // More digits than fit are beyond the bound, too.
    let said = seconds.parse().map_or(LONGEST_PAUSE, Duration::from_secs);
    Some(said.clamp(SHORTEST_PAUSE, LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::core::session::oauth::answer;

    #[test]
    fn when_to_come_back_is_the_servers_word_within_bounds() {
        let said = |status, fields: &[&str]| {
            let mut headers = HeaderMap::new();
            for field in fields {
                headers.append(header::RETRY_AFTER, field.parse().unwrap());
            }
            match answer::read(StatusCode::from_u16(status).unwrap(), &headers, b"") {
                answer::ServerAnswer::Unusable(outage) => {
                    outage.denial().retry_after().map(|pause| pause.as_secs())
                }
                other => panic!("{other:?}"),
            }
        };
        for (status, fields, expected) in [
            (429, &["30"][..], 30),
            (503, &["30"], 30),
            (429, &["0"], 2),
            (429, &["86400"], 300),
            (429, &["99999999999999999999999"], 300),
            (429, &["-1"], 2),
            (429, &["+9"], 2),
            (429, &["Fri, 27 Nov 2026 08:00:00 GMT"], 2),
            (429, &["30", "40"], 2),
            (429, &[], 2),
            (500, &["30"], 2),
        ] {
            assert_eq!(said(status, fields), Some(expected), "{status} {fields:?}");
        }
    }
}
