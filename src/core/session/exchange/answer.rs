//! What browsers get of an exchange, and the form in which it is sealed and kept for those that ask again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::secret::{Secret, SecretString};
use crate::core::session::oauth::Scope;
use crate::core::session::oauth::answer::PageTokens;
use crate::core::time::Timestamp;

/// What everybody gets who asked for one exchange.
#[derive(Debug)]
pub struct ExchangeAnswer {
    /// For the page; `None`: the AS gave an access token that this gateway would refuse. The session goes on.
    pub page: Option<PageTokens>,
    /// It is recorded as use of the session.
    pub used: bool,
    /// The successor's grant, sealed for its cookie.
    pub cookie: SecretString,
    pub session_ends_at: Timestamp,
    pub subject: Option<String>,
}

/// As it is kept. Owned texts go straight into [`SecretString`]s.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    #[serde(borrow)]
    page: Option<Page<'a>>,
    used: bool,
    cookie: &'a str,
    session_ends_at: Timestamp,
    subject: Option<&'a str>,
}

#[derive(Serialize, Deserialize)]
struct Page<'a> {
    access_token: &'a str,
    token_type: &'a str,
    expires_in: Option<u64>,
    scope: Option<Scope>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dpop_nonce: Option<&'a str>,
}

impl ExchangeAnswer {
    /// For how long it is worth giving again from `now` on. `grace`: where nobody knows for how long its
    /// token lives, or it has none.
    pub fn worth_for(&self, now: Timestamp, grace: Duration) -> Duration {
        let token = self.page.as_ref().and_then(|page| page.worth_until(now));
        token.map_or(grace, |until| until.since(now)).min(self.session_ends_at.since(now))
    }

    /// The form that is sealed; an ID token is not kept, no refresh gives one.
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        let form = Form {
            page: self.page.as_ref().map(|page| Page {
                access_token: page.access_token.expose(),
                token_type: &page.token_type,
                expires_in: page.expires_in.map(|life| life.as_secs()),
                scope: page.scope.clone(),
                dpop_nonce: page.dpop_nonce.as_deref(),
            }),
            used: self.used,
            cookie: self.cookie.expose(),
            session_ends_at: self.session_ends_at,
            subject: self.subject.as_deref(),
        };
        let page = self.page.as_ref().map_or(0, |page| {
            page.access_token.expose().len()
                + page.token_type.len()
                + page.scope.as_ref().map_or(0, |scope| scope.to_string().len())
                + page.dpop_nonce.as_ref().map_or(0, String::len)
        });
        let texts = page + self.cookie.expose().len() + self.subject.as_ref().map_or(0, String::len);
        Secret::of_form(&form, 256 + texts)
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let form: Form<'_> = rmp_serde::from_slice(bytes).ok()?;
        Some(Self {
            page: form.page.map(|page| PageTokens {
                access_token: page.access_token.into(),
                token_type: page.token_type.to_owned(),
                expires_in: page.expires_in.map(Duration::from_secs),
                scope: page.scope,
                id_token: None,
                dpop_nonce: page.dpop_nonce.map(ToOwned::to_owned),
            }),
            used: form.used,
            cookie: form.cookie.into(),
            session_ends_at: form.session_ends_at,
            subject: form.subject.map(ToOwned::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(expires_in: Option<u64>) -> ExchangeAnswer {
        ExchangeAnswer {
            page: Some(PageTokens {
                access_token: "at".into(),
                token_type: "Bearer".into(),
                expires_in: expires_in.map(Duration::from_secs),
                scope: Scope::parse("a b"),
                id_token: None,
                dpop_nonce: expires_in.map(|_| "nonce".to_owned()),
            }),
            used: true,
            cookie: "sealed".into(),
            session_ends_at: Timestamp::from_secs(1000),
            subject: Some("alice".into()),
        }
    }

    #[test]
    fn an_answer_is_read_as_it_was_written() {
        for written in
            [answer(Some(300)), answer(None), ExchangeAnswer { page: None, subject: None, ..answer(None) }]
        {
            let bytes = written.to_bytes();
            let read = ExchangeAnswer::from_bytes(bytes.expose()).unwrap();
            assert_eq!(read.to_bytes().expose(), bytes.expose());
            assert_eq!(read.cookie, written.cookie);
            let (read, written) = (read.page.as_ref(), written.page.as_ref());
            assert_eq!(read.map(|page| page.expires_in), written.map(|page| page.expires_in));
            assert_eq!(read.map(|page| &page.dpop_nonce), written.map(|page| &page.dpop_nonce));
            assert!(
                read.zip(written).is_none_or(|(read, written)| read.access_token == written.access_token)
            );
            assert!(ExchangeAnswer::from_bytes(&bytes.expose()[..bytes.expose().len() - 1]).is_none());
        }
        bolero::check!().for_each(|bytes: &[u8]| drop(ExchangeAnswer::from_bytes(bytes)));
    }

    #[test]
    fn it_is_worth_giving_again_while_its_token_and_its_session_last() {
        let worth =
            |life, now| answer(life).worth_for(Timestamp::from_secs(now), Duration::from_secs(30)).as_secs();
        assert_eq!(worth(Some(60), 0), 50);
        assert_eq!(worth(None, 0), 30);
        assert_eq!(worth(Some(300), 990), 10);
    }
}
