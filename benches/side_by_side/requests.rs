//! What a request costs: CPU time of a system's processes while it answers a load, by the requests that it
//! answered.

use std::time::{Duration, Instant};

use crate::Failure;
use crate::bench::Bench;
use crate::load;
use crate::place::{Place, Running};
use crate::results::Results;

/// Until each of the tokens was seen, so that those that are remembered are.
pub(crate) fn warm_up(bench: &Bench<'_>, place: &Place, running: &Running) -> Result<(), Failure> {
    for load in running.system.loads {
        let mut extent = bench.asked.extent;
        while load::send(running, *load, &bench.tokens, place, extent)? < load.tokens() {
            extent.seconds *= 2;
        }
    }
    Ok(())
}

/// One system in one round, under each of its loads.
pub(crate) fn measure(
    bench: &Bench<'_>,
    place: &Place,
    running: &Running,
    results: &mut Results,
) -> Result<(), Failure> {
    for load in running.system.loads {
        let verified = running.verified()?;
        let (before, begun) = (running.cpu_time()?, Instant::now());
        let sent = load::send(running, *load, &bench.tokens, place, bench.asked.extent)?;
        let took = begun.elapsed().as_secs_f64();
        // What it still does for these requests, such as writing its log, counts.
        std::thread::sleep(Duration::from_millis(50));
        let spent = running.cpu_time()?.saturating_sub(before).as_secs_f64();
        if let (Some(before), Some(after)) = (verified, running.verified()?) {
            running.system.expect_verified(sent, after - before)?;
        }
        let (microseconds, per_second, busy) = (spent * 1e6 / sent as f64, sent as f64 / took, spent / took);
        let name = running.system.name;
        println!(
            "round {:>2}  {name:<46} {:<16} {microseconds:>7.1} us {per_second:>8.0}/s  busy {:>3.0} %",
            results.rounds + 1,
            load.name(),
            busy * 100.0,
        );
        results.add(name, load.name(), microseconds);
        results.add(name, &format!("{}, a second", load.name()), per_second);
        results.add(name, &format!("{}, busy", load.name()), busy);
    }
    Ok(())
}
