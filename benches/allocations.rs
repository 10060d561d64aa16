//! How often a judgement asks for memory, and for how much of it, each beside what it may ask for at most.
//! Ends with an error when one asks more often. Run by `make bench-core`.

#![allow(clippy::expect_used, reason = "a program for people who measure")]

mod in_memory;

use std::process::ExitCode;

use allocation_counter::measure;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};

use in_memory::{Gateway, request, token};

/// Judgements of each kind, of which the one that asks most often counts.
const REQUESTS: usize = 100;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let tokens: Vec<String> = (0..REQUESTS).map(|at| token(&key, at)).collect();
    let start = |more: &str| runtime.block_on(async { Gateway::start(&key, more) });
    let plain = start("");
    let asserts = start("identity: { assertion: { ttl: 1h } }");
    let asserts_each = start("identity: { assertion: { bind: request } }");
    let forgets = start("limits: { token_memory: 0 }");
    println!("{:<40} {:>6} {:>6} {:>8}", "allocations of a judgement", "most", "may", "bytes");
    // `may`: path and query; with an assertion also what signing and verifying take of their libraries.
    let kinds = [
        ("a known token", &plain, true, 2),
        ("  with an assertion for its upstream", &asserts, true, 2),
        ("  with one for each request", &asserts_each, true, 15),
        ("a new token", &forgets, false, 60),
    ];
    let mut all_hold = true;
    let before = token(&key, REQUESTS);
    for (name, gateway, is_known, may) in kinds {
        // What is made once for all, such as the counters of an issuer.
        gateway.admit(&request(REQUESTS, &before));
        let measured = tokens.iter().enumerate().map(|(at, token)| {
            let request = request(at, token);
            if is_known {
                gateway.admit(&request);
            }
            measure(|| gateway.admit(&request))
        });
        let most = measured.max_by_key(|one| one.count_total).expect("some requests");
        println!("{name:<40} {:>6} {may:>6} {:>8}", most.count_total, most.bytes_total);
        all_hold &= most.count_total <= may;
    }
    if all_hold { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
