//! A sign-in under way: what the gateway must know again when the browser comes back from the authorization
//! server. It travels sealed in a cookie of its own, whose name is made from the state, so that several tabs
//! sign in at once.
//!
//! `__Host-`, so that neither a sibling subdomain nor plain `http` plants one: it binds the state to this
//! browser (RFC 6749 section 10.12). `Lax`, because it must come along when another site sends the browser
//! back.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::core::hex;
use crate::core::secret::{Secret, SecretString};
use crate::core::session::cookie::{Attributes, BY_HOST};
use crate::core::session::step_up::StepUp;
use crate::core::time::Timestamp;

/// How long a person may take at the authorization server.
pub const LIFETIME: Duration = Duration::from_secs(600);
/// How long a sign-in is under way before it is begun anew by itself: one that ended sooner did not expire,
/// and would go round in circles.
const NOT_BEGUN_ANEW: Duration = Duration::from_secs(10);
/// How many may be under way at once in one browser.
pub const MOST_UNDER_WAY: usize = 8;
/// How many bytes their cookies may have together: servers and proxies bound what a header may have.
pub const MOST_BYTES: usize = 6 * 1024;

const INFIX: &str = "-tx-";
/// The length of what a name has of the digest of the state: 96 bits.
const NAME_LEN: usize = 16;
/// 256 bits each for state, nonce and verifier.
const RANDOM_LEN: usize = 32;
/// How many bytes one needs that nobody can predict.
pub const RANDOM: usize = 3 * RANDOM_LEN;

/// A sign-in under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    pub state: SecretString,
    pub nonce: SecretString,
    /// RFC 7636.
    pub verifier: SecretString,
    /// Where it leads; read by [`super::return_to`].
    pub return_to: String,
    pub step_up: StepUp,
    pub began_at: Timestamp,
    /// Whom it was begun at; `None`: by a release that did not say so.
    pub at: Option<Registration>,
}

/// An application at an authorization server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    pub iss: String,
    pub client_id: String,
}

/// As it is sealed.
#[derive(Serialize, Deserialize)]
struct Form<'a> {
    state: &'a str,
    nonce: &'a str,
    verifier: &'a str,
    return_to: &'a str,
    acr_values: Vec<&'a str>,
    max_age: Option<u64>,
    began_at: Timestamp,
    #[serde(default)]
    iss: Option<&'a str>,
    #[serde(default)]
    client_id: Option<&'a str>,
}

impl Transaction {
    /// `random`: bits that nobody can predict.
    pub fn begin(
        client: &str,
        random: &Secret<[u8; RANDOM]>,
        return_to: String,
        step_up: StepUp,
        at: Registration,
        now: Timestamp,
    ) -> Self {
        let (state, rest) = random.expose().split_at(RANDOM_LEN);
        let (nonce, verifier) = rest.split_at(RANDOM_LEN);
        let text = |bytes| SecretString::new(URL_SAFE_NO_PAD.encode(bytes));
        Self {
            // The client's name is no secret, and says whose sign-in it was when nothing else does any more.
            state: SecretString::new(format!("{}.{client}", text(state).expose())),
            nonce: text(nonce),
            verifier: text(verifier),
            return_to,
            step_up,
            began_at: now,
            at: Some(at),
        }
    }

    /// Whether it was begun at another server, or for another application there: its code and verifier are
    /// none of these.
    pub fn is_of_another(&self, now: &Registration) -> bool {
        self.at.as_ref().is_some_and(|at| at != now)
    }

    /// Whether the browser comes back too late.
    pub fn is_over(&self, now: Timestamp) -> bool {
        now >= self.began_at.plus(LIFETIME)
    }

    /// Whether one that expired at the authorization server may begin anew by itself.
    pub fn may_begin_anew(&self, now: Timestamp) -> bool {
        now >= self.began_at.plus(NOT_BEGUN_ANEW)
    }

    /// The form that is sealed.
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        let form = Form {
            state: self.state.expose(),
            nonce: self.nonce.expose(),
            verifier: self.verifier.expose(),
            return_to: &self.return_to,
            acr_values: self.step_up.acr_values.iter().map(String::as_str).collect(),
            max_age: self.step_up.max_age.map(|age| age.as_secs()),
            began_at: self.began_at,
            iss: self.at.as_ref().map(|at| at.iss.as_str()),
            client_id: self.at.as_ref().map(|at| at.client_id.as_str()),
        };
        Secret::of_form(&form, 4096)
    }

    /// Reads what [`Self::to_bytes`] wrote; `None` for everything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let form: Form<'_> = rmp_serde::from_slice(bytes).ok()?;
        Some(Self {
            state: form.state.into(),
            nonce: form.nonce.into(),
            verifier: form.verifier.into(),
            return_to: form.return_to.to_owned(),
            step_up: StepUp {
                acr_values: form.acr_values.into_iter().map(ToOwned::to_owned).collect(),
                max_age: form.max_age.map(Duration::from_secs),
            },
            began_at: form.began_at,
            at: form.iss.zip(form.client_id).map(|(iss, client_id)| Registration {
                iss: iss.to_owned(),
                client_id: client_id.to_owned(),
            }),
        })
    }
}

/// The client that a state names. Anybody can write one: it says where to look, and nothing more.
pub fn client_named_by(state: &str) -> Option<&str> {
    state.split_once('.').map(|(_, client)| client)
}

/// What a state is called where it must not be shown: the same everywhere.
pub fn state_id(state: &SecretString) -> String {
    let mut id = String::with_capacity(64);
    // Writing to a text has no reason to fail.
    let _ = hex::write(&mut id, digest(&SHA256, state.expose().as_bytes()).as_ref());
    id
}

/// What the names of all transaction cookies of a client begin with.
pub fn cookie_prefix(client: &str) -> String {
    format!("{BY_HOST}{client}{INFIX}")
}

/// The name of the cookie that belongs to a state.
pub fn cookie_name(client: &str, state: &SecretString) -> String {
    let digest = URL_SAFE_NO_PAD.encode(digest(&SHA256, state.expose().as_bytes()));
    format!("{}{}", cookie_prefix(client), digest.get(..NAME_LEN).unwrap_or_default())
}

/// Whether a cookie of this name is a transaction's of the client.
pub fn is_named_for(name: &[u8], client: &str) -> bool {
    name.strip_prefix(BY_HOST.as_bytes())
        .and_then(|rest| rest.strip_prefix(client.as_bytes()))
        .is_some_and(|rest| rest.starts_with(INFIX.as_bytes()))
}

/// The attributes of a transaction cookie.
pub const fn attributes(name: &str) -> Attributes<'_> {
    Attributes { name, path: "/", same_site: "Lax" }
}

/// A transaction cookie that came along, whoever's sign-in it is.
#[derive(Clone, Copy, Debug)]
pub struct UnderWay<'a> {
    pub name: &'a str,
    /// The size of the whole cookie.
    pub bytes: usize,
    /// `None`: nobody can read it any more.
    pub began_at: Option<Timestamp>,
}

/// Which of the transactions that came along give way to a new one of `bytes`: the oldest, and before them
/// those that nobody can read any more, until neither are too many nor do they have too many bytes.
pub fn give_way<'a>(under_way: &[UnderWay<'a>], bytes: usize) -> Vec<&'a str> {
    let mut newest_first = under_way.to_vec();
    newest_first.sort_by_key(|transaction| std::cmp::Reverse(transaction.began_at));
    let (mut count, mut sum, mut giving_way) = (1, bytes, Vec::new());
    for transaction in newest_first {
        count += 1;
        sum = transaction.bytes.saturating_add(sum);
        if count > MOST_UNDER_WAY || sum > MOST_BYTES {
            giving_way.push(transaction.name);
        }
    }
    giving_way
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::session::{cookie, pkce};

    fn transaction() -> Transaction {
        let step_up = StepUp {
            acr_values: vec!["gold".into(), "silver".into()],
            max_age: Some(Duration::from_secs(300)),
        };
        let random = Secret::new(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let at = Registration { iss: "https://as.example".into(), client_id: "web-app".into() };
        Transaction::begin("web", &random, "/app?x=1".into(), step_up, at, Timestamp::from_secs(1000))
    }

    #[test]
    fn a_transaction_is_read_as_it_was_written() {
        let begun = transaction;
        let of_before = Transaction { at: None, ..begun() };
        for written in [begun(), Transaction { step_up: StepUp::default(), ..begun() }, of_before] {
            let bytes = written.to_bytes();
            assert_eq!(Transaction::from_bytes(bytes.expose()), Some(written));
            assert_eq!(Transaction::from_bytes(&bytes.expose()[..bytes.expose().len() - 1]), None);
        }
        bolero::check!().for_each(|bytes: &[u8]| drop(Transaction::from_bytes(bytes)));
    }

    #[test]
    fn state_nonce_and_verifier_have_nothing_in_common() {
        let Transaction { state, nonce, verifier, .. } = transaction();
        assert!(pkce::is_verifier(verifier.expose()));
        let (random, client) = state.expose().split_once('.').unwrap();
        assert_eq!((random.len(), nonce.expose().len(), client), (43, 43, "web"));
        assert!(random != nonce.expose() && nonce != verifier && random != verifier.expose());
        assert_eq!(client_named_by(state.expose()), Some("web"));
        assert_eq!(client_named_by("abc.a.b-c"), Some("a.b-c"));
        assert_eq!(client_named_by("abc"), None);
    }

    #[test]
    fn each_state_has_a_cookie_of_its_own() {
        let state = transaction().state;
        let name = cookie_name("web", &state);
        assert!(name.starts_with("__Host-Http-tollgate-web-tx-") && name.len() == 28 + NAME_LEN, "{name}");
        assert_ne!(name, cookie_name("web", &"another".into()));
        assert!(is_named_for(name.as_bytes(), "web") && !is_named_for(name.as_bytes(), "we"));
        for other in
            ["__Host-Http-tollgate-web", "__Host-Http-tollgate-web-t", "__host-http-tollgate-web-tx-a", ""]
        {
            assert!(!is_named_for(other.as_bytes(), "web"), "{other}");
        }
        let set = cookie::set(attributes(&name), "v", LIFETIME).unwrap();
        assert_eq!(set, format!("{name}=v; Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax"));
        assert_eq!(state_id(&state).len(), 64);
    }

    #[test]
    fn the_longest_way_back_and_the_longest_step_up_fit_a_cookie_together() {
        use crate::core::session::{return_to, step_up};
        let client = "c".repeat(64);
        let random = Secret::new([7; 96]);
        let step_up = StepUp {
            acr_values: vec!["a".repeat(step_up::LONGEST_ACR_VALUES)],
            max_age: Some(Duration::from_secs(u64::MAX)),
        };
        let at = Registration { iss: "i".repeat(100), client_id: "d".repeat(64) };
        let back = "b".repeat(return_to::LONGEST_RETURN_TO);
        let longest = Transaction::begin(&client, &random, back, step_up, at, Timestamp::from_secs(1 << 40));
        let name = cookie_name(&client, &longest.state);
        // Version, key, nonce and tag are sealed with it, as base64.
        let sealed = "s".repeat((longest.to_bytes().expose().len() + 33) * 4 / 3 + 1);
        assert!(cookie::set(attributes(&name), &sealed, LIFETIME).is_ok());
    }

    #[test]
    fn a_person_has_ten_minutes() {
        let transaction = transaction();
        assert!(!transaction.is_over(Timestamp::from_secs(1599)));
        assert!(transaction.is_over(Timestamp::from_secs(1600)));
    }

    #[test]
    fn the_ninth_sign_in_takes_the_place_of_the_oldest() {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let at = |second| Some(Timestamp::from_secs(second));
        let under_way: Vec<_> = names
            .iter()
            .zip([5, 4, 9, 8, 3, 7, 6, 2, 1])
            .map(|(name, second)| UnderWay { name, bytes: 500, began_at: at(second) })
            .collect();
        assert!(give_way(&under_way[..7], 500).is_empty());
        assert_eq!(give_way(&under_way[..8], 500), ["h"]);
        assert_eq!(give_way(&under_way, 500), ["h", "i"]);
        let mut with_unreadable = under_way[..7].to_vec();
        with_unreadable.push(UnderWay { name: "x", bytes: 500, began_at: None });
        assert_eq!(give_way(&with_unreadable, 500), ["x"]);
        // Of long ones there are fewer, so that all of them fit a header.
        assert_eq!(give_way(&under_way[..4], MOST_BYTES - 1_000), ["a", "b"]);
        assert_eq!(give_way(&under_way[..2], MOST_BYTES + 1), ["a", "b"]);
    }
}
