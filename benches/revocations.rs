//! The price of asking whether something was revoked: a lookup, and the memory of an entry, with millions of
//! `jti` and a thousand of each other kind. Run by `make bench-revocations`. Each size has a process of its
//! own, so that the memory of one does not hide in what another gave back. Then what a start takes with a
//! list of so many on the disk.
//!
//! What a lookup costs is what it finds in a cache. So each is asked for two sets of tokens: ten thousand, as
//! many as are in use at once, and a million, of which each comes for the first time in a long while, so that
//! no cache has what the tables say of it. The marks of a token are warm in both: the gateway has just read
//! or made them.
//!
//! usage: revocations [--sizes N,N,…] [--load N,N,…]

#![allow(
    clippy::expect_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a program for people who measure"
)]

use std::hint::black_box;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tollgate::core::revocation::marks::{Mark, Pair};
use tollgate::core::revocation::{Change, Kind, Revocation, Rule, Target, TokenIdentity, Whose};
use tollgate::core::time::Timestamp;
use tollgate::core::token::id::TokenId;
use tollgate::flows::ports::{Clock as _, Exclusive as _, RevocationLog as _};
use tollgate::io::revocations::embedded::EmbeddedLog;
use tollgate::io::system::SystemClock;
use tollgate::state::revocations::{Currency, Revocations};

/// What the promise names: two sizes just before and after a table grows, and one between.
const SIZES: [usize; 3] = [7_500_000, 10_000_000, 14_000_000];
/// Of every other kind.
const OTHERS: usize = 1_000;
const ISS: &str = "https://login.example.com/realms/main";
const NOW: Timestamp = Timestamp::from_secs(1_764_100_000);
/// Tokens that are asked for, in no order: few enough to be in a cache, and too many.
const IN_USE: usize = 10_000;
const ASKED: usize = 1_000_000;
const ROUNDS: usize = 9;
/// Lists that are loaded, and how often.
const LOADS: [usize; 1] = [1_000_000];
const STARTS: usize = 3;

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at.saturating_add(1)).cloned()
    };
    if let Some(size) = after("--one") {
        return one(size.parse().expect("a number"));
    }
    if let Some(size) = after("--load-one") {
        return load(size.parse().expect("a number"));
    }
    let numbers = |name: &str, usual: &[usize]| match after(name).as_deref() {
        None => usual.to_vec(),
        Some("none") => Vec::new(),
        Some(list) => {
            list.split(',').map(|size| size.parse().expect("numbers with commas between")).collect()
        }
    };
    let run = |what: &str, size: usize| {
        let own = std::env::current_exe().expect("this program");
        let ran = Command::new(own).args([what, &size.to_string()]).status().expect("this program runs");
        assert!(ran.success());
    };
    println!("Nanoseconds of processor a lookup, least and median of {ROUNDS} rounds.");
    println!("             a good token                    a revoked one");
    println!(
        "       jti   in use         cold             in use         cold             bytes  making 1 M"
    );
    for size in std::iter::once(0).chain(numbers("--sizes", &SIZES)) {
        run("--one", size);
    }
    println!(
        "\nSeconds until a list on the disk is loaded at a start, and of processors, each the least of {STARTS}."
    );
    println!("   entries   opening   loading   on processors");
    for size in numbers("--load", &LOADS) {
        run("--load-one", size);
    }
}

fn one(size: usize) {
    let tables = Revocations::new([7; 16]);
    tables.mark_complete();
    let before = resident();
    let began = on_processor();
    (0..size).for_each(|at| add(&tables, Kind::Jti, &format!("token-{at}")));
    let took = on_processor() - began;
    let bytes = resident().saturating_sub(before) as f64 / size.max(1) as f64;
    if size > 0 {
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Jti) {
            (0..OTHERS).for_each(|at| add(&tables, kind, &format!("{}-{at}", kind.label())));
        }
    }
    let good = times(&tables, |at| format!("other-{at}"));
    let revoked = if size > 0 {
        times(&tables, |at| format!("token-{}", at.wrapping_mul(7_368_787) % size))
    } else {
        format!("{:30}", "-")
    };
    let per_million = took / 1e3 / size.max(1) as f64;
    println!("{size:>10}   {good}   {revoked}   {bytes:>5.1}   {per_million:>7.2} s");
}

fn add(tables: &Revocations, kind: Kind, value: &str) {
    tables.apply(&[entry(kind, value)]);
}

fn entry(kind: Kind, value: &str) -> Change {
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
    let until = Some(NOW.plus(Duration::from_secs(10 * 365 * 86_400)));
    Change::Add(Revocation { until, ..Revocation::new(target, rule, NOW) })
}

/// What asking for these tokens takes, for few of them and for many.
fn times(tables: &Revocations, jti: impl Fn(usize) -> String) -> String {
    let marks_of = |at| {
        let jti = jti(at);
        let facts = TokenIdentity {
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
    };
    // What is the same in all of them stays in a cache, and of what is not only the marks are kept: they come
    // in a row.
    let mut marks = marks_of(0);
    let own: Vec<(Mark, Option<Pair>)> =
        (0..ASKED).map(marks_of).map(|marks| (marks.token, marks.jti)).collect();
    let mut time = |own: &[(Mark, Option<Pair>)]| {
        let mut rounds: Vec<f64> = (0..ROUNDS)
            .map(|_| {
                let began = on_processor();
                for _ in 0..ASKED / own.len() {
                    for (token, jti) in own {
                        (marks.token, marks.jti) = (*token, *jti);
                        let _ = black_box(tables.admit_token(black_box(&marks), NOW, NOW));
                    }
                }
                (on_processor() - began) / ASKED as f64
            })
            .collect();
        rounds.sort_by(f64::total_cmp);
        let of = |at: usize| rounds.get(at).copied().unwrap_or_default();
        format!("{:>4.0} to {:>4.0}", of(0), of(ROUNDS / 2))
    };
    let in_use = time(own.get(..IN_USE).unwrap_or_default());
    format!("{in_use}   {}", time(&own))
}

/// What a start takes with `size` entries in the file of a single replica.
fn load(size: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let open = || EmbeddedLog::open(folder.path(), Arc::new(SystemClock)).expect("the file opens");
    let log = open();
    let numbers: Vec<usize> = (0..size).collect();
    for part in numbers.chunks(10_000) {
        let changes: Vec<Change> = part.iter().map(|at| entry(Kind::Jti, &format!("token-{at}"))).collect();
        runtime.block_on(log.append(&changes)).expect("they are written");
    }
    runtime.block_on(log.close()).expect("it closes");
    drop(log);
    let mut least = [f64::MAX; 3];
    for _ in 0..STARTS {
        let (began, of_processors) = (Instant::now(), of_process());
        let log = open();
        let opened = began.elapsed().as_secs_f64();
        let tables = Arc::new(Revocations::new([7; 16]));
        log.load(&tables);
        while tables.currency(SystemClock.now()) == Currency::Unknown {
            std::thread::sleep(Duration::from_millis(1));
        }
        let took = [opened, began.elapsed().as_secs_f64() - opened, of_process() - of_processors];
        assert_eq!(tables.count(Kind::Jti), size);
        runtime.block_on(log.close()).expect("it closes");
        for (least, took) in least.iter_mut().zip(took) {
            *least = least.min(took);
        }
    }
    let [opening, loading, on_processors] = least;
    println!("{size:>10}   {opening:>7.2}   {loading:>7.2}   {on_processors:>13.2}");
}

/// Seconds that the threads of this process had processors.
fn of_process() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let ticks = |at| text.rsplit(") ").next()?.split(' ').nth(at)?.parse::<f64>().ok();
    (ticks(11).expect("its own") + ticks(12).expect("the system's")) / 100.0
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
