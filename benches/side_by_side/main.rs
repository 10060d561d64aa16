//! The price of the gate beside other gateways: CPU time a request of Tollgate, a bare pingora proxy, nginx,
//! HAProxy and Apache, one worker each, with the same requests for the same upstream in one run; and, of the
//! plain ones and Tollgate, the same over TLS, memory, and how long they take to start. Rounds are
//! interleaved, so that what else the machine does hits all; figures are divided by that of nginx as a plain
//! proxy, or of the bare proxy, in the same round. No system is measured before it has refused the tokens
//! that it claims to check.
//!
//! `make bench` fetches what is needed and runs this. The load stays on this machine.
//!
//! usage: side_by_side --gateways FOLDER [--rounds N] [--seconds N] [--connections N] [--only TEXT] [--write FOLDER]
//!                     [--part requests|tls|exchange|memory|start]... [--from FILE]
//!        side_by_side --from FILE [--write FOLDER]
//!
//! With `--part`, only these are measured; with `--from` too, the others are taken from that file.

#![allow(clippy::indexing_slicing, clippy::cast_precision_loss, reason = "a program for people who measure")]

mod asked;
mod asking;
mod bench;
mod chart;
mod exchange;
mod load;
mod measuring;
mod memory;
mod part;
mod place;
mod process;
mod refusals;
mod report;
mod requests;
mod results;
mod startup;
mod systems;
mod tables;
mod tls;
mod tokens;

use std::error::Error;
use std::path::Path;

use asked::{Asked, ROUNDS_TO_PUBLISH, asked};
use bench::Bench;
use measuring::Measuring;
use part::Part;
use place::Place;
use results::Run;
use tokens::{Algorithm, Tokens};

type Failure = Box<dyn Error + Send + Sync>;

/// The first argument with which this program is the load of handshakes.
const HANDSHAKES: &str = "handshakes";
/// Files that may be open: Tollgate keeps a quarter of them for other things, and a second one for each
/// connection.
const OPEN_FILES: u64 = 4 * memory::IDLE as u64;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((HANDSHAKES, rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return tls::send_handshakes(rest);
    }
    let asked = asked(arguments.into_iter())?;
    let mut run = asked.from.as_deref().map(Run::read).transpose()?.unwrap_or_default();
    if !asked.parts.is_empty() {
        run.0.extend(measure_in_a_folder(&asked)?.0);
        let file = std::env::current_exe()?.with_file_name(file_name(&run));
        run.save(&file)?;
        println!("Every round is in {}; `--from` that file shows it again.", file.display());
    }
    println!("\n{}", report::text(&run));
    let is_whole =
        |part: &Part| run.0.get(part).is_some_and(|results| results.systems.len() == part.systems().len());
    let is_long = run.0.get(&Part::Requests).is_some_and(|requests| requests.rounds >= ROUNDS_TO_PUBLISH);
    let publish = Part::ALL.iter().all(is_whole) && is_long;
    match asked.write.as_deref().or(publish.then(|| Path::new("docs"))) {
        Some(folder) => {
            report::write(&run, folder)?;
            println!("Written: performance.md and side-by-side.svg in {}.", folder.display());
        }
        None => println!("Not written into docs: that takes all of it and {ROUNDS_TO_PUBLISH} rounds."),
    }
    Ok(())
}

/// Some parts do not take the place of all.
fn file_name(run: &Run) -> String {
    let names: Vec<&str> = run.0.keys().map(|part| part.name()).collect();
    if names.len() == Part::ALL.len() {
        "side-by-side.json".to_owned()
    } else {
        format!("side-by-side-{}.json", names.join("-"))
    }
}

fn measure_in_a_folder(asked: &Asked) -> Result<Run, Failure> {
    let folder = std::env::temp_dir().join(format!("tollgate-side-by-side-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let run = measure(asked, &folder);
    match &run {
        Ok(_) => std::fs::remove_dir_all(&folder)?,
        Err(_) => eprintln!("What the systems wrote is in {}.", folder.display()),
    }
    run
}

fn measure(asked: &Asked, folder: &Path) -> Result<Run, Failure> {
    // For this program and, as they inherit it, all that it starts.
    let open_files = rlimit::increase_nofile_limit(OPEN_FILES)?;
    if asked.parts.contains(&Part::Memory) && open_files < OPEN_FILES {
        return Err(format!(
            "memory takes {OPEN_FILES} open files, and {open_files} are allowed (ulimit -n)"
        )
        .into());
    }
    println!("Making keys and {} tokens of each kind ...", tokens::MANY);
    let tokens = Tokens::make(folder)?;
    let place = Place::new(&asked.gateways, folder)?;
    let upstream = place.start_upstream(&tokens.good(Algorithm::Es256)?)?;
    let bench = Bench { asked, tokens, upstream };
    let mut parts = Vec::new();
    for part in Part::ALL {
        if asked.parts.contains(&part) {
            parts.push(Measuring::begin(part, &bench, &place)?);
        }
    }
    for round in 0..asked.rounds {
        for measuring in &mut parts {
            if round % asked.every(measuring.part) == 0 {
                measuring.round(round, &bench)?;
            }
        }
    }
    Ok(Run(parts.into_iter().map(|measuring| (measuring.part, measuring.results)).collect()))
}
