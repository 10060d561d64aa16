//! What memory a system takes: under load, and for each connection that is kept without a request. The
//! kernel's part of a connection is not counted, as it is the same for all.
//!
//! Each figure is of a process of its own, which began for it: one that had more to do before may keep what
//! it does not need any more.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::Failure;
use crate::asking::{ANSWER, PATH, connect, head};
use crate::bench::Bench;
use crate::load;
use crate::place::{Place, Running};
use crate::refusals;
use crate::results::Results;
use crate::systems::{Load, System};

/// Connections that are kept without a request.
pub(crate) const IDLE: usize = 2000;
/// How often memory is looked at under load.
const LOOK: Duration = Duration::from_millis(50);
/// How long it must not have grown, to be as it stays.
const SETTLED: Duration = Duration::from_millis(300);

/// In MiB, the most that was seen.
pub(crate) const UNDER_LOAD: &str = "MiB under load";
/// In kB, for each of [`IDLE`] connections that had one request answered.
pub(crate) const AN_IDLE_CONNECTION: &str = "kB an idle connection";

/// One system in one round.
///
/// # Errors
/// When it passes bad tokens, or ends.
pub(crate) fn measure(
    bench: &Bench<'_>,
    place: &Place,
    system: System,
    results: &mut Results,
) -> Result<(), Failure> {
    let start = || -> Result<Running, Failure> {
        let running = place.start(system, &bench.upstream)?;
        refusals::check(&running, &bench.tokens)?;
        Ok(running)
    };
    let under_load = under_load(&start()?, bench, place)? as f64 / f64::from(1 << 20);
    let idle = idle(&start()?, &bench.tokens.good(system.algorithm)?)? / 1000.0;
    let (round, name) = (results.rounds + 1, system.name);
    println!(
        "round {round:>2}  {name:<46} {under_load:>7.1} MiB under load {idle:>7.1} kB an idle connection"
    );
    results.add(name, UNDER_LOAD, under_load);
    results.add(name, AN_IDLE_CONNECTION, idle);
    Ok(())
}

fn under_load(running: &Running, bench: &Bench<'_>, place: &Place) -> Result<u64, Failure> {
    std::thread::scope(|scope| {
        let load = scope.spawn(|| load::send(running, Load::One, &bench.tokens, place, bench.asked.extent));
        let mut most = 0;
        while !load.is_finished() {
            most = running.resident()?.max(most);
            std::thread::sleep(LOOK);
        }
        load.join().map_err(|_| "the load ended early")??;
        Ok(most)
    })
}

/// One after another, so that there is one connection to the upstream and what counts is the clients'.
fn idle(running: &Running, token: &str) -> Result<f64, Failure> {
    let before = settled(running)?;
    let mut kept = Vec::with_capacity(IDLE);
    for _ in 0..IDLE {
        kept.push(ask_and_keep(running, token)?);
    }
    let after = settled(running)?;
    Ok((after as f64 - before as f64) / kept.len() as f64)
}

fn ask_and_keep(running: &Running, token: &str) -> Result<TcpStream, Failure> {
    let mut stream = connect(running.address)?;
    stream.write_all(head(PATH, Some(token), "keep-alive").as_bytes())?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(ANSWER.as_bytes()) {
        match stream.read(&mut part)? {
            0 => return Err(format!("not kept: {}", String::from_utf8_lossy(&answer)).into()),
            length => answer.extend(&part[..length]),
        }
    }
    Ok(stream)
}

/// What it has once that does not grow any more.
fn settled(running: &Running) -> Result<u64, Failure> {
    let (mut most, mut since) = (running.resident()?, Instant::now());
    while since.elapsed() < SETTLED {
        std::thread::sleep(LOOK);
        let now = running.resident()?;
        if now > most {
            (most, since) = (now, Instant::now());
        }
    }
    running.resident()
}
