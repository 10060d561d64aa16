//! Attacks on form, claims and header: what is truly signed and still no access token for us.

use super::*;

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
    for header in [header, r#"{"alg":"ES256","kid":"p256","typ":"JWT"}"#] {
        let why = if header.contains("cty") { Denial::UnsupportedHeader } else { MALFORMED };
        refused(&keys().p256.sign_text(Algorithm::Es256, header, &inner), &why);
        refused(&keys().p256.sign_text(Algorithm::Es256, header, &json!(inner).to_string()), &why);
    }
}

#[test]
fn a_token_that_says_another_is_nested_in_it_is_refused_whatever_is_in_it() {
    // RFC 7519 sections 5.2 and 7.2: with `cty: JWT` the claims are not these but those within.
    for cty in ["JWT", "jwt", "application/jwt"] {
        refused(&signed(json!({ "cty": cty }), &claims()), &Denial::UnsupportedHeader);
    }
    refused(&signed(json!({"cty": 1}), &claims()), &MALFORMED);
    assert!(judge_by(&rules(), &signed(json!({"cty": "json"}), &claims())).is_ok());
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
            let id_token = with(claims(), json!({"client_id": null, claim: "x"}));
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
fn an_access_token_of_keycloak_may_repeat_the_nonce_and_no_id_token_passes_by_it() {
    let own = TokenRules { audiences: vec![AUDIENCE.to_owned(), "web-app".to_owned()], ..rules() };
    let judged = |typ: &Value, changes: Value| {
        let repeating = with(claims(), json!({"client_id": null, "nonce": "n"}));
        judge_by(&own, &signed(json!({ "typ": typ }), &with(repeating, changes))).map(drop)
    };
    for typ in [json!("JWT"), json!(null)] {
        for says in ["Bearer", "bearer", "DPoP"] {
            assert_eq!(judged(&typ, json!({ "typ": says })), Ok(()), "{typ}: {says}");
        }
        assert_eq!(judged(&typ, json!({ "tokenName": "access_token" })), Ok(()), "PingAM: {typ}");
        for other in [
            json!({}),
            json!({"typ": "ID"}),
            json!({"typ": "Refresh"}),
            json!({"typ": ["Bearer"]}),
            json!({"typ": "Bearer "}),
            json!({"typ": "at+jwt"}),
            json!({"token_type": "Bearer"}),
            json!({"typ": "Bearer", "at_hash": "h"}),
            json!({"typ": "Bearer", "c_hash": "h"}),
            json!({"typ": "Bearer", "s_hash": "h"}),
            json!({"typ": "Bearer", "token_use": "id"}),
            json!({"typ": "Bearer", "events": {}}),
            json!({"typ": "Bearer", "aud": "web-app"}),
            json!({"tokenName": "id_token"}),
            json!({"tokenName": "access_token", "at_hash": "h"}),
            json!({"tokenName": "access_token", "aud": "web-app"}),
        ] {
            assert_eq!(judged(&typ, other.clone()), Err(Denial::WrongTokenType), "{typ}: {other}");
        }
    }
}

/// Azure AD B2C and others, whose tokens have no word for what they are: `aud` of an ID token names the
/// client that it was issued to (OpenID Connect Core 1.0 section 2).
#[test]
fn a_token_that_is_for_another_than_its_client_may_repeat_the_nonce_and_no_id_token_passes_by_it() {
    let own = TokenRules {
        audiences: [AUDIENCE, "web-app", "shop", "server-of-the-app"].map(str::to_owned).into(),
        client_ids: ["web-app", "shop"].map(str::to_owned).into(),
        ..rules()
    };
    let judged = |typ: &Value, changes: Value| {
        let repeating = with(claims(), json!({"client_id": null, "nonce": "n"}));
        judge_by(&own, &signed(json!({ "typ": typ }), &with(repeating, changes))).map(drop)
    };
    for typ in [json!("JWT"), json!(null)] {
        for access in [
            json!({"azp": "web-app", "tfp": "B2C_1_in", "scp": "read"}),
            json!({"azp": "web-app", "aud": [AUDIENCE]}),
            json!({"azp": "web-app", "aud": [AUDIENCE, "https://other.example"]}),
            json!({"azp": "not-of-this-gateway"}),
            json!({"client_id": "web-app"}),
            json!({"cid": "web-app", "azp": "web-app"}),
        ] {
            assert_eq!(judged(&typ, access.clone()), Ok(()), "{typ}: {access}");
        }
        for id_token in [
            json!({}),
            json!({"azp": null}),
            json!({"azp": ""}),
            json!({"azp": 7}),
            json!({"azp": ["web-app"]}),
            json!({"azp": "web-app", "aud": ["web-app", AUDIENCE]}),
            json!({"azp": "web-app", "aud": [AUDIENCE, "web-app"]}),
            // One name of the client is elsewhere, another is not.
            json!({"azp": AUDIENCE, "client_id": "web-app"}),
            json!({"azp": "web-app", "client_id": AUDIENCE}),
            json!({"azp": "web-app", "appid": 7}),
            // Google: an application on a device asks for one that is for its server.
            json!({"azp": "app-on-the-device", "aud": "shop"}),
            json!({"azp": "app-on-the-device", "aud": ["shop", AUDIENCE]}),
            json!({"azp": "web-app", "at_hash": "h"}),
            json!({"azp": "web-app", "c_hash": "h"}),
            json!({"azp": "web-app", "s_hash": "h"}),
            json!({"azp": "web-app", "token_use": "id"}),
            json!({"azp": "web-app", "events": {}}),
        ] {
            assert_eq!(judged(&typ, id_token.clone()), Err(Denial::WrongTokenType), "{typ}: {id_token}");
        }
    }
    // `azp` counts, whatever else the operator calls the client.
    let names = crate::core::token::ClaimNames { client: vec!["client_id".to_owned()], ..Default::default() };
    let renamed = TokenRules { claims: names, ..own };
    let token = with(claims(), json!({"nonce": "n", "azp": AUDIENCE}));
    refused_by(&renamed, &signed(json!({"typ": "JWT"}), &token), &Denial::WrongTokenType);
}

#[test]
fn a_claim_that_the_operator_knows_to_be_in_access_tokens_alone_tells_them_from_id_tokens() {
    // Authentik: an access token is the ID token and `uid`.
    let names = crate::core::token::ClaimNames { access_token: vec!["uid".to_owned()], ..Default::default() };
    let own = TokenRules { claims: names, ..rules() };
    let repeating = with(
        claims(),
        json!({"client_id": null, "azp": "web-app", "nonce": "n",
        "aud": ["web-app", AUDIENCE]}),
    );
    let judged = |rules: &TokenRules, changes: Value| {
        judge_by(rules, &signed(json!({"typ": "JWT"}), &with(repeating.clone(), changes))).map(drop)
    };
    for uid in [json!("u"), json!(""), json!(1), json!([])] {
        assert_eq!(judged(&own, json!({ "uid": uid })), Ok(()), "{uid}");
        assert_eq!(judged(&rules(), json!({ "uid": uid })), Err(Denial::WrongTokenType), "nobody said so");
    }
    for id_token in [
        json!({}),
        json!({"UID": "u"}),
        json!({"uid": "u", "at_hash": "h"}),
        json!({"uid": "u", "token_use": "id"}),
    ] {
        assert_eq!(judged(&own, id_token.clone()), Err(Denial::WrongTokenType), "{id_token}");
    }
    let null = with(repeating, json!({"uid": "@"})).to_string().replace("\"@\"", "null");
    let null = keys().p256.sign_text(Algorithm::Es256, r#"{"alg":"ES256","kid":"p256"}"#, &null);
    refused_by(&own, &null, &Denial::WrongTokenType);
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
fn a_token_whose_claims_say_that_it_is_of_another_kind_is_refused_where_its_type_says_nothing() {
    let with_claim = |typ: &Value, claim: &Value| {
        judge_by(&rules(), &signed(json!({"typ": typ}), &with(claims(), claim.clone()))).map(drop)
    };
    for typ in [json!("JWT"), json!(null)] {
        for other in [
            json!({"typ": "ID"}),
            json!({"typ": "Refresh"}),
            json!({"typ": "Offline"}),
            json!({"typ": "Logout"}),
            json!({"typ": "refresh"}),
            json!({"token_use": "id"}),
            json!({"token_use": "refresh_token"}),
            json!({"token_type": "refresh"}),
            json!({"token_type": "id_token"}),
            json!({"type": "refresh"}),
            json!({"tokenName": "refresh_token"}),
            json!({"tokenType": "refresh-token"}),
            json!({"tokenName": "id_token"}),
            json!({"purpose": "id"}),
            json!({"typ": "Bearer", "token_use": "id"}),
        ] {
            assert_eq!(with_claim(&typ, &other), Err(Denial::WrongTokenType), "{typ}: {other}");
        }
        for access in [
            json!({"typ": "Bearer"}),
            json!({"token_use": "access"}),
            json!({"token_type": "access"}),
            json!({"token_type": "Bearer"}),
            json!({"type": "access"}),
            json!({"type": "id"}), // of whatever: this name says much else
            json!({"tokenName": "access_token"}),
            json!({"purpose": "access_token"}),
            json!({"purpose": "billing", "type": ["refresh"], "typ": 7}),
        ] {
            assert_eq!(with_claim(&typ, &access), Ok(()), "{typ}: {access}");
        }
    }
    // Its issuer has said what it is, where the standard has a place for it (RFC 8725 section 3.11).
    assert_eq!(with_claim(&json!("at+jwt"), &json!({"token_type": "refresh"})), Ok(()));
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
