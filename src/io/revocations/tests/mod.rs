//! Every list under one suite, and what each promises of its own.

mod elsewhere;
mod embedded;
mod redis;
mod suite;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::core::revocation::{Change, Kind, Revocation, Rule, Target, TokenIdentity, Whose};
use crate::core::time::Timestamp;
use crate::core::token::id::TokenId;
use crate::flows::ports::{Clock as _, ListQuery, Listed, RevocationLog};
use crate::flows::testing::MemoryLog;
use crate::io::store::tests::{LONG, until};
use crate::io::system::SystemClock;
use crate::state::revocations::{Currency, Revocations};

const ISS: &str = "https://as.example";

fn now() -> Timestamp {
    SystemClock.now()
}

fn revocation(kind: Kind, value: impl std::fmt::Display, rule: Rule) -> Revocation {
    let target = Target { kind, whose: Whose::Of(ISS.to_owned()), value: value.to_string() };
    let until = Some(now().plus(Duration::from_secs(86_400)));
    Revocation { until, made_by: Some("a test".to_owned()), ..Revocation::new(target, rule, now()) }
}

fn jti(value: impl std::fmt::Display) -> Revocation {
    revocation(Kind::Jti, value, Rule::Outright)
}

fn block(value: impl std::fmt::Display) -> Revocation {
    revocation(Kind::Sub, value, Rule::Block)
}

/// What of this subject was issued `ago` seconds ago, or earlier.
fn before(value: impl std::fmt::Display, ago: u64) -> Revocation {
    revocation(Kind::Sub, value, Rule::Before(now().minus(Duration::from_secs(ago))))
}

fn tables() -> Arc<Revocations> {
    Arc::new(Revocations::new([7; 16]))
}

/// Whether what this names is refused, when it was issued so many seconds ago. Fails while nothing is known.
fn refuses_aged(tables: &Revocations, named: &Revocation, ago: u64, now: Timestamp) -> bool {
    assert!(is_current(tables));
    let of = |kind| (named.target.kind == kind).then_some(named.target.value.as_str());
    let issued_at = now.minus(Duration::from_secs(ago));
    let token = TokenIdentity {
        id: TokenId::from_bytes([1; 32]),
        iss: ISS,
        jti: of(Kind::Jti),
        sid: of(Kind::Sid),
        sub: of(Kind::Sub),
        client: None,
        kid: None,
        issued_at,
    };
    // Also at a moment to come, for which nobody says yet that the list is complete.
    tables.refuses_token(&tables.marks_of(&token), issued_at, now)
}

/// Whether a token of now is refused.
fn refuses(tables: &Revocations, named: &Revocation) -> bool {
    refuses_aged(tables, named, 0, now())
}

/// Follows for as long as the test runs, and waits until all is loaded.
async fn followed(log: &Arc<impl RevocationLog + 'static>) -> Arc<Revocations> {
    let tables = tables();
    follow(log, &tables);
    loaded(&tables).await;
    tables
}

fn follow(log: &Arc<impl RevocationLog + 'static>, tables: &Arc<Revocations>) {
    let (log, tables) = (log.clone(), tables.clone());
    tokio::spawn(async move { log.follow(tables).await });
}

async fn loaded(tables: &Revocations) {
    until("the list to be loaded", async || is_current(tables)).await;
}

fn is_current(tables: &Revocations) -> bool {
    matches!(tables.currency(now()), Currency::Current { .. })
}

async fn add(log: &dyn RevocationLog, revocations: impl IntoIterator<Item = Revocation>) {
    let changes: Vec<_> = revocations.into_iter().map(Change::Add).collect();
    append(log, &changes).await;
}

/// A busy machine may take longer than a call's second; to ask again does no harm.
async fn append(log: &dyn RevocationLog, changes: &[Change]) {
    until("an append", async || log.append(changes).await.is_ok()).await;
}

async fn lift(log: &dyn RevocationLog, revocation: &Revocation) {
    append(log, &[Change::Lift(revocation.clone())]).await;
}

/// All parts, one behind the other.
async fn all(log: &dyn RevocationLog, part: ListQuery) -> Vec<Revocation> {
    let (mut part, mut all, began) = (part, Vec::new(), Instant::now());
    loop {
        let Ok(Listed { revocations, next }) = log.list(&part).await else {
            // A file that is behind says so, on a busy machine.
            assert!(began.elapsed() < LONG);
            tokio::time::sleep(Duration::from_millis(2)).await;
            continue;
        };
        assert!(revocations.len() <= part.limit);
        all.extend(revocations);
        if next.is_none() {
            return all;
        }
        assert!(next > part.after && began.elapsed() < LONG);
        part.after = next;
    }
}

/// One that more than one can follow.
async fn keeps_every_promise(log: &Arc<impl RevocationLog + 'static>) {
    let tables = followed(log).await;
    suite::holds_for(&**log, &tables).await;
    let late = followed(log).await;
    suite::is_what_it_left(&late);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_list_of_the_flows_tests_keeps_every_promise_too() {
    keeps_every_promise(&Arc::new(MemoryLog::default())).await;
}
