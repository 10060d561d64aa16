//! The price of the gate beside other gateways: CPU time a request of Tollgate, a bare pingora proxy, nginx,
//! HAProxy and Apache, one worker each, with the same requests for the same upstream in one run. Rounds are
//! interleaved, so that what else the machine does hits all; every figure is divided by that of nginx as a
//! plain proxy in the same round. No system is measured before it has refused the tokens that it claims to check.
//!
//! `make bench` fetches what is needed and runs this. The load stays on this machine.
//!
//! usage: side_by_side --gateways FOLDER [--rounds N] [--seconds N] [--connections N] [--only TEXT] [--write FOLDER]
//!        side_by_side --from FILE [--write FOLDER]

#![allow(clippy::indexing_slicing, clippy::cast_precision_loss, reason = "a program for people who measure")]

mod chart;
mod load;
mod process;
mod refusals;
mod report;
mod results;
mod systems;
mod tokens;

use std::error::Error;
use std::path::{Path, PathBuf};

use load::Load;
use results::{Results, Row};
use systems::Running;
use tokens::Tokens;

type Failure = Box<dyn Error + Send + Sync>;

/// From so many rounds on, figures may be shown to others.
const ROUNDS_TO_PUBLISH: usize = 15;

/// What was asked for.
#[derive(Debug)]
struct Asked {
    /// Where the other gateways were unpacked.
    gateways: PathBuf,
    rounds: usize,
    /// For each system and load in each round.
    seconds: u64,
    connections: usize,
    /// Only systems with this in their names, beside those that others are divided by.
    only: Option<String>,
    /// The folder of performance.md. Default: docs, from [`ROUNDS_TO_PUBLISH`] on.
    write: Option<PathBuf>,
    /// Figures of an earlier run, to be shown anew.
    from: Option<PathBuf>,
}

fn main() -> Result<(), Failure> {
    let asked = asked()?;
    let results = match &asked.from {
        Some(file) => Results::read(file)?,
        None => measure_in_a_folder(&asked)?,
    };
    println!("\n{}", report::text(&results));
    let publish = results.rounds >= ROUNDS_TO_PUBLISH && asked.only.is_none();
    match asked.write.as_deref().or(publish.then(|| Path::new("docs"))) {
        Some(folder) => {
            report::write(&results, folder)?;
            println!("Written: performance.md and side-by-side.svg in {}.", folder.display());
        }
        None => println!("Not written into docs: that takes all systems and {ROUNDS_TO_PUBLISH} rounds."),
    }
    Ok(())
}

fn asked() -> Result<Asked, Failure> {
    let mut asked = Asked {
        gateways: PathBuf::from(".tools/gateways"),
        rounds: ROUNDS_TO_PUBLISH,
        seconds: 2,
        connections: 64,
        only: None,
        write: None,
        from: None,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--gateways" => asked.gateways = value.into(),
            "--rounds" => asked.rounds = value.parse()?,
            "--seconds" => asked.seconds = value.parse()?,
            "--connections" => asked.connections = value.parse()?,
            "--only" => asked.only = Some(value),
            "--write" => asked.write = Some(value.into()),
            "--from" => asked.from = Some(value.into()),
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    Ok(asked)
}

fn measure_in_a_folder(asked: &Asked) -> Result<Results, Failure> {
    let folder = std::env::temp_dir().join(format!("tollgate-side-by-side-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let results = measure(asked, &folder);
    match &results {
        Ok(_) => std::fs::remove_dir_all(&folder)?,
        Err(_) => eprintln!("What the systems wrote is in {}.", folder.display()),
    }
    results
}

fn measure(asked: &Asked, folder: &Path) -> Result<Results, Failure> {
    println!("Making keys and {} tokens of each kind ...", tokens::MANY);
    let tokens = Tokens::make(folder)?;
    let place = systems::Place::new(&asked.gateways, folder)?;
    let upstream = place.start_upstream()?;
    let mut systems = Vec::new();
    for system in systems::all() {
        let is_asked = asked.only.as_ref().is_none_or(|text| system.name.contains(text.as_str()));
        if is_asked || systems::is_measure(system.name) {
            systems.push(place.start(system, &upstream)?);
        }
    }
    println!("Every system must pass a good token and refuse the bad ones it claims to check:");
    for running in &systems {
        refusals::check(running, &tokens)?;
    }
    for running in &systems {
        warm_up(asked, running, &tokens, &place)?;
    }
    let mut results = Results::new(&place, &systems, asked.rounds, asked.seconds, asked.connections)?;
    for round in 0..asked.rounds {
        results.verifications.push(tokens.time_verifications()?);
        // Each round begins with another one, and every other round goes backwards.
        let mut order: Vec<usize> = (0..systems.len()).collect();
        order.rotate_left(round % systems.len());
        if round % 2 == 1 {
            order.reverse();
        }
        for which in order {
            let running = &systems[which];
            for load in running.system.loads {
                let row = measure_one(asked, running, *load, &tokens, &place)?;
                println!(
                    "round {:>2}  {:<52} {:<14} {:>7.1} us {:>8.0}/s  busy {:>3.0} %",
                    round + 1,
                    running.system.name,
                    load.name(),
                    row.microseconds,
                    row.per_second,
                    row.busy * 100.0,
                );
                results.add(round, running.system.name, *load, row);
            }
        }
    }
    let raw = std::env::current_exe()?.with_file_name("side-by-side.json");
    results.save(&raw)?;
    println!("Every round is in {}; `--from` that file shows it again.", raw.display());
    Ok(results)
}

/// Until each of the tokens was seen, so that those that are remembered are.
fn warm_up(asked: &Asked, running: &Running, tokens: &Tokens, place: &systems::Place) -> Result<(), Failure> {
    for load in running.system.loads {
        let mut seconds = asked.seconds;
        while load::send(running, *load, tokens, place, seconds, asked.connections)? < load.tokens() {
            seconds *= 2;
        }
    }
    Ok(())
}

fn measure_one(
    asked: &Asked,
    running: &Running,
    load: Load,
    tokens: &Tokens,
    place: &systems::Place,
) -> Result<Row, Failure> {
    let verified = running.verified()?;
    let (before, begun) = (running.cpu_time()?, std::time::Instant::now());
    let sent = load::send(running, load, tokens, place, asked.seconds, asked.connections)?;
    let took = begun.elapsed();
    // What it still does for these requests, such as writing its log, counts.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let spent = running.cpu_time()?.saturating_sub(before);
    if let (Some(before), Some(after)) = (verified, running.verified()?) {
        running.system.expect_verified(sent, after - before)?;
    }
    Ok(Row {
        microseconds: spent.as_secs_f64() * 1e6 / sent as f64,
        per_second: sent as f64 / took.as_secs_f64(),
        busy: spent.as_secs_f64() / took.as_secs_f64(),
    })
}
