//! How long a system takes from its start to the first answer through it.

use std::time::Duration;

use crate::Failure;
use crate::asking::{ANSWER, PATH};
use crate::bench::Bench;
use crate::place::Place;
use crate::refusals;
use crate::results::Results;
use crate::systems::System;

/// Between two tries: short beside what is measured.
const PAUSE: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(30);

/// In ms.
pub(crate) const FIRST_ANSWER: &str = "ms to the first answer";

/// One system in one round. Its settings are there before.
///
/// # Errors
/// When it does not answer, or passes bad tokens.
pub(crate) fn measure(
    bench: &Bench<'_>,
    place: &Place,
    system: System,
    results: &mut Results,
) -> Result<(), Failure> {
    let token = bench.tokens.good(system.algorithm)?;
    let running = place.launch(system, &bench.upstream)?;
    let took = loop {
        // Until then connections are refused, or it may answer that it is not ready.
        let answer = running.get(PATH, Some(&token));
        let took = running.begun.elapsed();
        match answer {
            Ok(answer) if answer.status == 200 && answer.body == ANSWER => break took,
            _ if took > PATIENCE => return Err(format!("{}: no answer: {answer:?}", system.name).into()),
            _ => std::thread::sleep(PAUSE),
        }
    };
    refusals::check(&running, &bench.tokens)?;
    let milliseconds = took.as_secs_f64() * 1e3;
    println!(
        "round {:>2}  {:<46} {milliseconds:>7.1} ms to the first answer",
        results.rounds + 1,
        system.name
    );
    results.add(system.name, FIRST_ANSWER, milliseconds);
    Ok(())
}
