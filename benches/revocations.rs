//! The price of asking whether something was revoked: a lookup, and the memory of an entry, with millions of `jti` and a
//! thousand of each other kind. Run by `make bench-revocations`. Each size has a process of its own, so that the memory
//! of one does not hide in what another gave back.
//!
//! usage: revocations [--sizes N,N,…]

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a program for people who measure"
)]

use std::hint::black_box;
use std::process::Command;
use std::time::{Duration, Instant};

use tollgate::core::revocation::marks::TokenMarks;
use tollgate::core::revocation::{Change, Kind, Revocation, Rule, Target, TokenFacts, Whose};
use tollgate::core::time::Timestamp;
use tollgate::core::token::id::TokenId;
use tollgate::state::revocations::Revocations;

/// What the promise names: two sizes just before and after a table grows, and one between.
const SIZES: [usize; 3] = [7_500_000, 10_000_000, 14_000_000];
/// Of every other kind.
const OTHERS: usize = 1_000;
const ISS: &str = "https://login.example.com/realms/main";
const NOW: Timestamp = Timestamp::from_secs(1_764_100_000);
/// Tokens that are asked for, in no order; too many for a cache to have their entries.
const ASKED: usize = 1_000_000;
const ROUNDS: usize = 7;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at.saturating_add(1)).cloned()
    };
    if let Some(size) = after("--one") {
        return one(size.parse().expect("a number"));
    }
    let sizes = after("--sizes").map_or(SIZES.to_vec(), |list| {
        list.split(',').map(|size| size.parse().expect("numbers with commas between")).collect()
    });
    println!("       jti   revoked ns   others ns   bytes an entry   making 1 M s");
    for size in std::iter::once(0).chain(sizes) {
        let own = std::env::current_exe().expect("this program");
        let ran = Command::new(own).args(["--one", &size.to_string()]).status().expect("this program runs");
        assert!(ran.success());
    }
}

fn one(size: usize) {
    let tables = Revocations::new([7; 16]);
    tables.is_complete(Instant::now(), None);
    let before = resident();
    let began = Instant::now();
    (0..size).for_each(|at| add(&tables, Kind::Jti, &format!("token-{at}")));
    let took = began.elapsed();
    let bytes = resident().saturating_sub(before) as f64 / size.max(1) as f64;
    if size > 0 {
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Jti) {
            (0..OTHERS).for_each(|at| add(&tables, kind, &format!("{}-{at}", kind.label())));
        }
    }
    let revoked = time(&tables, |at| format!("token-{}", at.wrapping_mul(7_368_787) % size.max(1)));
    let others = time(&tables, |at| format!("other-{at}"));
    let per_million = took.as_secs_f64() * 1e6 / size.max(1) as f64;
    let revoked = if size > 0 { format!("{revoked:.0}") } else { "-".to_owned() };
    println!("{size:>10}   {revoked:>10}   {others:>9.0}   {bytes:>14.1}   {per_million:>12.2}");
}

fn add(tables: &Revocations, kind: Kind, value: &str) {
    let id = TokenId::of(ISS, Some(value), "");
    let target = match kind {
        Kind::Token => Target::token(id),
        Kind::Family => Target {
            kind,
            whose: Whose::All,
            value: format!("{:032x}", u128::from_be_bytes(*id.as_bytes().first_chunk().expect("32 bytes"))),
        },
        Kind::Issuer => Target { kind, whose: Whose::All, value: value.to_owned() },
        _ => Target { kind, whose: Whose::Of(ISS.to_owned()), value: value.to_owned() },
    };
    let rule = if kind.takes_before() { Rule::Before(NOW) } else { Rule::Outright };
    let until = Some(NOW.plus(Duration::from_secs(86_400)));
    let revocation = Revocation { target, rule, until, made_at: NOW, made_by: None, reason: None };
    tables.apply(&[Change::Add(revocation)]);
}

/// The median of nanoseconds a lookup. The marks are made before, as for a token that was verified.
fn time(tables: &Revocations, jti: impl Fn(usize) -> String) -> f64 {
    let marks: Vec<TokenMarks> = (0..ASKED)
        .map(|at| {
            let jti = jti(at);
            let facts = TokenFacts {
                id: TokenId::of(ISS, Some(&jti), ""),
                iss: ISS,
                jti: Some(&jti),
                sid: Some("some session"),
                sub: Some("somebody"),
                client: Some("web-app"),
                kid: Some("2026-11"),
                issued_at: NOW,
            };
            tables.marks_of(&facts)
        })
        .collect();
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let began = on_processor();
            for marks in &marks {
                let _ = black_box(tables.admit_token(black_box(marks), NOW, NOW));
            }
            (on_processor() - began) / ASKED as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}

/// Nanoseconds that this thread had a processor: what else the machine does does not count.
fn on_processor() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    text.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).expect("its first number")
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: usize =
        text.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("its second number");
    pages * 4096
}
