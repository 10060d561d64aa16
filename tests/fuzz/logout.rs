//! A logout token is made of members that are fine and of members that spoil it, and signed well; it is
//! accepted when none spoils it, and only then. And what is accepted is no access token.

use tollgate::core::token::jwt::Unverified;
use tollgate::core::token::logout_token::VerifiedLogoutToken;

use crate::choices::Choices;
use crate::jwt::Is::{Fine, Spoiling};
use crate::jwt::{HEADER, ISSUER, MORE_OF_HEADER, Member, NOW, object};

const TYPES: &[Member] = &[
    (r#""typ":"logout+jwt""#, Fine),
    (r#""typ":"application/LOGOUT+jwt""#, Fine),
    (r#""typ":"JWT""#, Fine),
    ("", Fine),
    (r#""typ":"at+jwt""#, Spoiling),
    (r#""typ":"secevent+jwt""#, Spoiling),
    (r#""typ":"tollgate+jwt""#, Spoiling),
    (r#""typ":"logout""#, Spoiling),
    (r#""typ":"""#, Spoiling),
    (r#""typ":null"#, Spoiling),
];

/// One of `sid` and `sub` must name somebody.
const PAYLOAD: [&[Member]; 8] = [
    &[
        (r#""iss":"https://as.example""#, Fine),
        (r#""iss":"https://as.example/""#, Spoiling),
        (r#""iss":["https://as.example"]"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""aud":"web-app""#, Fine),
        (r#""aud":["web-app"]"#, Fine),
        (r#""aud":["web-app","web-app"]"#, Fine),
        (r#""aud":["web-app","x"]"#, Spoiling),
        (r#""aud":["web-app","https://api.example.com"]"#, Spoiling),
        (r#""aud":["web-app",5]"#, Spoiling),
        (r#""aud":"https://api.example.com""#, Spoiling),
        (r#""aud":[]"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""exp":1800000120"#, Fine),
        (r#""exp":1799999970.001"#, Fine),
        (r#""exp":1799999970"#, Spoiling),
        (r#""exp":1800086500"#, Spoiling),
        (r#""exp":"1800000120""#, Spoiling),
        (r#""exp":null"#, Spoiling),
        // Good for two minutes from its iat on.
        ("", Fine),
    ],
    &[
        (r#""iat":1800000000"#, Fine),
        (r#""iat":1800000030"#, Fine),
        (r#""iat":1800000030.001"#, Spoiling),
        (r#""iat":0"#, Spoiling),
        (r#""iat":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""jti":"1""#, Fine),
        (r#""jti":"""#, Spoiling),
        (r#""jti":1"#, Spoiling),
        (r#""jti":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""events":{"http://schemas.openid.net/event/backchannel-logout":{}}"#, Fine),
        (r#""events":{"http:\/\/schemas.openid.net\/event\/backchannel-logout":{"x":1},"y":0}"#, Fine),
        (r#""events":{"http://schemas.openid.net/event/backchannel-logout/":{}}"#, Spoiling),
        (r#""events":{"http://schemas.openid.net/event/backchannel-logout":null}"#, Spoiling),
        (r#""events":{"http://schemas.openid.net/event/backchannel-logout":[]}"#, Spoiling),
        (r#""events":["http://schemas.openid.net/event/backchannel-logout"]"#, Spoiling),
        (r#""events":{}"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""sid":"s""#, Fine),
        (r#""sid":null"#, Fine),
        ("", Fine),
        (r#""sid":"""#, Spoiling),
        (r#""sid":{}"#, Spoiling),
    ],
    &[
        (r#""sub":"alice""#, Fine),
        (r#""sub":null"#, Fine),
        ("", Fine),
        (r#""sub":7"#, Spoiling),
        (r#""sub":["alice"]"#, Spoiling),
    ],
];

const MORE_OF_PAYLOAD: &[Member] = &[
    (r#""nbf":1800000030"#, Fine),
    (r#""nbf":1800000031"#, Spoiling),
    (r#""trace_id":"x""#, Fine),
    (r#""nonce":"n""#, Spoiling),
    (r#""nonce":null"#, Spoiling),
    (r#""x":[{"a":1,"a":1}]"#, Spoiling),
];

#[test]
fn a_well_signed_logout_token_is_accepted_when_nothing_spoils_it_and_only_then() {
    let [algorithms, kids, _] = HEADER;
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let (header, of_header) = object(&mut choices, &[algorithms, kids, TYPES], MORE_OF_HEADER);
        let (payload, of_payload) = object(&mut choices, &PAYLOAD, MORE_OF_PAYLOAD);
        let is_spoiled = of_header.iter().chain(&of_payload).any(|is| *is == Spoiling);
        let names_nobody = [r#""sid":"s""#, r#""sub":"alice""#].iter().all(|name| !payload.contains(name));
        let token = ISSUER.sign(&header, &payload);
        let judged = VerifiedLogoutToken::verify(&token, 8192, &ISSUER.keys, &ISSUER.rules, NOW);
        assert_eq!(judged.is_ok(), !is_spoiled && !names_nobody, "{header} {payload} {judged:?}");
        if judged.is_ok() {
            let as_access_token = Unverified::parse(&token, 8192).unwrap();
            assert!(as_access_token.verify(&ISSUER.keys, &ISSUER.rules, NOW).is_err(), "{header} {payload}");
        }
    });
}
