//! The tables of what is measured beside requests in clear text: TLS, an exchange, memory, start.

use std::fmt::Write as _;

use crate::memory::{AN_IDLE_CONNECTION, IDLE, UNDER_LOAD};
use crate::results::{Results, Spread};
use crate::startup::FIRST_ANSWER;
use crate::systems::{BARE, EXCHANGES, KNOWN, Load, MANY_ROUTES, STREAMS};
use crate::tls::CIPHER_SUITE;

pub(crate) fn over_tls(results: &Results) -> String {
    let Results { date, rounds, seconds, connections, .. } = results;
    let mut text = format!(
        "### Over TLS\n\n\
         One known token, {connections} requests at a time, all with one certificate (ECDSA, P-256), TLS 1.3, {CIPHER_SUITE} \
         and X25519: kept connections of HTTP/1.1 (wrk), HTTP/2 with {STREAMS} requests at a time on each connection (h2load), and \
         a new connection with a full handshake, never resumed, for each of {} requests at a time. {date}, {} of {seconds} s \
         for each.\n\n\
         | over TLS | | CPU time a request, nginx = 1 | least to greatest | bare proxy = 1 | least to greatest | CPU |\n\
         |---|---|---|---|---|---|---|\n",
        connections.div_ceil(STREAMS),
        of_rounds(*rounds),
    );
    for load in Load::OVER_TLS {
        for name in &results.systems {
            let what = load.name();
            let Some(all) = results.spread(name, what) else { continue };
            let _ = writeln!(
                text,
                "| {what} | {} | {} | {} | {:.0} µs |",
                shown(name),
                ratio(results.ratio(name, *load)),
                ratio(beside_bare(results, name, what)),
                all.median,
            );
        }
    }
    text
}

pub(crate) fn exchange(results: &Results) -> String {
    let Results { date, rounds, seconds, connections, .. } = results;
    let mut text = format!(
        "### An exchange\n\n\
         `POST /oauth/token` with one cookie over {connections} connections, as tabs of one browser ask: the authorization server is asked \
         once, and all get its answer; beside a request with a token that the bare proxy passes on. {date}, {} of {seconds} s for each.\n\n\
         | | CPU | least to greatest |\n|---|---|---|\n",
        of_rounds(*rounds),
    );
    for (name, load) in [(BARE, Load::One), (EXCHANGES, Load::Exchanges)] {
        if let Some(Spread { least, median, greatest }) = results.spread(name, load.name()) {
            let _ = writeln!(text, "| {} | {median:.0} µs | {least:.0} to {greatest:.0} |", shown(name));
        }
    }
    text
}

pub(crate) fn memory(results: &Results) -> String {
    let Results { date, rounds, seconds, connections, .. } = results;
    let mut text = format!(
        "### Memory\n\n\
         The most that is resident while one token is sent over {connections} connections for {seconds} s; and how much more it is \
         with {IDLE} idle connections, each of which had one request answered, than before, by their number. Each time in a \
         process that began for it. Resident is `Rss` of `/proc/PID/smaps_rollup`; what nginx's two processes have in common \
         counts once, and what the kernel takes for sockets not at all. {date}, {}.\n",
        of_rounds(*rounds),
    );
    for (what, unit) in [(UNDER_LOAD, "MiB"), (AN_IDLE_CONNECTION, "kB")] {
        let heading = what.trim_start_matches(unit).trim_start();
        let _ = writeln!(
            text,
            "\n| {heading} | {unit} | least to greatest | bare proxy = 1 | least to greatest |\n|---|---|---|---|---|"
        );
        for name in &results.systems {
            let Some(all) = results.spread(name, what) else { continue };
            let (shown, ratio) = (shown(name), ratio(beside_bare(results, name, what)));
            let _ = writeln!(
                text,
                "| {shown} | {:.1} | {:.1} to {:.1} | {ratio} |",
                all.median, all.least, all.greatest
            );
        }
    }
    text
}

pub(crate) fn start(results: &Results) -> String {
    let mut text = format!(
        "### Start\n\n\
         From the start of the process to the first answer of the upstream through it; Tollgate with {MANY_ROUTES} routes and a \
         store that is there already. {}, {}.\n\n\
         | to the first answer | ms | least to greatest | bare proxy = 1 | least to greatest |\n|---|---|---|---|---|\n",
        results.date,
        of_rounds(results.rounds),
    );
    for name in &results.systems {
        let Some(all) = results.spread(name, FIRST_ANSWER) else { continue };
        let name_shown =
            if name == KNOWN { format!("**Tollgate, {MANY_ROUTES} routes**") } else { shown(name) };
        let _ = writeln!(
            text,
            "| {name_shown} | {:.0} | {:.0} to {:.0} | {} |",
            all.median,
            all.least,
            all.greatest,
            ratio(beside_bare(results, name, FIRST_ANSWER)),
        );
    }
    text
}

fn of_rounds(rounds: usize) -> String {
    if rounds == 1 { "1 round".to_owned() } else { format!("{rounds} rounds") }
}

/// Only Tollgate is compared with what it is built on.
fn beside_bare(results: &Results, name: &str, what: &str) -> Option<Spread> {
    if name == KNOWN { results.ratio_to(BARE, name, what) } else { None }
}

fn ratio(spread: Option<Spread>) -> String {
    spread.map_or_else(
        || " | ".to_owned(),
        |Spread { least, median, greatest }| format!("{median:.2} | {least:.2} to {greatest:.2}"),
    )
}

fn shown(name: &str) -> String {
    if [KNOWN, EXCHANGES].contains(&name) { format!("**{name}**") } else { name.to_owned() }
}
