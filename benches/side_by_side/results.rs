//! What was measured: every figure of every round, as it is kept in a file and shown.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::load::Extent;
use crate::part::Part;
use crate::place::Place;
use crate::systems::{self, BARE, Group, Load, NGINX, System};
use crate::tokens::Algorithm;

/// What one run measured, or several, by its parts.
#[derive(Debug, Default, Deserialize, Serialize)]
pub(crate) struct Run(pub(crate) BTreeMap<Part, Results>);

impl Run {
    pub(crate) fn read(file: &Path) -> Result<Self, Failure> {
        Ok(serde_json::from_slice(&std::fs::read(file)?)?)
    }

    pub(crate) fn save(&self, file: &Path) -> Result<(), Failure> {
        Ok(std::fs::write(file, serde_json::to_vec_pretty(self)?)?)
    }
}

/// One part of a run.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) rounds: usize,
    pub(crate) seconds: u64,
    pub(crate) connections: usize,
    /// As each program says.
    pub(crate) versions: Vec<String>,
    /// The names of the systems, in the order of the tables.
    pub(crate) systems: Vec<String>,
    /// For each round: how long aws-lc takes for one signature, as `Algorithm::ALL`.
    pub(crate) verifications: Vec<[f64; 3]>,
    /// By system and what was measured of it: for each round.
    measured: BTreeMap<String, Vec<f64>>,
}

/// Least, middle and greatest of several rounds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) least: f64,
    pub(crate) median: f64,
    pub(crate) greatest: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { least, median, greatest })
    }
}

impl Results {
    pub(crate) fn new(place: &Place, systems: &[System], extent: Extent) -> Result<Self, Failure> {
        Ok(Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string()[..10].to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            rounds: 0,
            seconds: extent.seconds,
            connections: extent.connections,
            versions: versions(place),
            systems: systems.iter().map(|system| system.name.to_owned()).collect(),
            verifications: Vec::new(),
            measured: BTreeMap::new(),
        })
    }

    /// The systems that were measured, with the groups that they stand in.
    pub(crate) fn rows(&self) -> Vec<(&'static str, Group)> {
        let was_measured = |name: &str| self.systems.iter().any(|measured| measured == name);
        let all = systems::all().into_iter();
        all.filter(|system| was_measured(system.name)).map(|system| (system.name, system.group)).collect()
    }

    /// One figure of one system in this round.
    pub(crate) fn add(&mut self, system: &str, what: &str, figure: f64) {
        self.measured.entry(key(system, what)).or_default().push(figure);
    }

    fn figures(&self, system: &str, what: &str) -> &[f64] {
        self.measured.get(&key(system, what)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn spread(&self, system: &str, what: &str) -> Option<Spread> {
        Spread::of(self.figures(system, what).iter().copied())
    }

    /// Divided by the same of another in the same round.
    pub(crate) fn ratio_to(&self, measure: &str, system: &str, what: &str) -> Option<Spread> {
        let pairs = self.figures(system, what).iter().zip(self.figures(measure, what));
        Spread::of(pairs.map(|(figure, measure)| figure / measure))
    }

    /// CPU time a request divided by that of nginx in the same round.
    pub(crate) fn ratio(&self, system: &str, load: Load) -> Option<Spread> {
        self.ratio_to(NGINX, system, load.name())
    }

    /// What it takes more than a bare proxy in the same round, in microseconds.
    pub(crate) fn beyond_bare(&self, system: &str, load: Load) -> Option<Spread> {
        let pairs = self.figures(system, load.name()).iter().zip(self.figures(BARE, load.name()));
        Spread::of(pairs.map(|(figure, bare)| figure - bare))
    }

    /// One signature's verification, in microseconds.
    pub(crate) fn verification(&self, algorithm: Algorithm) -> Option<Spread> {
        let at = Algorithm::ALL.iter().position(|one| *one == algorithm)?;
        Spread::of(self.verifications.iter().map(|round| round[at]))
    }
}

fn key(system: &str, what: &str) -> String {
    format!("{system} / {what}")
}

/// The first line of what each program says of itself.
fn versions(place: &Place) -> Vec<String> {
    let ask = |program: &str, argument: &str| {
        let output = Command::new(place.gateways.join(program))
            .arg(argument)
            .env("LD_LIBRARY_PATH", place.libraries())
            .output()
            .ok()?;
        let said = [output.stdout, output.stderr].concat();
        let line = String::from_utf8_lossy(&said).lines().next()?.to_owned();
        // `nginx version: nginx/1.22.1`, `HAProxy version 2.6.12-1+deb12u3 2025/10/03 - …`
        line.split([' ', '/']).find(|word| word.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned)
    };
    [
        ("nginx", "usr/sbin/nginx", "-v"),
        ("HAProxy", "usr/sbin/haproxy", "-v"),
        ("Apache", "usr/sbin/apache2", "-v"),
    ]
    .into_iter()
    .filter_map(|(name, program, argument)| Some(format!("{name} {}", ask(program, argument)?)))
    .collect()
}
