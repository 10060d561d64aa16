//! The exchange under everything that can go wrong: one browser with several tabs, three replicas whose
//! clocks differ, one store, one authorization server that rotates and punishes reuse, a thief, and operators
//! who take back what the session belongs to; in virtual time, from a seed. What is driven is what the
//! gateway runs: the state machine of a family, its sealing and its record, with the steps of
//! `flows/exchange` and `flows/revoke` (read, decide, put if nobody was faster, then act) as single events,
//! so that any two steps of any two replicas can come in any order.
//!
//! A failure prints its seed; `TOLLGATE_SEED=n` runs that one alone.

#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "simulation/events.rs"]
mod events;
#[path = "simulation/list.rs"]
mod list;
#[path = "simulation/world.rs"]
mod world;

use std::collections::BTreeMap;

use world::{Faults, World};

/// How many schedules of how many steps each test drives, but for one: 5,060 in all.
const SCHEDULES: u64 = 500;
const STEPS: usize = 500;

/// Runs all schedules, or the one that was asked for. Gives the worlds at their ends.
fn run(faults: Faults) -> Vec<World> {
    run_for(faults, SCHEDULES, STEPS)
}

fn run_for(faults: Faults, schedules: u64, steps: usize) -> Vec<World> {
    let asked = std::env::var("TOLLGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = asked.map_or(0..schedules, |seed: u64| seed..seed + 1);
    seeds
        .map(|seed| {
            let mut world = World::new(seed, faults);
            let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(steps)));
            if let Err(panic) = run {
                eprintln!("seed {seed} with {faults:?}, after {} steps", world.steps);
                for (at, event) in &world.history {
                    let line: String = format!("{at}: {event:?}").chars().take(300).collect();
                    eprintln!("  {line}");
                }
                std::panic::resume_unwind(panic);
            }
            world
        })
        .collect()
}

/// What happened in all of them, so that no test passes because nothing did.
fn sum(worlds: &[World]) -> BTreeMap<&'static str, usize> {
    let mut sum = BTreeMap::new();
    for world in worlds {
        for (what, count) in &world.seen {
            *sum.entry(*what).or_default() += count;
        }
    }
    sum
}

fn happened(worlds: &[World], what: &[(&str, usize)]) {
    let sum = sum(worlds);
    for (name, at_least) in what {
        let found = sum.get(name).copied().unwrap_or(0);
        assert!(found >= *at_least || worlds.len() == 1, "{name}: {found}; of all: {sum:?}");
    }
}

#[test]
fn honest_tabs_stay_signed_in_on_replicas_whose_clocks_differ() {
    let worlds = run(Faults { losses: true, slow: true, ..Faults::NONE });
    let out = worlds.iter().filter(|world| world.signed_out).count();
    assert!(out <= worlds.len() / 50, "{out} sessions ended, all after three lost answers in a row");
    happened(
        &worlds,
        &[
            ("rotated", 4_000),
            ("coalesced", 5_000),
            ("answered again", 3_000),
            ("recovered", 300),
            ("token without cookie", 20),
            ("lost", 2_000),
            ("waited", 100),
            ("waited long", 50),
        ],
    );
}

#[test]
fn answers_that_went_bad_while_they_waited_make_nobody_a_thief() {
    let worlds = run(Faults { losses: true, slow: true, goes_bad: true, ..Faults::NONE });
    let out = worlds.iter().filter(|world| world.signed_out).count();
    assert!(out <= worlds.len() / 50, "{out} sessions ended, all after three lost answers in a row");
    happened(&worlds, &[("rotated", 4_000), ("withdrawn", 20), ("waited long", 50)]);
}

#[test]
fn replicas_that_die_and_stores_that_are_away_sign_nobody_out_without_need() {
    let worlds = run(Faults {
        losses: true,
        slow: true,
        kills: true,
        outages: true,
        dies_rotating: true,
        ..Faults::NONE
    });
    happened(
        &worlds,
        &[("rotated", 2_500), ("killed", 500), ("outage", 500), ("lease broken", 50), ("landed late", 20)],
    );
    let out = worlds.iter().filter(|world| world.signed_out).count();
    assert!(out < worlds.len() / 2 || worlds.len() == 1, "{out} sessions ended, all with an excuse");
}

#[test]
fn a_replica_that_alone_loses_the_store_costs_nobody_the_session() {
    let worlds = run(Faults { losses: true, slow: true, outages: true, ..Faults::NONE });
    let out = worlds.iter().filter(|world| world.signed_out).count();
    assert!(out <= worlds.len() / 25, "{out} sessions ended");
    happened(
        &worlds,
        &[("rotated", 4_000), ("outage", 500), ("lease broken", 1), ("landed late", 50), ("gave up", 1)],
    );
}

#[test]
fn a_server_that_does_not_rotate_is_asked_in_turn_all_the_same() {
    let worlds = run(Faults { losses: true, slow: true, kills: true, keeps_tokens: true, ..Faults::NONE });
    let out = worlds.iter().filter(|world| world.signed_out).count();
    assert!(out <= worlds.len() / 10, "{out} sessions ended, all after three lost answers in a row");
    happened(&worlds, &[("rotated", 4_500), ("killed", 500)]);
}

#[test]
fn a_generation_whose_receipt_was_proven_is_always_caught() {
    let worlds =
        run(Faults { losses: true, slow: true, kills: true, thief: true, goes_bad: true, ..Faults::NONE });
    happened(&worlds, &[("withdrawn", 10), ("stolen", 600), ("replay", 200), ("spent and refused", 200)]);
}

#[test]
fn polls_do_not_keep_a_session_and_uses_are_never_lost() {
    let worlds = run(Faults { losses: true, slow: true, polls: true, ..Faults::NONE });
    happened(&worlds, &[("use", 5_000), ("poll", 3_000), ("idle", 10)]);
}

#[test]
fn a_store_that_lost_all_goes_on_from_the_cookies() {
    let worlds = run(Faults { losses: true, slow: true, loses_store: true, ..Faults::NONE });
    let out = worlds.iter().filter(|world| world.signed_out).count();
    assert!(out <= worlds.len() * 2 / 5, "{out} sessions ended, all of browsers with an older cookie");
    happened(
        &worlds,
        &[
            ("store lost", 300),
            ("store lost without an excuse", 100),
            ("rotated after loss", 2_000),
            ("excuse used up", 50),
        ],
    );
}

#[test]
fn what_is_taken_back_is_taken_back_from_everybody_and_from_nobody_else() {
    let worlds = run(Faults { losses: true, slow: true, revocations: true, ..Faults::NONE });
    happened(
        &worlds,
        &[
            ("rotated", 3_000),
            ("signed in", 1_000),
            ("signed out", 700),
            ("sign-in refused", 300),
            ("sign-in refused late", 1),
            ("revoked", 1_000),
            ("lifted", 1_000),
            ("looked twice", 2_500),
            ("ended in the store", 500),
            ("named", 3_500),
            ("taken back when presented", 1_500),
            ("taken back in flight", 200),
            ("holder came", 2_000),
        ],
    );
}

#[test]
fn what_is_taken_back_stays_so_while_replicas_die_and_are_cut_off() {
    let worlds = run(Faults {
        losses: true,
        slow: true,
        kills: true,
        outages: true,
        revocations: true,
        ..Faults::NONE
    });
    happened(
        &worlds,
        &[
            ("rotated", 2_000),
            ("killed", 800),
            ("outage", 600),
            ("revoked", 800),
            ("lifted", 900),
            ("looked in vain", 500),
            ("looked twice", 2_000),
            ("ended in the store", 350),
            ("taken back in flight", 100),
            ("holder came", 1_500),
        ],
    );
}

#[test]
fn what_is_kept_of_a_session_is_bounded_whatever_is_asked_for_with_its_cookie() {
    let faults = Faults { thief: true, hoards: true, ..Faults::NONE };
    let worlds = run_for(faults, 60, 4_000);
    happened(&worlds, &[("rotated", 3_000), ("too many", 300), ("replay", 10)]);
}
