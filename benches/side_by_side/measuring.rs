//! What is measured of the systems, part by part.

use crate::bench::Bench;
use crate::part::Part;
use crate::place::{Place, Running};
use crate::results::Results;
use crate::systems::{self, Program, System};
use crate::{Failure, exchange, memory, refusals, requests, startup};

/// A part that is measured.
#[derive(Debug)]
pub(crate) struct Measuring {
    pub(crate) part: Part,
    pub(crate) results: Results,
    place: Place,
    systems: Vec<System>,
    /// Those that run all the time; none where each figure takes a process of its own.
    running: Vec<Running>,
}

impl Measuring {
    /// Starts what is measured, and lets it show that it refuses what it must.
    pub(crate) fn begin(part: Part, bench: &Bench<'_>, place: &Place) -> Result<Self, Failure> {
        let place = place.within(part.name())?;
        let mut systems = part.systems();
        if let Some(text) = &bench.asked.only {
            systems.retain(|system| system.name.contains(text.as_str()) || systems::is_measure(system.name));
        }
        println!(
            "For {}, every system must pass a good token and refuse the bad ones it claims to check:",
            part.name()
        );
        let mut running = Vec::new();
        for system in &systems {
            let one = place.start(*system, &bench.upstream)?;
            if system.program == Program::TollgateExchanges {
                exchange::sign_in(&one)?;
                println!("  {:<46} refuses a cookie that was tampered with", system.name);
            } else {
                refusals::check(&one, &bench.tokens)?;
                println!("  {:<46} passes a good one, refuses {:?}", system.name, system.refuses);
            }
            running.push(one);
        }
        match part {
            Part::Requests | Part::Tls | Part::Exchange => {
                for one in &running {
                    requests::warm_up(bench, &place, one)?;
                }
            }
            Part::Memory | Part::Start => running.clear(),
        }
        let results = Results::new(&place, &systems, bench.asked.extent)?;
        Ok(Self { part, results, place, systems, running })
    }

    pub(crate) fn round(&mut self, round: usize, bench: &Bench<'_>) -> Result<(), Failure> {
        let Self { part, results, place, systems, running } = self;
        if *part == Part::Requests {
            results.verifications.push(bench.tokens.time_verifications()?);
        }
        for which in order(round, systems.len()) {
            let system = systems[which];
            match part {
                Part::Requests | Part::Tls | Part::Exchange => {
                    requests::measure(bench, place, &running[which], results)?
                }
                Part::Memory => memory::measure(bench, place, system, results)?,
                Part::Start => startup::measure(bench, place, system, results)?,
            }
        }
        results.rounds += 1;
        Ok(())
    }
}

/// Each round begins with another one, and every other round goes backwards.
fn order(round: usize, count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.rotate_left(round % count);
    if round % 2 == 1 {
        order.reverse();
    }
    order
}
