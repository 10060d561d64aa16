//! Attacks on signatures and keys.

use super::*;

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
fn hmac_with_the_public_key_as_secret_is_refused_in_every_form_of_the_key() {
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
    // Also where an issuer could use HMAC beside RS256.
    let lax = TokenRules { algorithms: Algorithm::ALL.to_vec(), ..rules() };
    for secret in secrets {
        for algorithm in OF_A_SECRET {
            for header in [json!({"alg": algorithm.name(), "kid": "rsa"}), json!({"alg": algorithm.name()})] {
                let token = sign_hmac(algorithm, &secret, &header, &claims());
                refused(&token, &Denial::AlgorithmNotAllowed);
                assert!(judge_by(&lax, &token).is_err());
            }
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
    for algorithm in OF_A_SECRET {
        let name = algorithm.name();
        assert!(KeySet::shared_secret(b"secret", &[algorithm]).is_err());
        assert!(KeySet::shared_secret(b"", &[algorithm]).is_err());
        let oct = json!({"kty": "oct", "kid": "oct", "alg": name, "k": URL_SAFE_NO_PAD.encode(LONG_SECRET)});
        let set = KeySet::parse(&jwks(&[oct])).unwrap().0;
        let lax = TokenRules { algorithms: Algorithm::ALL.to_vec(), ..rules() };
        for header in [json!({"alg": name, "kid": "oct"}), json!({ "alg": name })] {
            let token = sign_hmac(algorithm, LONG_SECRET, &header, &claims());
            let denial = Unverified::parse(&token, 8192).unwrap().verify(&set, &lax, NOW).unwrap_err();
            assert_eq!(denial, Denial::UnknownKey);
        }
    }
}

#[test]
fn a_secret_verifies_the_algorithms_that_are_listed_and_no_other() {
    for listed in [&OF_A_SECRET[..1], &OF_A_SECRET[1..2], &OF_A_SECRET[2..], &OF_A_SECRET[1..]] {
        let set = KeySet::shared_secret(LONG_SECRET, listed).unwrap();
        let strict = TokenRules { algorithms: listed.to_vec(), ..rules() };
        let lax = TokenRules { algorithms: Algorithm::ALL.to_vec(), ..rules() };
        for algorithm in OF_A_SECRET {
            let token = sign_hmac(
                algorithm,
                LONG_SECRET,
                &json!({"alg": algorithm.name(), "typ": "at+jwt"}),
                &claims(),
            );
            let judged = |rules| Unverified::parse(&token, 8192).unwrap().verify(&set, rules, NOW);
            if listed.contains(&algorithm) {
                assert!(judged(&strict).is_ok(), "{}", algorithm.name());
            } else {
                assert_eq!(judged(&strict).unwrap_err(), Denial::AlgorithmNotAllowed);
                // The key knows it by itself.
                assert_eq!(judged(&lax).unwrap_err(), Denial::UnknownKey);
            }
        }
    }
}

#[test]
fn a_mac_of_one_hash_is_none_of_another_and_none_when_it_is_cut_short() {
    let set = KeySet::shared_secret(LONG_SECRET, &OF_A_SECRET).unwrap();
    let rules = TokenRules { algorithms: OF_A_SECRET.to_vec(), ..rules() };
    for said in OF_A_SECRET {
        let header = json!({"alg": said.name(), "typ": "at+jwt"});
        let judged = |token: &str| Unverified::parse(token, 8192).unwrap().verify(&set, &rules, NOW);
        for made in OF_A_SECRET {
            let token = sign_hmac(made, LONG_SECRET, &header, &claims());
            let (text, mac) = token.rsplit_once('.').unwrap();
            let mac = URL_SAFE_NO_PAD.decode(mac).unwrap();
            assert_eq!(judged(&token).is_ok(), said == made, "{} as {}", made.name(), said.name());
            // HMAC may be truncated elsewhere (RFC 2104 section 5), in a JWS never (RFC 7518 section 3.2).
            for length in [0, 1, 16, 24, 32, 48, 63].into_iter().filter(|length| *length < mac.len()) {
                let cut = format!("{text}.{}", URL_SAFE_NO_PAD.encode(&mac[..length]));
                assert_eq!(judged(&cut).unwrap_err(), Denial::BadSignature, "{length} bytes");
            }
        }
    }
}

#[test]
fn an_empty_or_guessed_secret_does_not_verify_against_a_shared_secret() {
    let set = KeySet::shared_secret(SECRET, &[Algorithm::Hs256]).unwrap();
    let rules = TokenRules { algorithms: vec![Algorithm::Hs256], ..rules() };
    for guess in [&b""[..], b"secret", &SECRET[..31], b"\0"] {
        for kid in ["../../../../dev/null", "x"] {
            let token = sign_hs256(guess, &json!({"alg": "HS256", "kid": kid}), &claims());
            let denial = Unverified::parse(&token, 8192).unwrap().verify(&set, &rules, NOW).unwrap_err();
            assert_eq!(denial, Denial::BadSignature);
        }
    }
}

#[test]
fn algorithms_that_tollgate_does_not_verify_have_no_other_name() {
    // RFC 9864: fully specified ones; RFC 8812; RFC 7518; others that tokens were seen with.
    for algorithm in [
        "ES256K",
        "ES521",
        "ESP256",
        "ESB256",
        "Ed448",
        "ed25519",
        "EDDSA",
        "HS1",
        "HS224",
        "hs512",
        "HS256/64",
        "RS1",
        "es256",
        "ES256 ",
        "SHA256withECDSA",
        "ML-DSA-65",
        "dir",
        "A128KW",
        "RSA-OAEP",
    ] {
        assert_eq!(Algorithm::parse(algorithm), None, "{algorithm}");
        let text = unsigned(&json!({"alg": algorithm, "kid": "p256"}).to_string(), &claims().to_string());
        refused(&format!("{text}.{}", "A".repeat(86)), &Denial::AlgorithmNotAllowed);
    }
    assert_eq!(Algorithm::parse("Ed25519"), Some(Algorithm::EdDsa));
}
