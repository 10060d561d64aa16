//! Every attack that RFC 8725 sections 2 and 3 describe, and its neighbours, each with its name and
//! its refusal. The answer to all of them is 401 (or, for what is too large, 431).

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::StatusCode;
use serde_json::{Value, json};

use crate::core::denial::Denial;
use crate::core::token::jwks::KeySet;
use crate::core::token::jwt::{Unverified, VerifiedToken};
use crate::core::token::testing::{
    self, AUDIENCE, ISS, NOW, SECRET, claims, jwks, keys, rules, sign_hs256, unsigned, with,
};
use crate::core::token::{Algorithm, TokenRules};

fn known_keys() -> KeySet {
    let keys = keys();
    KeySet::parse(&jwks(&[keys.rsa.jwk(), keys.p256.jwk(), keys.p384.jwk(), keys.ed.jwk()])).unwrap().0
}

fn judge_by(rules: &TokenRules, token: &str) -> Result<VerifiedToken, Denial> {
    Unverified::parse(token, 8192)?.verify(&known_keys(), rules, NOW)
}

/// Refused, with 401, for this reason.
#[track_caller]
fn refused(token: &str, why: &Denial) {
    refused_by(&rules(), token, why);
}

#[track_caller]
fn refused_by(rules: &TokenRules, token: &str, why: &Denial) {
    let denial = judge_by(rules, token).expect_err(token);
    assert_eq!(std::mem::discriminant(&denial), std::mem::discriminant(why), "{denial:?} for {token}");
    assert_eq!(denial.facts().status, StatusCode::UNAUTHORIZED);
}

const MALFORMED: Denial = Denial::TokenMalformed("");

/// A token signed well by the P-256 key, with this header and these claims.
fn signed(header: Value, claims: &Value) -> String {
    keys().p256.sign_as(&with(json!({"alg": "ES256", "kid": "p256", "typ": "at+jwt"}), header), claims)
}

#[test]
fn the_tokens_that_are_attacked_here_are_good_before() {
    assert!(judge_by(&rules(), &signed(json!({}), &claims())).is_ok());
}

// Section 2.1 and 3.1: weak signatures and insufficient signature validation.

#[test]
fn alg_none_is_refused_in_every_spelling_with_and_without_a_signature() {
    let signature = signed(json!({}), &claims()).rsplit('.').next().unwrap().to_owned();
    for none in ["none", "None", "NONE", "nOnE", "none ", "", "null", "N\u{f6}ne"] {
        let text = unsigned(&json!({"alg": none, "typ": "at+jwt"}).to_string(), &claims().to_string());
        refused(&format!("{text}."), &Denial::AlgorithmNotAllowed);
        refused(&format!("{text}.{signature}"), &Denial::AlgorithmNotAllowed);
    }
    for header in ["{}", r#"{"alg":null}"#, r#"{"alg":["ES256"]}"#, r#"{"alg":0}"#] {
        refused(&format!("{}.{signature}", unsigned(header, &claims().to_string())), &MALFORMED);
    }
}

#[test]
fn the_signature_cannot_be_left_out() {
    let good = signed(json!({}), &claims());
    let (text, _) = good.rsplit_once('.').unwrap();
    refused(&format!("{text}."), &Denial::BadSignature);
    refused(text, &MALFORMED);
}

#[test]
fn hs256_with_the_public_key_as_secret_is_refused_in_every_form_of_the_key() {
    let jwk = keys().rsa.jwk();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    let der = spki(&part("n"), &part("e"));
    let base64 = STANDARD.encode(&der);
    let lines: Vec<_> = base64.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    let pem = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----", lines.join("\n"));
    let secrets = [
        der,
        pem.clone().into_bytes(),
        format!("{pem}\n").into_bytes(),
        part("n"),
        jwk.to_string().into_bytes(),
    ];
    // Also where an operator let the issuer use HS256 beside RS256.
    let lax = TokenRules { algorithms: Algorithm::ALL.to_vec(), ..rules() };
    for secret in secrets {
        for header in [json!({"alg": "HS256", "kid": "rsa"}), json!({"alg": "HS256"})] {
            let token = sign_hs256(&secret, &header, &claims());
            refused(&token, &Denial::AlgorithmNotAllowed);
            assert!(judge_by(&lax, &token).is_err());
        }
    }
}

/// `SubjectPublicKeyInfo` of an RSA key of 2048 bits (RFC 3279 section 2.3.1).
fn spki(n: &[u8], e: &[u8]) -> Vec<u8> {
    let der = |tag: u8, body: Vec<u8>| {
        let length = body.len();
        let head = match length {
            0..128 => vec![tag, u8::try_from(length).unwrap()],
            128..256 => vec![tag, 0x81, u8::try_from(length).unwrap()],
            _ => vec![tag, 0x82, u8::try_from(length >> 8).unwrap(), (length & 0xff) as u8],
        };
        [head, body].concat()
    };
    let integer = |bytes: &[u8]| der(2, [vec![0; usize::from(bytes[0] >> 7)], bytes.to_vec()].concat());
    let rsa_encryption = vec![0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let key = der(0x30, [integer(n), integer(e)].concat());
    der(0x30, [rsa_encryption, der(3, [vec![0], key].concat())].concat())
}

#[test]
fn an_algorithm_that_the_issuer_does_not_have_is_refused() {
    let only = TokenRules { algorithms: vec![Algorithm::Rs256], ..rules() };
    refused_by(&only, &signed(json!({}), &claims()), &Denial::AlgorithmNotAllowed);
    let ps256 = keys().rsa.sign_as(&json!({"alg": "PS256", "kid": "rsa"}), &claims());
    refused_by(&only, &ps256, &Denial::AlgorithmNotAllowed);
}

#[test]
fn a_key_pinned_to_one_algorithm_verifies_no_other_of_its_family() {
    let pinned = with(keys().rsa.jwk(), json!({"alg": "RS256"}));
    let set = KeySet::parse(&jwks(&[pinned])).unwrap().0;
    for algorithm in ["PS256", "PS384", "RS384", "RS512"] {
        let token = keys().rsa.sign_as(&json!({"alg": algorithm, "kid": "rsa"}), &claims());
        let denial = Unverified::parse(&token, 8192).unwrap().verify(&set, &rules(), NOW).unwrap_err();
        assert_eq!(denial, Denial::AlgorithmNotAllowed, "{algorithm}");
    }
}

#[test]
fn the_kid_of_a_key_of_another_family_is_refused() {
    for (algorithm, kid) in
        [("ES256", "rsa"), ("ES256", "p384"), ("ES384", "p256"), ("EdDSA", "p256"), ("RS256", "ed")]
    {
        let text = unsigned(&json!({"alg": algorithm, "kid": kid}).to_string(), &claims().to_string());
        refused(&format!("{text}.{}", "A".repeat(86)), &Denial::AlgorithmNotAllowed);
    }
}

#[test]
fn a_signature_of_one_algorithm_is_none_of_another() {
    // Signed as RS256, and the header says PS256 (and so on): the header is under the signature, so
    // the text is built with the header that lies and signed with the other algorithm.
    for (said, signed_with) in
        [("PS256", Algorithm::Rs256), ("RS256", Algorithm::Ps256), ("RS512", Algorithm::Rs256)]
    {
        let header = json!({"alg": said, "kid": "rsa"}).to_string();
        refused(&keys().rsa.sign_text(signed_with, &header, &claims().to_string()), &Denial::BadSignature);
    }
}

#[test]
fn altered_truncated_lengthened_and_foreign_signatures_are_refused() {
    for key in [&keys().rsa, &keys().p256, &keys().p384, &keys().ed] {
        let token = key.sign(&claims());
        let (text, signature) = token.rsplit_once('.').unwrap();
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let mut flipped = bytes.clone();
        flipped[10] ^= 1;
        let zeros = vec![0; bytes.len()];
        let longer = [bytes.as_slice(), &[0]].concat();
        let padded = [&[0], bytes.as_slice()].concat();
        let huge = vec![1; 4000];
        for bad in [&flipped[..], &bytes[..bytes.len() - 1], &bytes[..1], &zeros, &longer, &padded, &huge] {
            refused(&format!("{text}.{}", URL_SAFE_NO_PAD.encode(bad)), &Denial::BadSignature);
        }
        let other = with(claims(), json!({"sub": "bob"}));
        let stolen = key.sign(&other);
        refused(&format!("{text}.{}", stolen.rsplit_once('.').unwrap().1), &Denial::BadSignature);
        let alice_as_bob =
            unsigned(&json!({"alg": key.algorithm.name(), "kid": key.kid}).to_string(), &other.to_string());
        refused(&format!("{alice_as_bob}.{signature}"), &Denial::BadSignature);
    }
}

#[test]
fn an_ecdsa_signature_in_der_form_is_refused() {
    let token = signed(json!({}), &claims());
    let (text, signature) = token.rsplit_once('.').unwrap();
    let fixed = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let integer = |half: &[u8]| [&[2, 33, 0], half].concat();
    let der = [vec![0x30, 70], integer(&fixed[..32]), integer(&fixed[32..])].concat();
    refused(&format!("{text}.{}", URL_SAFE_NO_PAD.encode(der)), &Denial::BadSignature);
}

// Section 3.3 and 3.4: all cryptographic operations and their inputs are validated.

#[test]
fn a_psychic_signature_is_refused() {
    // CVE-2022-21449: r = s = 0, and the order of the curve in place of either.
    let order = [
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
        0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
    ];
    let (zero, mut one) = ([0; 32], [0; 32]);
    one[31] = 1;
    let text = unsigned(r#"{"alg":"ES256","kid":"p256","typ":"at+jwt"}"#, &claims().to_string());
    for (r, s) in
        [(zero, zero), (order, order), (zero, one), (one, zero), (order, one), (one, order), (one, one)]
    {
        let signature = URL_SAFE_NO_PAD.encode([r, s].concat());
        refused(&format!("{text}.{signature}"), &Denial::BadSignature);
    }
}

#[test]
fn a_key_that_is_no_point_of_its_curve_or_too_weak_is_no_key() {
    let off_curve = with(keys().p256.jwk(), json!({"y": "A".repeat(43)}));
    let weak = json!({"kty": "RSA", "kid": "weak", "n": URL_SAFE_NO_PAD.encode([0xc5; 128]), "e": "AQAB"});
    let (set, skipped) = KeySet::parse(&jwks(&[off_curve, weak])).unwrap();
    assert_eq!((set.len(), skipped.len()), (0, 2));
    let denial = Unverified::parse(&signed(json!({}), &claims()), 8192).unwrap().verify(&set, &rules(), NOW);
    assert_eq!(denial.unwrap_err(), Denial::UnknownKey);
}

// Section 2.2 and 3.5: weak symmetric keys.

#[test]
fn a_short_secret_is_no_key_and_a_published_one_never() {
    assert!(KeySet::shared_secret(b"secret").is_err());
    assert!(KeySet::shared_secret(b"").is_err());
    let oct = json!({"kty": "oct", "kid": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    let set = KeySet::parse(&jwks(&[oct])).unwrap().0;
    let lax = TokenRules { algorithms: Algorithm::ALL.to_vec(), ..rules() };
    for header in [json!({"alg": "HS256", "kid": "oct"}), json!({"alg": "HS256"})] {
        let token = sign_hs256(SECRET, &header, &claims());
        let denial = Unverified::parse(&token, 8192).unwrap().verify(&set, &lax, NOW).unwrap_err();
        assert_eq!(denial, Denial::UnknownKey);
    }
}

#[test]
fn an_empty_or_guessed_secret_does_not_verify_against_a_shared_secret() {
    let set = KeySet::shared_secret(SECRET).unwrap();
    let rules = TokenRules { algorithms: vec![Algorithm::Hs256], ..rules() };
    for guess in [&b""[..], b"secret", &SECRET[..31], b"\0"] {
        for kid in ["../../../../dev/null", "x"] {
            let token = sign_hs256(guess, &json!({"alg": "HS256", "kid": kid}), &claims());
            let denial = Unverified::parse(&token, 8192).unwrap().verify(&set, &rules, NOW).unwrap_err();
            assert_eq!(denial, Denial::BadSignature);
        }
    }
}

// Section 2.3, 2.4 and 3.6: encryption and compression.

#[test]
fn encrypted_tokens_and_their_impostors_are_refused() {
    let good = signed(json!({}), &claims());
    let jwe = json!({"alg": "RSA-OAEP", "enc": "A256GCM"}).to_string();
    let (_, rest) = unsigned("", "x").split_once('.').map(|(_, p)| ((), p.to_owned())).unwrap();
    refused(
        &format!("{}.{rest}.{rest}.{rest}.{rest}", URL_SAFE_NO_PAD.encode(&jwe)),
        &Denial::UnsupportedHeader,
    );
    refused(&format!("{good}.a.b"), &Denial::UnsupportedHeader);
    refused(&signed(json!({"enc": "A256GCM"}), &claims()), &Denial::UnsupportedHeader);
    for (alg, enc) in [("dir", "A256GCM"), ("PBES2-HS256+A128KW", "A128CBC-HS256")] {
        let header = json!({"alg": alg, "enc": enc, "p2c": 2_147_483_647}).to_string();
        refused(&format!("{}.{}", unsigned(&header, "{}"), "AA"), &Denial::UnsupportedHeader);
    }
}

#[test]
fn a_nested_token_is_refused() {
    let inner = signed(json!({}), &claims());
    let header = r#"{"alg":"ES256","kid":"p256","typ":"JWT","cty":"JWT"}"#;
    refused(&keys().p256.sign_text(Algorithm::Es256, header, &inner), &MALFORMED);
    refused(&keys().p256.sign_text(Algorithm::Es256, header, &json!(inner).to_string()), &MALFORMED);
}

#[test]
fn a_compressed_token_is_refused() {
    refused(&signed(json!({"zip": "DEF"}), &claims()), &Denial::UnsupportedHeader);
}

// Section 2.6 and 3.7: one encoding, UTF-8, one reading.

#[test]
fn other_encodings_of_json_are_refused() {
    let good = r#"{"alg":"ES256","kid":"p256","typ":"at+jwt"}"#;
    let utf16: Vec<u8> = claims().to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let bom = [b"\xef\xbb\xbf", claims().to_string().as_bytes()].concat();
    for payload in [utf16, bom, b"\xff\xfe{}".to_vec(), b"".to_vec(), b"[]".to_vec(), b"null".to_vec()] {
        let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(good), URL_SAFE_NO_PAD.encode(payload));
        refused(&format!("{text}.AA"), &MALFORMED);
    }
}

#[test]
fn repeated_members_are_refused_in_header_and_payload_at_every_level() {
    let payload = claims().to_string();
    let header = r#"{"alg":"ES256","kid":"p256","typ":"at+jwt"}"#;
    let sign = |header: &str, payload: &str| keys().p256.sign_text(Algorithm::Es256, header, payload);
    assert!(judge_by(&rules(), &sign(header, &payload)).is_ok());
    for repeated in [
        r#"{"alg":"none","alg":"ES256","kid":"p256"}"#,
        r#"{"alg":"ES256","kid":"x","kid":"p256"}"#,
        r#"{"alg":"ES256","kid":"p256","x":1,"x":2}"#,
        r#"{"alg":"ES256","kid":"p256","\u006bid":"x"}"#,
    ] {
        refused(&sign(repeated, &payload), &MALFORMED);
    }
    for extra in [r#""sub":"root""#, r#""x":{"a":1,"a":2}"#, r#""x":[{"a":1,"a":2}]"#, r#""\u0073ub":"root""#]
    {
        refused(&sign(header, &payload.replacen('{', &format!("{{{extra},"), 1)), &MALFORMED);
    }
}

#[test]
fn base64_is_url_safe_without_padding_and_has_one_spelling() {
    let good = signed(json!({}), &claims());
    let parts: Vec<_> = good.split('.').collect();
    for index in 0..3 {
        for spoil in ["=", "==", "\n", " ", "+", "/", "%3D", "\u{e4}"] {
            let mut bad = parts.iter().map(ToString::to_string).collect::<Vec<_>>();
            bad[index].push_str(spoil);
            refused(&bad.join("."), &MALFORMED);
        }
    }
    // The last character of 64 bytes has four unused bits: one signature, sixteen spellings.
    let (head, last) = good.split_at(good.len() - 1);
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for other in alphabet.iter().map(|b| char::from(*b)).filter(|c| !last.starts_with(*c)) {
        assert!(judge_by(&rules(), &format!("{head}{other}")).is_err());
    }
}

#[test]
fn what_has_not_three_parts_is_refused() {
    let good = signed(json!({}), &claims());
    for bad in ["", ".", "..", "...", "a", "a.b", "a.b.c", ".a.", "..a"] {
        refused(bad, &MALFORMED);
    }
    for bad in [format!(".{good}"), format!("{good}."), format!("{good}.x"), good.replace('.', "..")] {
        assert!(judge_by(&rules(), &bad).is_err(), "{bad}");
    }
}

#[test]
fn a_huge_token_is_refused_before_it_is_read() {
    let huge = "a".repeat(8193);
    assert_eq!(Unverified::parse(&huge, 8192).unwrap_err(), Denial::TokenTooLarge);
    let deep = with(claims(), json!({"x": "["}));
    let nested = deep.to_string().replace("\"[\"", &format!("{}{}", "[".repeat(1500), "]".repeat(1500)));
    let header = r#"{"alg":"ES256","kid":"p256"}"#;
    refused(&keys().p256.sign_text(Algorithm::Es256, header, &nested), &MALFORMED);
}

// Section 2.7, 3.8 and 3.9: substitution.

#[test]
fn a_token_of_another_issuer_is_refused_whoever_signed_it() {
    for iss in
        ["https://evil.example", "https://as.example/", "HTTPS://AS.EXAMPLE", "https://as.example\0", ""]
    {
        refused(&signed(json!({}), &with(claims(), json!({"iss": iss}))), &Denial::UnknownIssuer);
    }
    for iss in [json!([ISS]), json!({"iss": ISS}), json!(5)] {
        refused(&signed(json!({}), &with(claims(), json!({"iss": iss}))), &Denial::UnknownIssuer);
    }
    refused(&signed(json!({}), &with(claims(), json!({"iss": null}))), &Denial::UnknownIssuer);
}

#[test]
fn a_token_signed_by_another_issuers_key_of_the_same_kid_is_refused() {
    let other = testing::new_p256("p256");
    refused(&other.sign(&claims()), &Denial::BadSignature);
}

#[test]
fn a_token_for_another_audience_is_refused() {
    for aud in [json!("https://other.example"), json!([]), json!("https://api.example.com/x"), json!(["*"])] {
        refused(&signed(json!({}), &with(claims(), json!({"aud": aud}))), &Denial::WrongAudience);
    }
    refused(&signed(json!({}), &with(claims(), json!({"aud": null}))), &Denial::WrongAudience);
    refused(&signed(json!({}), &with(claims(), json!({"aud": {AUDIENCE: true}}))), &MALFORMED);
}

#[test]
fn a_subject_that_is_not_a_string_is_refused() {
    for sub in [json!(1), json!(["alice"]), json!({}), json!(""), json!(true)] {
        refused(&signed(json!({}), &with(claims(), json!({"sub": sub}))), &MALFORMED);
    }
}

// Section 2.8, 3.11 and 3.12: cross-JWT confusion.

#[test]
fn an_id_token_is_refused() {
    // By what only ID tokens have, by its audience, and also where the client is an audience of ours.
    for typ in [json!("JWT"), json!(null)] {
        for claim in ["nonce", "at_hash", "c_hash", "s_hash"] {
            let id_token = with(claims(), json!({claim: "x"}));
            refused(&signed(json!({"typ": typ}), &id_token), &Denial::WrongTokenType);
        }
        let for_client = with(claims(), json!({"aud": "web-app"}));
        refused(&signed(json!({"typ": typ}), &for_client), &Denial::WrongAudience);
        let lax = TokenRules { audiences: vec![AUDIENCE.to_owned(), "web-app".to_owned()], ..rules() };
        refused_by(&lax, &signed(json!({"typ": typ}), &for_client), &Denial::WrongTokenType);
        let for_both = with(claims(), json!({"aud": ["web-app", AUDIENCE]}));
        assert!(judge_by(&lax, &signed(json!({"typ": typ}), &for_both)).is_ok());
    }
}

#[test]
fn logout_tokens_security_events_and_the_gateways_own_assertion_are_refused() {
    let events = json!({"http://schemas.openid.net/event/backchannel-logout": {}});
    let event = with(claims(), json!({"events": events}));
    for typ in
        ["logout+jwt", "secevent+jwt", "tollgate+jwt", "application/logout+jwt", "dpop+jwt", "id_token+jwt"]
    {
        refused(&signed(json!({"typ": typ}), &claims()), &Denial::WrongTokenType);
        refused(&signed(json!({"typ": typ}), &event), &Denial::WrongTokenType);
    }
    refused(&signed(json!({"typ": "JWT"}), &event), &Denial::WrongTokenType);
    refused(&signed(json!({"typ": null}), &event), &Denial::WrongTokenType);
}

#[test]
fn a_client_assertion_is_refused() {
    // RFC 7523: issued by the client, for the AS.
    let assertion = json!({"iss": "web-app", "sub": "web-app", "aud": ISS, "jti": "1",
        "iat": NOW.as_secs(), "exp": NOW.as_secs() + 60});
    refused(&signed(json!({"typ": "JWT"}), &assertion), &Denial::UnknownIssuer);
    refused(&signed(json!({"typ": "JWT"}), &with(assertion, json!({"iss": ISS}))), &Denial::WrongAudience);
}

#[test]
fn a_refresh_token_or_registration_token_of_another_type_is_refused() {
    for typ in ["rt+jwt", "Refresh", "Bearer", "reg+jwt", "token-introspection+jwt"] {
        refused(&signed(json!({"typ": typ}), &claims()), &Denial::WrongTokenType);
    }
    refused(&signed(json!({"typ": ["at+jwt"]}), &claims()), &MALFORMED);
}

// Section 2.9 and 3.10: received claims are not trusted; no indirect attack through the header.

#[test]
fn a_key_that_the_token_brings_along_is_never_used() {
    let own = testing::new_p256("p256");
    let jwk = own.jwk();
    for (header, why) in [
        (json!({"jwk": jwk}), Denial::BadSignature),
        (json!({"jwk": jwk, "kid": null}), Denial::BadSignature),
        (json!({"jwk": jwk, "kid": "mine"}), Denial::UnknownKey),
        (json!({"jku": "https://evil.example/jwks.json", "kid": "mine"}), Denial::UnknownKey),
        (json!({"jku": "http://169.254.169.254/latest/meta-data", "kid": "mine"}), Denial::UnknownKey),
        (json!({"x5u": "https://evil.example/cert.pem", "kid": "mine"}), Denial::UnknownKey),
        (json!({"x5c": ["MIIB"], "x5t": "x", "kid": "mine"}), Denial::UnknownKey),
    ] {
        let header = with(json!({"alg": "ES256", "kid": "p256", "typ": "at+jwt"}), header);
        refused(&own.sign_as(&header, &claims()), &why);
    }
    // They do no harm either: a good token may carry them.
    assert!(
        judge_by(&rules(), &signed(json!({"jku": "https://evil.example/", "x5t": "x"}), &claims())).is_ok()
    );
}

#[test]
fn a_kid_is_a_name_and_nothing_else() {
    for kid in [
        "../../../../dev/null",
        "' OR '1'='1",
        "p256' --",
        "p256\0",
        "P256",
        " p256",
        "http://x/",
        "$(id)",
        "",
    ] {
        refused(&signed(json!({"kid": kid}), &claims()), &Denial::UnknownKey);
    }
    for kid in [json!(1), json!(["p256"]), json!({"p256": 1})] {
        refused(&signed(json!({"kid": kid}), &claims()), &MALFORMED);
    }
}

#[test]
fn extensions_that_must_be_understood_are_refused() {
    for header in [
        json!({"crit": ["exp"], "exp": 1}),
        json!({"crit": []}),
        json!({"crit": "b64"}),
        json!({"crit": ["b64"], "b64": false}),
        json!({"b64": false}),
        json!({"b64": true}),
    ] {
        refused(&signed(header, &claims()), &Denial::UnsupportedHeader);
    }
}

// The examples of the standards: what verifies them is not what made them.

#[test]
fn the_signatures_of_rfc_7515_and_rfc_8037_hold() {
    let payload =
        "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let es256 = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"});
    let eddsa = json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    let rfc8037 = "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
    for (jwk, algorithm, text, signature) in [
        (
            es256,
            Algorithm::Es256,
            format!("eyJhbGciOiJFUzI1NiJ9.{payload}"),
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            eddsa,
            Algorithm::EdDsa,
            format!("eyJhbGciOiJFZERTQSJ9.{rfc8037}"),
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let set = KeySet::parse(&jwks(&[jwk])).unwrap().0;
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let key = set.candidates(None, algorithm).unwrap().first().unwrap();
        assert!(key.signed(algorithm, text.as_bytes(), &signature), "{}", algorithm.name());
        assert!(!key.signed(algorithm, &text.as_bytes()[1..], &signature));
    }
}
