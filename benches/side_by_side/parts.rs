//! What is measured of the systems, part by part: what a request costs, the same over TLS, an exchange, memory, and the start.

use serde::{Deserialize, Serialize};

use crate::asked::Asked;
use crate::place::{Place, Running, Upstream};
use crate::results::Results;
use crate::systems::{self, Program, System};
use crate::tokens::Tokens;
use crate::{Failure, exchange, memory, refusals, requests, startup};

#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub(crate) enum Part {
    Requests,
    Tls,
    Exchange,
    Memory,
    Start,
}

impl Part {
    pub(crate) const ALL: [Self; 5] = [Self::Requests, Self::Tls, Self::Exchange, Self::Memory, Self::Start];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::Tls => "tls",
            Self::Exchange => "exchange",
            Self::Memory => "memory",
            Self::Start => "start",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, Failure> {
        let found = Self::ALL.into_iter().find(|part| part.name() == name);
        found.ok_or_else(|| format!("no part {name}; there are {:?}", Self::ALL.map(Self::name)).into())
    }

    /// Whether once in three rounds is enough beside requests.
    pub(crate) const fn takes_long(self) -> bool {
        matches!(self, Self::Tls | Self::Memory)
    }

    pub(crate) fn systems(self) -> Vec<System> {
        match self {
            Self::Requests => systems::all(),
            Self::Tls => systems::few_over_tls().collect(),
            Self::Exchange => systems::exchanging(),
            Self::Memory => systems::few().collect(),
            Self::Start => systems::few_with_many_routes().collect(),
        }
    }
}

/// What all parts share.
pub(crate) struct Bench<'a> {
    pub(crate) asked: &'a Asked,
    pub(crate) tokens: Tokens,
    pub(crate) upstream: Upstream,
}

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
