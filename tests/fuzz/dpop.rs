//! A proof of possession is made of members that are fine and of members that spoil it, and signed well; it
//! holds when none spoils it, and only then. What is altered after that holds never.

use std::sync::LazyLock;
use std::time::Duration;

use http::Method;
use tollgate::core::time::Timestamp;
use tollgate::core::token::dpop::uri::HttpUri;
use tollgate::core::token::dpop::{Proof, Request, ValidProof, Wrong};

use crate::choices::Choices;
use crate::jwt::Is::{self, Fine, Spoiling};
use crate::jwt::{ISSUER, Member, NOW, object};

/// Each with the public half of the key in it.
static HEADER: LazyLock<[&[Member]; 3]> = LazyLock::new(|| {
    let x = ISSUER.x();
    let jwk = |members: &str, is: Is| -> Member {
        let text = format!(r#""jwk":{{"kty":"OKP","crv":"Ed25519","x":"{x}"{members}}}"#);
        (text.leak(), is)
    };
    let jwks = vec![
        jwk("", Fine),
        jwk(r#","kid":"any","ext":true,"key_ops":["verify"]"#, Fine),
        jwk(r#","use":"sig","alg":"EdDSA""#, Fine),
        jwk(r#","key_ops":[]"#, Fine),
        jwk(r#","x5c":["MIIB"]"#, Fine),
        jwk(r#","d":"AAAA""#, Spoiling),
        jwk(r#","d":null"#, Spoiling),
        jwk(r#","use":"enc""#, Spoiling),
        jwk(r#","alg":"ES256""#, Spoiling),
        jwk(r#","key_ops":["sign"]"#, Spoiling),
        jwk(r#","crv":"Ed25519""#, Spoiling),
        jwk(r#","crv":"X25519""#, Spoiling),
        (r#""jwk":{"kty":"oct","k":"AAAA"}"#, Spoiling),
        (r#""jwk":{}"#, Spoiling),
        (r#""jwk":null"#, Spoiling),
        (r#""jwk":[]"#, Spoiling),
        (r#""jku":"https://evil.example/jwks""#, Spoiling),
        ("", Spoiling),
    ];
    [ALG, TYP, jwks.leak()]
});

const ALG: &[Member] = &[
    (r#""alg":"EdDSA""#, Fine),
    (r#""alg":"Ed25519""#, Fine),
    (r#""alg":"none""#, Spoiling),
    (r#""alg":"HS256""#, Spoiling),
    (r#""alg":"ES256""#, Spoiling),
    (r#""alg":"eddsa""#, Spoiling),
    (r#""alg":["EdDSA"]"#, Spoiling),
    ("", Spoiling),
];

const TYP: &[Member] = &[
    (r#""typ":"dpop+jwt""#, Fine),
    (r#""typ":"application/DPoP+JWT""#, Fine),
    (r#""typ":"at+jwt""#, Spoiling),
    (r#""typ":"JWT""#, Spoiling),
    (r#""typ":null"#, Spoiling),
    ("", Spoiling),
];

const MORE_OF_HEADER: &[Member] = &[
    (r#""kid":"k""#, Fine),
    (r#""jku":"file:///dev/null""#, Fine),
    (r#""x":0"#, Fine),
    (r#""crit":[]"#, Spoiling),
    (r#""b64":true"#, Spoiling),
    (r#""zip":"DEF""#, Spoiling),
    (r#""enc":"A256GCM""#, Spoiling),
    (r#""x":{"a":1,"\u0061":2}"#, Spoiling),
];

const PAYLOAD: [&[Member]; 5] = [
    &[
        (r#""htm":"POST""#, Fine),
        (r#""h\u0074m":"POST""#, Fine),
        (r#""htm":"post""#, Spoiling),
        (r#""htm":"GET""#, Spoiling),
        (r#""htm":["POST"]"#, Spoiling),
        (r#""HTM":"POST""#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""htu":"https://api.example/a/b""#, Fine),
        (r#""htu":"https:\/\/api.example/a/b""#, Fine),
        (r#""htu":"HTTPS://API.example:443/a/%62?q#f""#, Fine),
        (r#""htu":"https://api.example/a/b/""#, Spoiling),
        (r#""htu":"https://api.example/a/x/../b""#, Fine),
        (r#""htu":"https://api.example/a/b/x/..""#, Spoiling),
        (r#""htu":"https://api.example/a%2fb""#, Spoiling),
        (r#""htu":"https://api.example\\/a/b""#, Spoiling),
        (r#""htu":"https://u@api.example/a/b""#, Spoiling),
        (r#""htu":"https://api.example:8443/a/b""#, Spoiling),
        (r#""htu":"http://api.example/a/b""#, Spoiling),
        (r#""htu":" https://api.example/a/b""#, Spoiling),
        (r#""htu":"/a/b""#, Spoiling),
        (r#""htu":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""iat":1800000000"#, Fine),
        (r#""iat":1799999911"#, Fine),
        (r#""iat":1800000030"#, Fine),
        (r#""iat":1800000000.5"#, Fine),
        (r#""iat":1799999910"#, Spoiling),
        (r#""iat":1800000031"#, Spoiling),
        (r#""iat":"1800000000""#, Spoiling),
        (r#""iat":-1"#, Spoiling),
        (r#""iat":1e400"#, Spoiling),
        (r#""iat":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""jti":"p""#, Fine),
        (r#""jti":"\u0000""#, Fine),
        (r#""jti":"""#, Spoiling),
        (r#""jti":1"#, Spoiling),
        (r#""jti":null"#, Spoiling),
        ("", Spoiling),
    ],
    &[
        (r#""ath":"hF4wRIgJ4ryJWOsCW_x5UjXROwd6U9DDq70jhRcNybg""#, Fine),
        (r#""ath":"hF4wRIgJ4ryJWOsCW_x5UjXROwd6U9DDq70jhRcNybh""#, Spoiling),
        (r#""ath":"hF4wRIgJ4ryJWOsCW_x5UjXROwd6U9DDq70jhRcNybg=""#, Spoiling),
        (r#""ath":"hF4wRIgJ4ryJWOsCW/x5UjXROwd6U9DDq70jhRcNybg""#, Spoiling),
        (r#""ath":"""#, Spoiling),
        (r#""ath":null"#, Spoiling),
        ("", Spoiling),
    ],
];

const MORE_OF_PAYLOAD: &[Member] = &[
    (r#""nonce":"n""#, Fine),
    (r#""exp":1800000001"#, Fine),
    (r#""exp":1799999970"#, Spoiling),
    (r#""exp":"x""#, Spoiling),
    (r#""nbf":1800000030"#, Fine),
    (r#""nbf":1800000031"#, Spoiling),
    (r#""nbf":null"#, Spoiling),
    (r#""x":[{"a":1,"a":1}]"#, Spoiling),
    (r#""x":01"#, Spoiling),
];

fn judge(proof: &str, now: Timestamp) -> Result<ValidProof, Wrong> {
    let key = ISSUER.thumbprint();
    let uri = HttpUri::parse("https://api.example/a/b").unwrap();
    let token = Some((b"a.b.c".as_slice(), key));
    let request = Request {
        method: &Method::POST,
        uri: &uri,
        token,
        clock_skew: Duration::from_secs(30),
        has_nonces: false,
    };
    Proof::parse(proof)?.check(&request, now)?.verify()
}

#[test]
fn a_well_signed_proof_holds_when_nothing_spoils_it_and_only_then() {
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let (header, of_header) = object(&mut choices, &*HEADER, MORE_OF_HEADER);
        let (payload, of_payload) = object(&mut choices, &PAYLOAD, MORE_OF_PAYLOAD);
        let is_good = !of_header.contains(&Spoiling) && !of_payload.contains(&Spoiling);
        let judged = judge(&ISSUER.sign(&header, &payload), NOW);
        assert_eq!(judged.is_ok(), is_good, "{header} {payload} {judged:?}");
    });
}

#[test]
fn a_proof_that_was_altered_holds_never() {
    let header = format!(
        r#"{{"alg":"EdDSA","typ":"dpop+jwt","jwk":{{"kty":"OKP","crv":"Ed25519","x":"{}"}}}}"#,
        ISSUER.x()
    );
    let payload = r#"{"htm":"POST","htu":"https://api.example/a/b","iat":1800000000,"jti":"p","ath":"hF4wRIgJ4ryJWOsCW_x5UjXROwd6U9DDq70jhRcNybg"}"#;
    let good = ISSUER.sign(&header, payload);
    assert!(judge(&good, NOW).is_ok());
    let spare = [".", "=", "-", "_", "+", "/", "%3D", " ", ", ", "A", "..", ".e30.", "eyJhbGciOiJub25lIn0."];
    bolero::check!().with_iterations(10_000).with_max_len(64).for_each(|bytes: &[u8]| {
        let mut choices = Choices::new(bytes);
        let altered = choices.alter(good.as_bytes(), &spare);
        let Ok(text) = std::str::from_utf8(&altered) else { return };
        assert_eq!(judge(text, NOW).is_ok(), text == good, "{text}");
    });
}
