//! How the gateway proves to an AS that it is the client: `client_secret_basic`,
//! `client_secret_post` where the AS offers only that, `private_key_jwt` (RFC 7523), or not at all.
//!
//! An assertion names one audience and lives for a minute: one that is caught is of no use at another server.
//! The audience is the issuer (draft-ietf-oauth-rfc7523bis), unless it is configured that a server wants to
//! be called by the address of an endpoint. That comes out of the server's own metadata, so it is never put
//! into what goes to another origin: a server that names a stranger's token endpoint there must not be handed
//! what that stranger would take for his.

use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::HeaderValue;
use serde_json::{Value, json};
use url::Url;
use zeroize::Zeroizing;

use crate::core::metadata::ClientAuthentication;
use crate::core::secret::{Secret, SecretString};
use crate::core::session::oauth::request::begins_in;
use crate::core::signing::SigningKey;
use crate::core::time::Timestamp;
use crate::core::token::Algorithm;

/// The longest that an assertion lives.
pub const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);

const BASIC: &str = "client_secret_basic";
const POST: &str = "client_secret_post";

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// What the client has to show.
#[derive(Clone, Copy, Debug)]
pub enum Credential<'a> {
    None,
    Secret(&'a SecretString),
    PrivateKey {
        /// PKCS#8, PEM.
        pem: &'a Secret<Vec<u8>>,
        /// The algorithm by which it signs where the AS does not say what it takes.
        algorithm: Algorithm,
        names: &'a KeyNames,
        audience: Audience,
    },
}

/// Whom an assertion is for: its `aud` (RFC 7523 section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// The AS, by its issuer (draft-ietf-oauth-rfc7523bis).
    #[default]
    Issuer,
    /// The AS, by the URL of its token endpoint, whichever endpoint is asked (OpenID Connect Core 1.0 section
    /// 9).
    TokenEndpoint,
    /// The endpoint that is asked, by its URL.
    Endpoint,
}

impl Audience {
    pub const NAMES: [(&str, Self); 3] =
        [("issuer", Self::Issuer), ("token_endpoint", Self::TokenEndpoint), ("endpoint", Self::Endpoint)];

    /// As the configuration calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::TokenEndpoint => "token_endpoint",
            Self::Endpoint => "endpoint",
        }
    }

    fn of(self, place: AuthenticatedEndpoint<'_>) -> Result<&str, Unproven> {
        match (self, place.token_endpoint) {
            (Self::Issuer, _) => Ok(place.iss),
            (Self::Endpoint, _) => Ok(place.url.as_str()),
            (Self::TokenEndpoint, None) => Err(Unproven::NoTokenEndpoint),
            (Self::TokenEndpoint, Some(token)) if token.origin() != place.url.origin() => {
                Err(Unproven::AnotherOrigin)
            }
            (Self::TokenEndpoint, Some(token)) => Ok(token.as_str()),
        }
    }
}

/// Where a client proves itself: an endpoint, and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct AuthenticatedEndpoint<'a> {
    pub url: &'a Url,
    /// How clients may prove themselves there.
    pub takes: &'a ClientAuthentication,
    /// The issuer of the AS.
    pub iss: &'a str,
    pub token_endpoint: Option<&'a Url>,
}

/// The names, in the header of assertions, by which an AS finds the key among those that are registered for
/// the client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyNames {
    /// RFC 7515 section 4.1.4.
    pub kid: Option<String>,
    /// `x5t#S256`, of the key's certificate (RFC 7515 section 4.1.8).
    pub certificate: Option<String>,
}

/// `x5t#S256` of a certificate.
pub fn certificate_thumbprint(der: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der))
}

impl Credential<'_> {
    /// How it is shown, by its name at IANA (RFC 7591 section 2), where clients prove themselves so.
    pub fn method(self, takes: &ClientAuthentication) -> &'static str {
        let offers = |method: &str| takes.methods.iter().any(|offered| offered == method);
        match self {
            Self::None => "none",
            Self::Secret(_) if !offers(BASIC) && offers(POST) => POST,
            Self::Secret(_) => BASIC,
            Self::PrivateKey { .. } => "private_key_jwt",
        }
    }

    /// How its assertions are signed where clients prove themselves so. A key of RSA signs in two ways (RFC
    /// 7518 sections 3.3 and 3.5), and by the other one only where that is listed and its own is not.
    pub fn algorithm(self, takes: &ClientAuthentication) -> Option<Algorithm> {
        let Self::PrivateKey { algorithm, .. } = self else { return None };
        let lists = |algorithm: &Algorithm| takes.algorithms.iter().any(|listed| listed == algorithm.name());
        let other = other_of_its_key(algorithm).filter(|other| lists(other) && !lists(&algorithm));
        Some(other.unwrap_or(algorithm))
    }

    /// How its assertions could be signed, the usual way first.
    pub fn algorithms(self) -> impl Iterator<Item = Algorithm> {
        let usual = match self {
            Self::PrivateKey { algorithm, .. } => Some(algorithm),
            Self::None | Self::Secret(_) => None,
        };
        usual.into_iter().chain(usual.and_then(other_of_its_key))
    }

    /// How it is shown there, for operators.
    pub fn manner(self, takes: &ClientAuthentication) -> String {
        let method = self.method(takes);
        match self.algorithm(takes) {
            None => method.to_owned(),
            Some(algorithm) => format!("{method} with {}", algorithm.name()),
        }
    }

    /// For whom its assertions are.
    pub const fn audience(self) -> Option<Audience> {
        match self {
            Self::PrivateKey { audience, .. } => Some(audience),
            Self::None | Self::Secret(_) => None,
        }
    }

    /// Whether `text`, which the AS sent back, repeats it, in any form in which it was sent.
    pub fn is_repeated_in(self, client_id: &str, text: &str) -> bool {
        match self {
            Self::None => false,
            // One that is short is looked for too: whoever chose it would not see it printed either.
            Self::Secret(secret) => {
                let pair = SecretString::new(STANDARD.encode(&*pair(client_id, secret)));
                let encoded = SecretString::new(form_encoded(secret.expose()));
                [secret, &encoded, &pair].into_iter().any(|form| begins_in(form, text, 1))
            }
            // An assertion begins as every JWT.
            Self::PrivateKey { .. } => text.contains("eyJ"),
        }
    }
}

const fn other_of_its_key(algorithm: Algorithm) -> Option<Algorithm> {
    match algorithm {
        Algorithm::Rs256 => Some(Algorithm::Ps256),
        Algorithm::Ps256 => Some(Algorithm::Rs256),
        _ => None,
    }
}

/// What a request to the AS carries for it.
#[derive(Clone, Debug, Default)]
pub struct Authentication {
    pub authorization: Option<HeaderValue>,
    pub fields: Vec<(&'static str, SecretString)>,
}

/// Why no assertion could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// The private key cannot be read or does not fit its algorithm.
    KeyUnusable,
    NoTokenEndpoint,
    AnotherOrigin,
}

impl Unproven {
    /// For operators.
    pub const fn why(self) -> &'static str {
        match self {
            Self::KeyUnusable => {
                "the client's private key cannot sign: it must be PKCS#8 PEM of the algorithm's kind"
            }
            Self::NoTokenEndpoint => {
                "the AS publishes no token endpoint, by which assertion_audience would have it called"
            }
            Self::AnotherOrigin => {
                "the endpoint is at another origin than the token endpoint, and gets no assertion for that: set assertion_audience to endpoint, or to issuer"
            }
        }
    }
}

/// `jti`: 128 random bits.
///
/// # Errors
/// [`Unproven`] for `private_key_jwt` only.
pub fn authenticate(
    credential: Credential<'_>,
    client_id: &str,
    place: AuthenticatedEndpoint<'_>,
    jti: [u8; 16],
    now: Timestamp,
) -> Result<Authentication, Unproven> {
    match credential {
        Credential::None => {
            Ok(Authentication { authorization: None, fields: vec![("client_id", client_id.into())] })
        }
        Credential::Secret(secret) if credential.method(place.takes) == POST => Ok(Authentication {
            authorization: None,
            fields: vec![("client_id", client_id.into()), ("client_secret", secret.clone())],
        }),
        Credential::Secret(secret) => {
            Ok(Authentication { authorization: basic(client_id, secret), fields: Vec::new() })
        }
        Credential::PrivateKey { pem, algorithm, names, audience } => {
            let algorithm = credential.algorithm(place.takes).unwrap_or(algorithm);
            let claims = claims(client_id, audience.of(place)?, jti, now);
            let assertion = assertion(pem, &header(algorithm, names), algorithm, &claims)?;
            Ok(Authentication {
                authorization: None,
                fields: vec![
                    ("client_id", client_id.into()),
                    ("client_assertion_type", ASSERTION_TYPE.into()),
                    ("client_assertion", assertion),
                ],
            })
        }
    }
}

/// Id and secret are form-encoded before base64 (RFC 6749 section 2.3.1).
fn basic(client_id: &str, secret: &SecretString) -> Option<HeaderValue> {
    let pair = pair(client_id, secret);
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(&*pair))).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn pair(client_id: &str, secret: &SecretString) -> Zeroizing<String> {
    Zeroizing::new(format!("{}:{}", form_encoded(client_id), form_encoded(secret.expose())))
}

fn form_encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn header(algorithm: Algorithm, names: &KeyNames) -> Value {
    let members = [("alg", Some(algorithm.name())), ("typ", Some("JWT"))];
    let named = [("kid", names.kid.as_deref()), ("x5t#S256", names.certificate.as_deref())];
    let told = members.into_iter().chain(named).filter_map(|(name, value)| Some((name, value?)));
    told.collect::<Value>()
}

fn claims(client_id: &str, audience: &str, jti: [u8; 16], now: Timestamp) -> Value {
    json!({
        "iss": client_id,
        "sub": client_id,
        "aud": audience,
        "jti": URL_SAFE_NO_PAD.encode(jti),
        "iat": now.as_secs(),
        "exp": now.plus(ASSERTION_LIFETIME).as_secs(),
    })
}

fn assertion(
    pem: &Secret<Vec<u8>>,
    header: &Value,
    algorithm: Algorithm,
    claims: &Value,
) -> Result<SecretString, Unproven> {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let input = format!("{}.{}", part(header), part(claims));
    let signature = sign(pem, algorithm, input.as_bytes())?;
    Ok(SecretString::new(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))))
}

fn sign(pem: &Secret<Vec<u8>>, algorithm: Algorithm, input: &[u8]) -> Result<Vec<u8>, Unproven> {
    let key = SigningKey::from_pem(pem.expose()).ok();
    let key = key.map(|key| if algorithm == Algorithm::Ps256 { key.with_pss() } else { key });
    let key = key.filter(|key| key.algorithm() == algorithm);
    key.and_then(|key| key.sign(input).ok()).ok_or(Unproven::KeyUnusable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::signing::write_pem;
    use aws_lc_rs::encoding::AsDer;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        self, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn taking(methods: &[&str], algorithms: &[&str]) -> ClientAuthentication {
        let list = |of: &[&str]| of.iter().map(ToString::to_string).collect();
        ClientAuthentication { methods: list(methods), algorithms: list(algorithms) }
    }

    /// At the token endpoint of an AS whose endpoints take these methods.
    fn proven(
        credential: Credential<'_>,
        client_id: &str,
        methods: &[&str],
    ) -> Result<Authentication, Unproven> {
        proven_where(credential, client_id, &taking(methods, &[]))
    }

    fn proven_where(
        credential: Credential<'_>,
        client_id: &str,
        takes: &ClientAuthentication,
    ) -> Result<Authentication, Unproven> {
        let url = Url::parse("https://as.example/token").unwrap();
        let place =
            AuthenticatedEndpoint { url: &url, takes, iss: "https://as.example", token_endpoint: Some(&url) };
        authenticate(credential, client_id, place, [7; 16], NOW)
    }

    fn with_secret(supported: &[&str]) -> Authentication {
        proven(Credential::Secret(&SecretString::from("p:ä s%")), "web:app", supported).unwrap()
    }

    #[test]
    fn basic_form_encodes_both_parts_before_base64() {
        for supported in [&[][..], &["client_secret_basic", "client_secret_post"], &["private_key_jwt"]] {
            let made = with_secret(supported);
            let value = made.authorization.unwrap();
            assert!(value.is_sensitive() && made.fields.is_empty());
            let text = STANDARD.decode(value.to_str().unwrap().strip_prefix("Basic ").unwrap()).unwrap();
            assert_eq!(String::from_utf8(text).unwrap(), "web%3Aapp:p%3A%C3%A4+s%25");
        }
    }

    #[test]
    fn post_only_where_the_server_offers_nothing_better() {
        let made = with_secret(&["client_secret_post", "none"]);
        assert!(made.authorization.is_none());
        assert_eq!(made.fields, [("client_id", "web:app".into()), ("client_secret", "p:ä s%".into())]);
    }

    #[test]
    fn the_method_has_a_name_and_is_the_one_that_is_used() {
        let secret = SecretString::from("s");
        let method = |credential: Credential<'_>, supported: &[&str]| {
            let made = proven(credential, "web", supported).unwrap();
            (credential.method(&taking(supported, &[])), made.authorization.is_some())
        };
        let by_secret = Credential::Secret(&secret);
        assert_eq!(method(by_secret, &[]), (BASIC, true));
        assert_eq!(method(by_secret, &[POST, BASIC]), (BASIC, true));
        assert_eq!(method(by_secret, &[POST]), (POST, false));
        assert_eq!(method(Credential::None, &[POST]), ("none", false));
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pem = pem(key.to_pkcs8v1().unwrap().as_ref());
        let names = KeyNames::default();
        let by_key = Credential::PrivateKey {
            pem: &pem,
            algorithm: Algorithm::Es256,
            names: &names,
            audience: Audience::Issuer,
        };
        assert_eq!(method(by_key, &[POST]), ("private_key_jwt", false));
        assert!(by_key.is_repeated_in("web", "no such key: eyJhbGciOi"));
        assert!(!by_key.is_repeated_in("web", "AADSTS700027: the certificate is not registered"));
    }

    #[test]
    fn a_secret_is_known_again_in_each_form_in_which_it_was_sent() {
        let secret = SecretString::from("p:ä s%0123456789-and-more");
        let credential = Credential::Secret(&secret);
        let header = basic("web:app", &secret).unwrap();
        let sent = header.to_str().unwrap();
        for text in [
            "not p: s%0123456789-and-more",
            "cut: p: s%0123456789-",
            "p%3A%C3%A4+s%250123456789-and-more",
            sent,
        ] {
            assert!(credential.is_repeated_in("web:app", text), "{text}");
        }
        for text in
            ["", "AADSTS7000222: the keys for app 'web:app' are expired", "p:", "Basic is not supported"]
        {
            assert!(!credential.is_repeated_in("web:app", text), "{text}");
        }
        let short = SecretString::from("abc");
        assert!(Credential::Secret(&short).is_repeated_in("web", "secret abc is wrong"));
    }

    #[test]
    fn a_public_client_only_names_itself() {
        let made = proven(Credential::None, "web", &[]).unwrap();
        assert!(made.authorization.is_none());
        assert_eq!(made.fields, [("client_id", "web".into())]);
    }

    fn pem(der: &[u8]) -> Secret<Vec<u8>> {
        Secret::new(write_pem(der).as_bytes().to_vec())
    }

    fn signed(pem: &Secret<Vec<u8>>, algorithm: Algorithm) -> (String, Value, Vec<u8>) {
        let (header, input, claims, signature) = named(pem, algorithm, &KeyNames::default());
        assert_eq!(header, json!({ "alg": algorithm.name(), "typ": "JWT" }));
        (input, claims, signature)
    }

    fn named(
        pem: &Secret<Vec<u8>>,
        algorithm: Algorithm,
        names: &KeyNames,
    ) -> (Value, String, Value, Vec<u8>) {
        let audience = Audience::default();
        let credential = Credential::PrivateKey { pem, algorithm, names, audience };
        let made = proven(credential, "web", &["client_secret_basic"]).unwrap();
        assert_eq!(made.fields[1], ("client_assertion_type", ASSERTION_TYPE.into()));
        let text = made.fields[2].1.expose();
        let (input, signature) = text.rsplit_once('.').unwrap();
        let (header, claims) = input.split_once('.').unwrap();
        (read(header), input.to_owned(), read(claims), URL_SAFE_NO_PAD.decode(signature).unwrap())
    }

    fn read(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_is_for_an_endpoint_where_that_is_configured() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pem = pem(key.to_pkcs8v1().unwrap().as_ref());
        let url = |text: &str| Url::parse(text).unwrap();
        let token = url("https://as.example/token?tenant=1");
        let (revoke, elsewhere) = (url("https://as.example/revoke"), url("https://as.example:8443/revoke"));
        let aud = |audience, asked: &Url, token_endpoint| {
            let names = KeyNames::default();
            let credential =
                Credential::PrivateKey { pem: &pem, algorithm: Algorithm::Es256, names: &names, audience };
            let takes = ClientAuthentication::default();
            let place = AuthenticatedEndpoint {
                url: asked,
                takes: &takes,
                iss: "https://as.example",
                token_endpoint,
            };
            let made = authenticate(credential, "web", place, [7; 16], NOW)?;
            let claims = read(made.fields[2].1.expose().split('.').nth(1).unwrap());
            Ok(claims["aud"].as_str().unwrap().to_owned())
        };
        for (audience, asked, expected) in [
            (Audience::Issuer, &token, "https://as.example"),
            (Audience::Issuer, &elsewhere, "https://as.example"),
            (Audience::TokenEndpoint, &token, "https://as.example/token?tenant=1"),
            (Audience::TokenEndpoint, &revoke, "https://as.example/token?tenant=1"),
            (Audience::Endpoint, &token, "https://as.example/token?tenant=1"),
            (Audience::Endpoint, &revoke, "https://as.example/revoke"),
            (Audience::Endpoint, &elsewhere, "https://as.example:8443/revoke"),
        ] {
            assert_eq!(aud(audience, asked, Some(&token)).as_deref(), Ok(expected), "{audience:?}");
        }
        // Who names a stranger's token endpoint and an endpoint of his own gets nothing that is good there.
        let refused = aud(Audience::TokenEndpoint, &elsewhere, Some(&token));
        assert_eq!(refused, Err(Unproven::AnotherOrigin));
        assert_eq!(aud(Audience::TokenEndpoint, &revoke, None), Err(Unproven::NoTokenEndpoint));
        for (name, audience) in Audience::NAMES {
            assert_eq!(audience.name(), name);
        }
    }

    #[test]
    fn the_header_has_the_names_of_the_key_and_rsa_may_sign_with_pss() {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap();
        let thumbprint = certificate_thumbprint(b"abc");
        // The SHA-256 of `abc` (FIPS 180-2 appendix B.1).
        assert_eq!(thumbprint, "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
        let names = KeyNames { kid: Some("2026".into()), certificate: Some(thumbprint.clone()) };
        let (header, input, _, signature) = named(&pem(der.as_ref()), Algorithm::Ps256, &names);
        assert_eq!(header, json!({ "alg": "PS256", "typ": "JWT", "kid": "2026", "x5t#S256": thumbprint }));
        signature::UnparsedPublicKey::new(&signature::RSA_PSS_2048_8192_SHA256, key.public_key().as_ref())
            .verify(input.as_bytes(), &signature)
            .unwrap();
    }

    #[test]
    fn an_assertion_is_signed_by_what_the_server_lists_where_its_key_can() {
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let rsa = pem(AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&rsa).unwrap().as_ref());
        let p256 = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let p256 = pem(p256.to_pkcs8v1().unwrap().as_ref());
        for (pem, usual, listed, expected) in [
            (&rsa, Algorithm::Rs256, &[][..], "RS256"),
            (&rsa, Algorithm::Rs256, &["PS256", "RS256"], "RS256"),
            (&rsa, Algorithm::Rs256, &["ES256", "PS256"], "PS256"),
            (&rsa, Algorithm::Rs256, &["ES256"], "RS256"),
            (&rsa, Algorithm::Ps256, &["RS256", "PS256"], "PS256"),
            (&rsa, Algorithm::Ps256, &["RS256"], "RS256"),
            (&p256, Algorithm::Es256, &["PS256"], "ES256"),
        ] {
            let names = KeyNames::default();
            let credential =
                Credential::PrivateKey { pem, algorithm: usual, names: &names, audience: Audience::Issuer };
            let takes = taking(&["private_key_jwt"], listed);
            let made = proven_where(credential, "web", &takes).unwrap();
            let header = read(made.fields[2].1.expose().split('.').next().unwrap());
            assert_eq!(header["alg"], expected, "{usual:?} {listed:?}");
            assert_eq!(credential.manner(&takes), format!("private_key_jwt with {expected}"));
        }
    }

    #[test]
    fn an_assertion_names_the_issuer_alone_and_lives_for_a_minute() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let (input, claims, signature) = signed(&pem(key.to_pkcs8v1().unwrap().as_ref()), Algorithm::Es256);
        assert_eq!(claims["aud"], "https://as.example");
        assert_eq!((&claims["iss"], &claims["sub"]), (&"web".into(), &"web".into()));
        assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 60);
        assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
        signature::UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, key.public_key().as_ref())
            .verify(input.as_bytes(), &signature)
            .unwrap();
    }

    #[test]
    fn rsa_and_ed25519_keys_sign_too() {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der = AsDer::<aws_lc_rs::encoding::Pkcs8V1Der<'_>>::as_der(&key).unwrap();
        let (input, _, signature) = signed(&pem(der.as_ref()), Algorithm::Rs256);
        signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref())
            .verify(input.as_bytes(), &signature)
            .unwrap();
        let key = Ed25519KeyPair::generate().unwrap();
        let (input, _, signature) = signed(&pem(key.to_pkcs8v1().unwrap().as_ref()), Algorithm::EdDsa);
        signature::UnparsedPublicKey::new(&signature::ED25519, key.public_key().as_ref())
            .verify(input.as_bytes(), &signature)
            .unwrap();
    }

    #[test]
    fn a_key_that_does_not_fit_is_an_error_without_its_bytes() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let pem = pem(key.to_pkcs8v1().unwrap().as_ref());
        for algorithm in [Algorithm::Rs256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Hs256] {
            assert_eq!(sign(&pem, algorithm, b"x"), Err(Unproven::KeyUnusable), "{algorithm:?}");
        }
        assert_eq!(
            sign(&Secret::new(b"not a key".to_vec()), Algorithm::Es256, b"x"),
            Err(Unproven::KeyUnusable)
        );
    }
}
