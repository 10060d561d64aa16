//! Which sessions a revocation names. A session's record is kept by its family; beside it an index in the
//! store says which families belong to a `sid`, a subject, or a `client`. Every session is indexed by its
//! subject and its `sid`, even if its first access token names them: later tokens may not, and a watermark
//! may lie before them. By client it is indexed only if the first token does not name the client: an index of
//! all sessions of a client costs too much, so later tokens that omit it are not reached before they expire.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};

use crate::core::digest::of_parts;
use crate::core::hex;
use crate::core::ids::FamilyId;
use crate::core::revocation::{Kind, Target, Whose};
use crate::core::session::exchange::{Family, Issued, Now, REPLICA_CLOCK_SKEW, SLACK};
use crate::core::session::grant::{Grant, Timeouts};
use crate::core::session_end::SessionEnd;
use crate::core::time::Timestamp;
use crate::core::token::verified::VerifiedToken;
use crate::flows::Gate;
use crate::flows::family::record::try_to_change_known;
use crate::flows::ports::{Clock, Keep, Store, StoreFault, StoreKey, Value, Version};
use crate::flows::revoke::{RETRY, name_tokens};
use crate::state::live::Live;

/// How often a change is tried that others were faster than.
const ATTEMPTS: usize = 100;
/// The most sessions that are known of one person, or of one session at an issuer; beyond, the oldest ends.
/// Whoever signs in again and again must not make everybody's store slow.
pub(in crate::flows) const MOST_SESSIONS: usize = 4096;
/// How many are ended with one sign-in: it waits for them.
const AT_ONCE: usize = 8;
/// The shortest lifetime of an index: an empty one is kept for an instant.
const AT_LEAST: Duration = Duration::from_secs(1);
/// A client has many sessions: their index is cut into so many parts, by family.
const PARTS: u8 = 64;

/// One session of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    family: [u8; 16],
    /// Its last access token may live so long.
    until: Timestamp,
}

/// What is named: kind, issuer, value, and in how many parts its index is.
fn key(kind: Kind, iss: &str, value: &str, part: u8) -> StoreKey {
    let digest = of_parts(&[kind.label().as_bytes(), iss.as_bytes(), value.as_bytes(), &[part]]);
    let mut id = String::with_capacity(64);
    // A text takes all that is written to it.
    let _ = hex::write(&mut id, &digest);
    StoreKey::new("families", id)
}

const fn part_of(kind: Kind, family: FamilyId) -> u8 {
    match kind {
        Kind::Client => family.as_bytes()[0] % PARTS,
        _ => 0,
    }
}

/// Notes by what a session is found that is new, or that the store has lost. `token`: the access token that
/// is about to be handed out, where it was found good here. `most`: how many one person may have,
/// [`MOST_SESSIONS`]. To note once more what is noted writes nothing.
///
/// # Errors
/// The store failed: without the note a revocation would not find the session's tokens.
pub(in crate::flows) async fn note(
    gate: &Gate,
    live: &Live,
    grant: &Grant,
    token: Option<&VerifiedToken>,
    timeouts: Timeouts,
    most: usize,
) -> Result<(), StoreFault> {
    let until = until(live, grant, timeouts);
    let subject = grant.subject.as_ref().map(|subject| subject.sub.as_str());
    let facts = [
        (Kind::Sid, grant.session_id.as_deref(), None),
        (Kind::Sub, subject, None),
        (Kind::Client, Some(grant.client_id.as_str()), token.and_then(VerifiedToken::client)),
    ];
    for (kind, value, said) in facts {
        if let Some(value) = value.filter(|value| said != Some(value)) {
            let key = key(kind, &grant.iss, value, part_of(kind, grant.family));
            let most = if kind == Kind::Client { usize::MAX } else { most };
            add(gate, &key, Entry { family: *grant.family.as_bytes(), until }, most).await?;
        }
    }
    Ok(())
}

/// Notes the other name of a session's person: what the ID token calls them, which upstreams and pages may be
/// told, and logout tokens and operators use.
///
/// # Errors
/// As [`note`].
pub(in crate::flows) async fn note_other_name(
    gate: &Gate,
    live: &Live,
    grant: &Grant,
    name: &str,
    timeouts: Timeouts,
) -> Result<(), StoreFault> {
    let key = key(Kind::Sub, &grant.iss, name, 0);
    let until = until(live, grant, timeouts);
    add(gate, &key, Entry { family: *grant.family.as_bytes(), until }, MOST_SESSIONS).await
}

/// How long a session's last access token may live.
fn until(live: &Live, grant: &Grant, timeouts: Timeouts) -> Timestamp {
    let longest = live.settings.issuers.iter().map(|issuer| issuer.rules.max_token_lifetime).max();
    grant.signed_in_at.plus(timeouts.absolute).plus(longest.unwrap_or_default()).plus(SLACK)
}

/// What a session is found by beside what its grant says.
#[derive(Clone, Copy, Debug)]
pub(in crate::flows) struct FoundBy<'a> {
    pub(in crate::flows) token: Option<&'a VerifiedToken>,
    /// See [`note_other_name`].
    pub(in crate::flows) other_name: Option<&'a str>,
}

/// As [`note`] and [`note_other_name`], of one whose record the store had lost, so that its index may be lost
/// too, or whose person was not called so before; through an outage of this length.
///
/// # Errors
/// As [`note`].
pub(in crate::flows) async fn note_again(
    gate: &Gate,
    live: &Live,
    grant: &Grant,
    FoundBy { token, other_name }: FoundBy<'_>,
    timeouts: Timeouts,
    outage: Duration,
) -> Result<(), StoreFault> {
    let until = Instant::now() + outage;
    let mut pause = RETRY.first;
    loop {
        let noted = async {
            note(gate, live, grant, token, timeouts, MOST_SESSIONS).await?;
            match other_name {
                Some(name) => note_other_name(gate, live, grant, name, timeouts).await,
                None => Ok(()),
            }
        };
        match noted.await {
            Err(_) if Instant::now() < until => {}
            noted => return noted,
        }
        sleep(pause).await;
        pause = RETRY.after(pause);
    }
}

/// Those for which there is no room among so many end, a few at once.
async fn add(gate: &Gate, key: &StoreKey, new: Entry, most: usize) -> Result<(), StoreFault> {
    for _ in 0..ATTEMPTS {
        let found = gate.store.get(key).await?;
        let now = gate.clock.now();
        let expected = found.value.as_ref().map(|(version, _)| *version);
        let mut entries = found.value.map(|(_, bytes)| read(key, &bytes)).transpose()?.unwrap_or_default();
        let is_noted = entries.iter().any(|known| known.family == new.family && known.until >= new.until);
        if is_noted && entries.len() <= most {
            return Ok(());
        }
        entries.retain(|entry| now < entry.until && entry.family != new.family);
        entries.push(new);
        // In the order in which they were noted. They end before they are forgotten.
        let too_many = entries.len().saturating_sub(most).min(AT_ONCE);
        for oldest in entries.drain(..too_many) {
            tracing::warn!("somebody has so many sessions that the oldest is ended");
            let oldest = FamilyId::from_bytes(oldest.family);
            let issued = end(&*gate.store, &*gate.clock, oldest, None).await?;
            name_tokens(gate, &issued.unwrap_or_default()).await?;
        }
        if put(gate, key, expected, &entries).await? {
            return Ok(());
        }
    }
    Err(StoreFault::Unavailable("an index of sessions is changed too often".to_owned()))
}

/// A session was signed out, and all that it handed out was taken back: nothing of it is to be found any
/// more. What cannot be taken out now goes with its time. `other_name`: see [`note_other_name`].
pub(in crate::flows) async fn forget(gate: &Gate, grant: &Grant, other_name: Option<&str>) {
    let subject = grant.subject.as_ref().map(|subject| subject.sub.as_str());
    let facts = [(Kind::Sid, grant.session_id.as_deref()), (Kind::Sub, subject), (Kind::Sub, other_name)];
    for (kind, value) in facts {
        if let Some(value) = value {
            let _ = take_out(gate, &key(kind, &grant.iss, value, 0), &BTreeSet::from([grant.family])).await;
        }
    }
}

/// The same of sessions that a revocation has ended: whoever asks for it again looks for what came since, and
/// not once more for each that ever was.
pub(super) async fn forget_ended(gate: &Gate, live: &Live, target: &Target, ended: &BTreeSet<FamilyId>) {
    if !ended.is_empty() && matches!(target.kind, Kind::Sid | Kind::Sub) {
        for key in keys(live, target) {
            let _ = take_out(gate, &key, ended).await;
        }
    }
}

async fn take_out(gate: &Gate, key: &StoreKey, families: &BTreeSet<FamilyId>) -> Result<(), StoreFault> {
    for _ in 0..ATTEMPTS {
        let Some((version, bytes)) = gate.store.get(key).await?.value else { return Ok(()) };
        let mut entries = read(key, &bytes)?;
        let before = entries.len();
        entries.retain(|entry| !families.contains(&FamilyId::from_bytes(entry.family)));
        if entries.len() == before || put(gate, key, Some(version), &entries).await? {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether nobody was faster.
async fn put(
    gate: &Gate,
    key: &StoreKey,
    expected: Option<Version>,
    entries: &[Entry],
) -> Result<bool, StoreFault> {
    let now = gate.clock.now();
    let last = entries.iter().map(|entry| entry.until.since(now)).max().unwrap_or_default();
    let bytes = rmp_serde::to_vec(entries)
        .map_err(|error| StoreFault::Unavailable(format!("an index cannot be written: {error}")))?;
    let value = Value { bytes: bytes.into(), lifetime: last.max(AT_LEAST), keep: Keep::Durably };
    Ok(gate.store.put_if(key, expected, value).await?.is_some())
}

fn read(key: &StoreKey, bytes: &Bytes) -> Result<Vec<Entry>, StoreFault> {
    rmp_serde::from_slice(bytes).map_err(|_| {
        StoreFault::Unavailable(format!("this release cannot read what the store has under {}", key.as_str()))
    })
}

/// The store that knows which sessions there are: the memory of this process, where that stands in while the
/// store is away (`on_outage: serve`), knows none of them, and would have nothing to end.
pub(in crate::flows) fn shared(gate: &Gate) -> &dyn Store {
    gate.store.shared().unwrap_or(&*gate.store)
}

/// The sessions that the indexes have for what is named; and, where one of these cannot be read, the fault,
/// beside those of the others.
pub(super) async fn families(
    gate: &Gate,
    live: &Live,
    target: &Target,
) -> (Vec<FamilyId>, Result<(), StoreFault>) {
    let (mut families, mut told) = (Vec::new(), Ok(()));
    for key in keys(live, target) {
        let found = shared(gate).get(&key).await.and_then(|found| match found.value {
            Some((_, bytes)) => read(&key, &bytes),
            None => Ok(Vec::new()),
        });
        match found {
            Ok(found) => families.extend(found.into_iter().map(|entry| FamilyId::from_bytes(entry.family))),
            Err(StoreFault::Deadline) => return (families, Err(StoreFault::Deadline)),
            Err(fault) => told = told.and(Err(fault)),
        }
    }
    (families, told)
}

/// The indexes of what is named.
fn keys(live: &Live, target: &Target) -> Vec<StoreKey> {
    let issuers: Vec<&str> = match &target.whose {
        Whose::Of(iss) => vec![iss],
        Whose::All => live.settings.issuers.iter().map(|issuer| issuer.rules.iss.as_str()).collect(),
    };
    let parts = if target.kind == Kind::Client { PARTS } else { 1 };
    let key_of = |iss, part| key(target.kind, iss, &target.value, part);
    issuers.into_iter().flat_map(|iss| (0..parts).map(move |part| key_of(iss, part))).collect()
}

/// Ends a session, unless it began after `before`, and gives the access tokens that it handed out by then;
/// `None`: it goes on, or nobody knows it. Its refresh token is revoked at the AS when its holder next comes.
/// One that is dated further ahead than the clocks of replicas may differ began before this clock was set
/// back, and so was the clock by which `before` was said: it ends.
///
/// # Errors
/// The store failed.
pub(super) async fn end(
    store: &dyn Store,
    clock: &dyn Clock,
    family: FamilyId,
    before: Option<Timestamp>,
) -> Result<Option<Vec<Issued>>, StoreFault> {
    let step = |known: &mut Family, now: Now| {
        let began_later = before.is_some_and(|before| known.signed_in_at().as_secs() > before.as_secs());
        let is_ahead = known.signed_in_at() > now.here.plus(REPLICA_CLOCK_SKEW);
        if began_later && !is_ahead {
            return None;
        }
        if known.over().is_none() {
            known.end(SessionEnd::Revoked, None);
        }
        Some(known.issued().to_vec())
    };
    try_to_change_known(store, clock, family, || None, step).await.map(Option::flatten)
}
