//! The session cookies that passed lately, for the button that replays an old one and for the one that
//! shows what the jar holds.
//!
//! A page names its session by the SHA-256 of an access token that it got: so it can ask about its own
//! session and no other. Memory is bounded; values are wiped when they go.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderMap, header};

use super::shorten;
use crate::core::secret::SecretString;
use crate::demo::browser::SetCookie;

const SESSIONS: usize = 32;
/// How many generations of a session are kept.
const GENERATIONS: usize = 6;
/// How many access tokens of a session are known by their hash.
const TOKENS: usize = 16;
/// Added to the gateway's window, so that nobody asks in its last moment.
const MARGIN: Duration = Duration::from_millis(200);

/// SHA-256 of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::demo) struct SessionDigest([u8; 32]);

impl SessionDigest {
    fn of(access_token: &str) -> Option<Self> {
        digest(&SHA256, access_token.as_bytes()).as_ref().try_into().ok().map(Self)
    }

    /// 64 hexadecimal digits.
    pub(in crate::demo) fn parse(text: &str) -> Option<Self> {
        let digits: Vec<u8> = text
            .chars()
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .filter_map(|pair| match pair {
                [high, low] => Some(high << 4 | low),
                _ => None,
            })
            .collect();
        bytes.try_into().ok().filter(|_| text.len() == 64).map(Self)
    }
}

/// The cookies of the sessions of one client.
#[derive(Debug)]
pub(in crate::demo) struct KeptCookies {
    /// The name of the session cookie.
    name: String,
    /// How long the gateway gives a generation its answer again.
    grace: Duration,
    sessions: Mutex<VecDeque<Session>>,
}

#[derive(Debug)]
struct Session {
    /// The oldest first.
    generations: VecDeque<Generation>,
    tokens: VecDeque<SessionDigest>,
    /// The attributes of the newest cookie: `Path=/oauth/token`, `HttpOnly`, …
    attributes: Vec<String>,
    /// How many cookies there were in all.
    count: usize,
}

#[derive(Debug)]
struct Generation {
    cookie: SecretString,
    came: Instant,
    presented: bool,
}

/// What the jar of a browser holds, as far as it may be shown.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::demo) struct Jar {
    pub(in crate::demo) name: String,
    /// Its first characters.
    pub(in crate::demo) value: String,
    /// The length of the whole value, in characters.
    pub(in crate::demo) length: usize,
    pub(in crate::demo) attributes: Vec<String>,
    /// Which cookie of its session it is, counted from 1.
    pub(in crate::demo) number: usize,
}

/// Whether there is a cookie that a thief could be caught with.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::demo) enum Old {
    /// No such session passed.
    Unknown,
    /// Every kept cookie is the newest, or the one before it: the session must go on first.
    SwapFirst,
    /// The gateway still takes it for a late tab of the same browser.
    Wait(Duration),
    Spent(SecretString),
}

impl KeptCookies {
    pub(in crate::demo) fn new(name: String, grace: Duration) -> Self {
        Self { name, grace, sessions: Mutex::default() }
    }

    pub(in crate::demo) fn name(&self) -> &str {
        &self.name
    }

    /// The session cookie of a request.
    pub(super) fn in_request<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        let fields = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
        fields
            .flat_map(|field| field.split(';'))
            .filter_map(|cookie| cookie.trim().split_once('='))
            .find_map(|(name, value)| (name == self.name).then_some(value))
    }

    /// Somebody presented this cookie.
    pub(super) fn presented(&self, cookie: &str) {
        for generation in self.sessions().iter_mut().flat_map(|session| &mut session.generations) {
            generation.presented |= generation.cookie.expose() == cookie;
        }
    }

    /// An answer to `presented` (`None`: to a sign-in) set a cookie and handed out a token.
    pub(super) fn came(&self, now: Instant, presented: Option<&str>, set: SetCookie, token: Option<&str>) {
        if set.name != self.name {
            return;
        }
        let mut sessions = self.sessions();
        let holds = |session: &Session, value: &str| {
            session.generations.iter().any(|generation| generation.cookie.expose() == value)
        };
        let of = presented.and_then(|value| sessions.iter().position(|session| holds(session, value)));
        if set.attribute("max-age").is_some_and(|age| age.starts_with('0') || age.starts_with('-')) {
            if let Some(at) = of {
                sessions.remove(at);
            }
            return;
        }
        let mut session = of.and_then(|at| sessions.remove(at)).unwrap_or_else(Session::new);
        if let Some(token) = token.and_then(SessionDigest::of).filter(|token| !session.tokens.contains(token))
        {
            push(&mut session.tokens, token, TOKENS);
        }
        if !holds(&session, &set.value) {
            session.count += 1;
            let generation = Generation { cookie: SecretString::new(set.value), came: now, presented: false };
            push(&mut session.generations, generation, GENERATIONS);
            session.attributes = set.attributes;
        }
        push(&mut sessions, session, SESSIONS);
    }

    /// What the jar of the browser with this session holds.
    pub(in crate::demo) fn jar(&self, session: SessionDigest) -> Option<Jar> {
        let sessions = self.sessions();
        let session = sessions.iter().find(|kept| kept.tokens.contains(&session))?;
        let value = session.generations.back()?.cookie.expose();
        Some(Jar {
            name: self.name.clone(),
            value: shorten::secret(value).into_owned(),
            length: value.len(),
            attributes: session.attributes.clone(),
            number: session.count,
        })
    }

    /// The oldest cookie of this session that is certainly spent: a later one was presented, and the time
    /// in which its answer is given again is over.
    pub(in crate::demo) fn old(&self, session: SessionDigest, now: Instant) -> Old {
        let sessions = self.sessions();
        let Some(session) = sessions.iter().find(|kept| kept.tokens.contains(&session)) else {
            return Old::Unknown;
        };
        let generations = &session.generations;
        let Some(newest_presented) = generations.iter().rposition(|generation| generation.presented) else {
            return Old::SwapFirst;
        };
        let successors = generations.iter().skip(1).take(newest_presented);
        let Some((old, successor)) = generations.iter().zip(successors).next() else { return Old::SwapFirst };
        let open = (self.grace + MARGIN).saturating_sub(now.saturating_duration_since(successor.came));
        if open.is_zero() { Old::Spent(old.cookie.clone()) } else { Old::Wait(open) }
    }

    fn sessions(&self) -> MutexGuard<'_, VecDeque<Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn new() -> Self {
        let (generations, tokens) = (VecDeque::new(), VecDeque::new());
        Self { generations, tokens, attributes: Vec::new(), count: 0 }
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T, most: usize) {
    queue.push_back(item);
    if queue.len() > most {
        queue.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    const GRACE: Duration = Duration::from_secs(3);

    fn set(value: &str) -> SetCookie {
        let text = format!("c={value}; Path=/oauth/token; HttpOnly; Max-Age=60");
        SetCookie::read(&HeaderValue::try_from(text).unwrap()).unwrap()
    }

    /// A request with `cookie`, and its answer with a new cookie and token.
    fn swap(kept: &KeptCookies, now: Instant, cookie: Option<&str>, new: &str, token: &str) {
        if let Some(cookie) = cookie {
            kept.presented(cookie);
        }
        kept.came(now, cookie, set(new), Some(token));
    }

    #[test]
    fn a_cookie_is_old_when_its_successor_was_used_and_its_window_is_over() {
        let (kept, now) = (KeptCookies::new("c".into(), GRACE), Instant::now());
        let session = SessionDigest::of("t1").unwrap();
        assert_eq!(kept.old(session, now), Old::Unknown);
        swap(&kept, now, None, "one", "t1");
        assert_eq!(kept.old(session, now), Old::SwapFirst);
        swap(&kept, now, Some("one"), "two", "t2");
        let later = now + GRACE + MARGIN;
        assert_eq!(kept.old(session, later), Old::SwapFirst, "two may never have arrived");
        swap(&kept, now, Some("one"), "two", "t2");
        assert_eq!(kept.old(session, later), Old::SwapFirst, "the same answer again proves nothing");
        swap(&kept, later, Some("two"), "three", "t3");
        assert_eq!(kept.old(session, now + GRACE), Old::Wait(MARGIN));
        assert_eq!(kept.old(session, later), Old::Spent("one".into()));
        assert_eq!(kept.old(SessionDigest::of("t3").unwrap(), later), Old::Spent("one".into()));
        assert_eq!(kept.old(SessionDigest::of("other").unwrap(), later), Old::Unknown);
    }

    #[test]
    fn the_jar_holds_the_newest_until_it_is_cleared() {
        let (kept, now) = (KeptCookies::new("c".into(), GRACE), Instant::now());
        swap(&kept, now, None, "0123456789-first", "t1");
        swap(&kept, now, Some("0123456789-first"), "9876543210-second", "t2");
        // Another session of the same browser, by a sign-in.
        swap(&kept, now, None, "abcdefghij-other", "u1");
        let jar = kept.jar(SessionDigest::of("t1").unwrap()).unwrap();
        assert_eq!((&*jar.name, &*jar.value, jar.length, jar.number), ("c", "9876543210…", 17, 2));
        assert_eq!(jar.attributes, ["Path=/oauth/token", "HttpOnly", "Max-Age=60"]);
        let clear = SetCookie::read(&HeaderValue::from_static("c=; Max-Age=0")).unwrap();
        kept.came(now, Some("9876543210-second"), clear, None);
        assert_eq!(kept.jar(SessionDigest::of("t1").unwrap()), None);
        assert!(kept.jar(SessionDigest::of("u1").unwrap()).is_some());
    }

    #[test]
    fn memory_is_bounded() {
        let (kept, now) = (KeptCookies::new("c".into(), GRACE), Instant::now());
        for session in 0..SESSIONS + 5 {
            swap(&kept, now, None, &format!("{session}-0"), "t");
            for at in 0..GENERATIONS + TOKENS {
                let (before, after) = (format!("{session}-{at}"), format!("{session}-{}", at + 1));
                swap(&kept, now, Some(&before), &after, &after);
            }
        }
        let sessions = kept.sessions();
        assert_eq!(sessions.len(), SESSIONS);
        for session in sessions.iter() {
            assert_eq!((session.generations.len(), session.tokens.len()), (GENERATIONS, TOKENS));
        }
    }

    #[test]
    fn a_session_is_named_by_64_digits() {
        let digest = SessionDigest::of("abc").unwrap();
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(SessionDigest::parse(text), Some(digest));
        assert_eq!(SessionDigest::parse(&text.to_uppercase()), Some(digest));
        for wrong in ["", "ba", &text[1..], &format!("{text}0"), &text.replace('b', "g"), &"é".repeat(32)] {
            assert_eq!(SessionDigest::parse(wrong), None, "{wrong}");
        }
    }
}
