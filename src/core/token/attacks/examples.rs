//! The examples of the standards: what verifies them here is not what made them. RFC 7515 appendices A,
//! E and F, RFC 7797 section 4.2, RFC 7520 sections 3 and 4, RFC 8037 appendix A; of HS384 and HS512, which
//! none of these sign with, RFC 4231.

use super::*;

/// What RFC 7515 signs in A.1 to A.3: the claims of `joe`, who expired in 2011.
const JOE: &str =
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
const A1_HEADER: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
const A1_KEY: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
const A2_MODULUS: &str = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const A2_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
const A3_SIGNATURE: &str =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

fn a3_key() -> Value {
    json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"})
}

fn set_of(jwk: Value) -> KeySet {
    let (set, skipped) = KeySet::parse(&jwks(&[jwk])).unwrap();
    assert_eq!(skipped, []);
    set
}

/// Whether the one key of the set made the signature, the last part, over the two before it; and no other.
#[track_caller]
fn holds(set: &KeySet, algorithm: Algorithm, token: &str) {
    let (text, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let key = set.candidates(None, algorithm).unwrap().next().unwrap();
    assert!(key.signed(algorithm, text.as_bytes(), &signature), "{}", algorithm.name());
    assert!(!key.signed(algorithm, &text.as_bytes()[1..], &signature));
    let mut flipped = signature.clone();
    flipped[signature.len() / 2] ^= 1;
    assert!(!key.signed(algorithm, text.as_bytes(), &flipped));
    for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
        assert!(!key.signed(other, text.as_bytes(), &signature), "as {}", other.name());
    }
}

#[test]
fn the_signatures_of_rfc_7515_hold() {
    let a1 = format!("{A1_HEADER}.{JOE}.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk");
    let secret =
        KeySet::shared_secret(&URL_SAFE_NO_PAD.decode(A1_KEY).unwrap(), &[Algorithm::Hs256]).unwrap();
    let a2 = format!("eyJhbGciOiJSUzI1NiJ9.{JOE}.{A2_SIGNATURE}");
    let rsa = set_of(json!({"kty": "RSA", "n": A2_MODULUS, "e": "AQAB"}));
    let a3 = format!("eyJhbGciOiJFUzI1NiJ9.{JOE}.{A3_SIGNATURE}");
    let ec = set_of(a3_key());
    for (set, algorithm, token) in
        [(&secret, Algorithm::Hs256, &a1), (&rsa, Algorithm::Rs256, &a2), (&ec, Algorithm::Es256, &a3)]
    {
        holds(set, algorithm, token);
        // In form they are tokens; what they say is no access token of ours.
        let joe = TokenRules { iss: "joe".to_owned(), algorithms: Algorithm::ALL.to_vec(), ..rules() };
        assert_eq!(Unverified::parse(token, 8192).unwrap().iss(), "joe");
        let judged = Unverified::parse(token, 8192).unwrap().verify(set, &joe, NOW);
        let denial = judged.unwrap_err().denial;
        assert!(matches!(denial, Denial::TokenMalformed(why) if why.contains("(iat)")), "{denial:?}");
    }
}

#[test]
fn the_p_521_signatures_of_rfc_7515_and_rfc_7520_hold() {
    let a4 = json!({"kty": "EC", "crv": "P-521",
        "x": "AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk",
        "y": "ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"});
    let bilbo = json!({"kty": "EC", "kid": BILBO, "use": "sig", "crv": "P-521",
        "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt",
        "y": "AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"});
    holds(
        &set_of(a4),
        Algorithm::Es512,
        "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
    );
    let token = format!(
        "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{FRODO}.AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2"
    );
    holds(&set_of(bilbo.clone()), Algorithm::Es512, &token);
    refused(&token, &MALFORMED);
    let short = with(
        bilbo,
        json!({ "x": "AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5c" }),
    );
    assert!(KeySet::parse(&jwks(&[short])).unwrap().0.is_empty());
}

#[test]
fn the_unsecured_the_critical_and_the_detached_examples_are_refused() {
    // RFC 7515 A.5, appendix E, appendix F; RFC 7797 section 4.2.
    refused(&format!("eyJhbGciOiJub25lIn0.{JOE}."), &Denial::AlgorithmNotAllowed);
    refused(
        "eyJhbGciOiJub25lIiwNCiAiY3JpdCI6WyJodHRwOi8vZXhhbXBsZS5jb20vVU5ERUZJTkVEIl0sDQogImh0dHA6Ly9leGFtcGxlLmNvbS9VTkRFRklORUQiOnRydWUNCn0.RkFJTA.",
        &Denial::UnsupportedHeader,
    );
    refused(&format!("eyJhbGciOiJFUzI1NiJ9..{A3_SIGNATURE}"), &MALFORMED);
    refused(
        "eyJhbGciOiJIUzI1NiIsImI2NCI6ZmFsc2UsImNyaXQiOlsiYjY0Il19..A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY",
        &Denial::UnsupportedHeader,
    );
}

#[test]
fn the_json_serializations_of_rfc_7515_are_refused() {
    // A.6 and A.7: RFC 7519 section 7.2 lets a JWT be compact only.
    let es256 = json!({"protected": "eyJhbGciOiJFUzI1NiJ9",
        "header": {"kid": "e9bc097a-ce51-4036-9562-d2ade882db0d"}, "signature": A3_SIGNATURE});
    let rs256 = json!({"protected": "eyJhbGciOiJSUzI1NiJ9", "header": {"kid": "2010-12-29"},
        "signature": A2_SIGNATURE});
    let general = json!({"payload": JOE, "signatures": [rs256, es256]});
    let flattened = with(es256, json!({ "payload": JOE }));
    for text in [general.to_string(), flattened.to_string(), format!("{flattened:#}")] {
        refused(&text, &MALFORMED);
    }
}

const BILBO: &str = "bilbo.baggins@hobbiton.example";
/// What RFC 7520 section 4 signs: a sentence, and so never claims.
const FRODO: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";

fn bilbos_rsa_key() -> Value {
    json!({"kty": "RSA", "kid": BILBO, "use": "sig", "e": "AQAB",
        "n": "n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"})
}

#[test]
fn the_signatures_of_rfc_7520_hold() {
    let rs256 = format!(
        "eyJhbGciOiJSUzI1NiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{FRODO}.MRjdkly7_-oTPTS3AXP41iQIGKa80A0ZmTuV5MEaHoxnW2e5CZ5NlKtainoFmKZopdHM1O2U4mwzJdQx996ivp83xuglII7PNDi84wnB-BDkoBwA78185hX-Es4JIwmDLJK3lfWRa-XtL0RnltuYv746iYTh_qHRD68BNt1uSNCrUCTJDt5aAE6x8wW1Kt9eRo4QPocSadnHXFxnt8Is9UzpERV0ePPQdLuW3IS_de3xyIrDaLGdjluPxUAhb6L2aXic1U12podGU0KLUQSE_oI-ZnmKJ3F4uOZDnd6QZWJushZ41Axf_fcIe8u9ipH84ogoree7vjbU5y18kDquDg"
    );
    let ps384 = format!(
        "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.{FRODO}.cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw"
    );
    let hs256 = format!(
        "eyJhbGciOiJIUzI1NiIsImtpZCI6IjAxOGMwYWU1LTRkOWItNDcxYi1iZmQ2LWVlZjMxNGJjNzAzNyJ9.{FRODO}.s0h6KThzkfBBBkLspW1h84VsJZFTsPPqMDA7g1Md7p0"
    );
    let secret = URL_SAFE_NO_PAD.decode("hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg").unwrap();
    let (rsa, secret) =
        (set_of(bilbos_rsa_key()), KeySet::shared_secret(&secret, &[Algorithm::Hs256]).unwrap());
    holds(&rsa, Algorithm::Rs256, &rs256);
    holds(&rsa, Algorithm::Ps384, &ps384);
    holds(&secret, Algorithm::Hs256, &hs256);
    for token in [rs256, ps384, hs256] {
        refused(&token, &MALFORMED);
    }
}

#[test]
fn the_macs_of_rfc_4231_hold() {
    // Section 4.7: of its keys the first that is long enough.
    let message = b"Test Using Larger Than Block-Size Key - Hash Key First";
    let set = KeySet::shared_secret(&[0xaa; 131], &OF_A_SECRET).unwrap();
    for (algorithm, mac) in [
        (Algorithm::Hs256, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"),
        (
            Algorithm::Hs384,
            "4ece084485813e9088d2c63a041bc5b44f9ef1012a2b588f3cd11f05033ac4c60c2ef6ab4030fe8296248df163f44952",
        ),
        (
            Algorithm::Hs512,
            "80b24263c7c1a3ebb71493c1dd7be8b49b46d1f41b4aeec1121b013783f8f3526b56d037e05f2598bd0fd2215d6a1e5295e64f73f63f0aec8b915a985d786598",
        ),
    ] {
        let mac: Vec<u8> =
            (0..mac.len()).step_by(2).map(|at| u8::from_str_radix(&mac[at..at + 2], 16).unwrap()).collect();
        let key = set.candidates(None, algorithm).unwrap().next().unwrap();
        assert!(key.signed(algorithm, message, &mac), "{}", algorithm.name());
        for other in Algorithm::ALL.into_iter().filter(|other| *other != algorithm) {
            assert!(!key.signed(other, message, &mac), "{} as {}", algorithm.name(), other.name());
        }
    }
}

#[test]
fn of_the_keys_of_rfc_7520_only_the_public_ones_are_loaded() {
    // Sections 3.3 to 3.5; that of P-521 is above.
    assert!(set_of(bilbos_rsa_key()).candidates(Some(BILBO), Algorithm::Rs256).is_ok());
    let private =
        with(bilbos_rsa_key(), json!({"d": "bWUC9B-EFRIo8kpGfh0ZuyGPvMNKvYWNtB_ikiH9k20eT-O1q_I78e"}));
    let oct = json!({"kty": "oct", "kid": "018c0ae5-4d9b-471b-bfd6-eef314bc7037", "use": "sig", "alg": "HS256",
        "k": "hJtXIZ2uSN5kbQfbtTNWbpdmhkV8FJG-Onbc6mxCcYg"});
    let (set, skipped) = KeySet::parse(&jwks(&[private, oct])).unwrap();
    assert_eq!((set.len(), skipped.len()), (0, 2));
}

#[test]
fn the_signature_of_rfc_8037_holds() {
    // Appendix A.1 (with its private half), A.2 and A.4.
    let public = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let token = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";
    holds(&set_of(public.clone()), Algorithm::EdDsa, token);
    refused(token, &MALFORMED);
    let private = with(public, json!({"d": "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}));
    assert!(KeySet::parse(&jwks(&[private])).unwrap().0.is_empty());
}
