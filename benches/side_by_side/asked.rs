//! What was asked for on the command line.

use std::path::PathBuf;

use crate::Failure;
use crate::load::Extent;
use crate::part::Part;

/// From so many rounds on, figures may be shown to others.
pub(crate) const ROUNDS_TO_PUBLISH: usize = 15;

#[derive(Debug)]
pub(crate) struct Asked {
    /// Where the other gateways were unpacked.
    pub(crate) gateways: PathBuf,
    pub(crate) rounds: usize,
    /// For each system and load in each round.
    pub(crate) extent: Extent,
    /// Only systems with this in their names, beside those that others are divided by.
    pub(crate) only: Option<String>,
    /// What is measured. None of it when figures are shown only.
    pub(crate) parts: Vec<Part>,
    /// The folder of performance.md. Default: docs, when that is worth it.
    pub(crate) write: Option<PathBuf>,
    /// Figures of an earlier run, for the parts that are not measured.
    pub(crate) from: Option<PathBuf>,
}

pub(crate) fn asked(mut arguments: impl Iterator<Item = String>) -> Result<Asked, Failure> {
    let mut asked = Asked {
        gateways: PathBuf::from(".tools/gateways"),
        rounds: ROUNDS_TO_PUBLISH,
        extent: Extent { seconds: 2, connections: 64 },
        only: None,
        parts: Vec::new(),
        write: None,
        from: None,
    };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match name.as_str() {
            "--gateways" => asked.gateways = value.into(),
            "--rounds" => asked.rounds = value.parse()?,
            "--seconds" => asked.extent.seconds = value.parse()?,
            "--connections" => asked.extent.connections = value.parse()?,
            "--only" => asked.only = Some(value),
            "--part" => asked.parts.push(Part::named(&value)?),
            "--write" => asked.write = Some(value.into()),
            "--from" => asked.from = Some(value.into()),
            _ => return Err(format!("unknown option {name}").into()),
        }
    }
    if asked.parts.is_empty() && asked.from.is_none() {
        asked.parts = Part::ALL.to_vec();
    }
    Ok(asked)
}

impl Asked {
    /// Beside requests, what takes long is measured in one of three rounds.
    pub(crate) fn every(&self, part: Part) -> usize {
        if part.takes_long() && self.parts.contains(&Part::Requests) { 3 } else { 1 }
    }
}
