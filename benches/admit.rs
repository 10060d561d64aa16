//! The price of a judgement, from the request's head to the permit: a token that is known, over ten thousand
//! of them and 256 paths, and one that was never seen; with assertions for upstreams and for requests. Beside
//! them what a judgement cannot do without: the fingerprint of the token's text, and one verification of its
//! signature, in rounds that take turns. What a request brings is in the cache, as it is when it has just
//! been read; what is remembered of ten thousand tokens is not. Run by `make bench-core`.

#![allow(clippy::expect_used, clippy::cast_precision_loss, reason = "a program for people who measure")]

mod in_memory;

use std::hint::black_box;
use std::time::Instant;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use mimalloc as _; // the allocator of the product
use tollgate::core::token::fingerprint::FingerprintKey;

use in_memory::{Gateway, request, token};

const TOKENS: usize = 10_000;
const ROUNDS: usize = 9;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
    let tokens: Vec<String> = (0..TOKENS).map(|at| token(&key, at)).collect();
    let each: Vec<(usize, &str)> = tokens.iter().map(String::as_str).enumerate().collect();

    let start = |more: &str| runtime.block_on(async { Gateway::start(&key, more) });
    let plain = start("limits: { token_memory: 256MiB }");
    let asserts = start("limits: { token_memory: 256MiB }\nidentity: { assertion: { ttl: 1h } }");
    let asserts_each = start("limits: { token_memory: 256MiB }\nidentity: { assertion: { bind: request } }");
    let forgets = start("limits: { token_memory: 0 }");
    for gateway in [&plain, &asserts, &asserts_each] {
        each.iter().for_each(|(at, token)| gateway.admit(&request(*at, token)));
    }
    let (public, signed) = (key.public_key().as_ref().to_vec(), parts(&tokens));

    let fingerprints = FingerprintKey::from_random(&[7; 32]);
    let again = vec![*each.first().expect("a token"); TOKENS / 10];
    let few = each.get(..500).expect("500 tokens");
    let admits = |gateway: &Gateway, each: &[(usize, &str)]| {
        time(each, |(at, token)| request(*at, token), |request| gateway.admit(request))
    };
    let mut measured: Vec<(&str, Vec<f64>)> = Vec::new();
    for _ in 0..ROUNDS {
        let mut note = |name, ns| match measured.iter_mut().find(|(known, _)| *known == name) {
            Some((_, all)) => all.push(ns),
            None => measured.push((name, vec![ns])),
        };
        note(
            "nothing: two readings of the clock",
            time(&tokens, String::clone, |token| {
                black_box(token);
            }),
        );
        note(
            "the fingerprint of its text",
            time(&tokens, String::clone, |token| {
                black_box(fingerprints.of(token));
            }),
        );
        note("one known token again and again", admits(&plain, &again));
        note("a known token", admits(&plain, &each));
        note("  with an assertion for its upstream", admits(&asserts, &each));
        note("  with one for each request", admits(&asserts_each, few));
        note("a new token", admits(&forgets, few));
        note(
            "one ES256 verification",
            time(signed.get(..500).expect("500"), Clone::clone, |(text, signature)| {
                let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &public);
                key.verify(text.as_bytes(), signature).expect("it holds");
            }),
        );
    }
    println!("{:<40} {:>10} {:>10} {:>8}", "nanoseconds", "least", "median", "ratio");
    let median = |all: &mut Vec<f64>| {
        all.sort_by(f64::total_cmp);
        (all.first().copied().unwrap_or_default(), all.get(ROUNDS / 2).copied().unwrap_or_default())
    };
    let (_, base) = measured
        .iter_mut()
        .find(|(name, _)| *name == "a known token")
        .map(|(_, all)| median(all))
        .expect("it");
    for (name, all) in &mut measured {
        let (least, median) = median(all);
        println!("{name:<40} {least:>10.0} {median:>10.0} {:>8.2}", median / base);
    }
    let (count, bytes) = plain.gate.verified_tokens.held();
    println!(
        "{count} tokens of {} bytes in {} KiB of memory",
        tokens.first().map_or(0, String::len),
        bytes / 1024
    );
}

fn parts(tokens: &[String]) -> Vec<(String, Vec<u8>)> {
    let split = |token: &String| {
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        (signed.to_owned(), URL_SAFE_NO_PAD.decode(signature).expect("base64url"))
    };
    tokens.iter().map(split).collect()
}

/// Nanoseconds for each, by the clock: the median of single ones, so that what else the machine does hardly
/// counts. What it works on is made just before and dropped behind, so that it lies in the cache as what has
/// just been read from a socket does, and ten thousand requests that wait for their turn push nothing out of
/// it.
fn time<T, M>(of: &[T], make: impl Fn(&T) -> M, each: impl Fn(&M)) -> f64 {
    let mut took: Vec<u64> = of
        .iter()
        .map(|one| {
            let made = black_box(make(one));
            let began = Instant::now();
            each(&made);
            u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX)
        })
        .collect();
    took.sort_unstable();
    took.get(took.len() / 2).map_or(0.0, |median| *median as f64)
}
