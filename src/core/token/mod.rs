//! Tokens: from bytes that somebody sent to a [`verified::VerifiedToken`] (an access token), a
//! [`id_token::VerifiedIdToken`], a [`logout_token::VerifiedLogoutToken`] or a
//! [`security_event::VerifiedSecurityEvent`], which only this folder makes. None of the four passes as
//! another.
//!
//! - `bearer`: finds the one credential of a request (RFC 6750 section 2)
//! - `subprotocol`: the same where a page opens a WebSocket; `b64token`: what it is spelled with
//! - `check`: what is looked at, one by one
//! - `binding`: to which key a token is bound; `dpop`: the proofs by which its holder shows that key (RFC
//!   9449)
//! - `jwks`: reads an issuer's keys (RFC 7517), key by key
//! - `jwt`: judges a token (RFC 7515, RFC 7519, RFC 8725, RFC 9068); `kind`: which kind of JWT it is;
//!   `issuer`: whose it is; `audience`: whom it is for
//! - `to_client`, `id_token`, `logout_token`: what an issuer says to its clients, and not to APIs (OpenID
//!   Connect)
//! - `security_event`: what a transmitter of shared signals says happened (RFC 8417)
//! - `introspection`: which tokens their issuer is asked about, and judges what it answers (RFC 7662)
//! - `verified`: what a good token is to the rest; `facts`: what is looked at in it; `scope_values`: what it
//!   grants; `claims`: what it says, or what is kept of that
//! - `id`: what a token is known by once it was handed out
//! - `fingerprint`: what tells one token's text from all others
//! - `freshness`: when keys are good, old or worth fetching, as a decision
//! - `json`: JSON objects without repeated members

pub mod bearer;
pub mod binding;
pub mod check;
pub mod claims;
pub mod dpop;
pub mod facts;
pub mod fingerprint;
pub mod freshness;
pub mod id;
pub mod id_token;
pub mod introspection;
pub mod jwks;
pub mod jwt;
pub mod kind;
pub mod logout_token;
pub mod scope_values;
pub mod security_event;
pub mod subprotocol;
pub mod to_client;
pub mod verified;

#[cfg(test)]
mod attacks;
mod audience;
mod b64token;
mod issuer;
pub(crate) mod json;
#[cfg(test)]
pub(crate) mod testing;

use std::time::Duration;

use crate::core::ids::IssuerName;

/// A signature algorithm that Tollgate verifies (RFC 7518 section 3.1, RFC 8037). `none` cannot be
/// expressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    Hs256,
    Hs384,
    Hs512,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    Es512,
    EdDsa,
}

impl Algorithm {
    pub const ALL: [Self; 13] = [
        Self::Hs256,
        Self::Hs384,
        Self::Hs512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::EdDsa,
    ];

    /// The name in the `alg` header parameter; case-sensitive.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::EdDsa => "EdDSA",
        }
    }

    /// How long its secret must be at least, in bytes: as long as the output of its hash (RFC 7518 section
    /// 3.2). `None`: it is one of public keys, and has no secret.
    pub const fn least_secret(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => None,
            Self::Es256 | Self::Es384 | Self::Es512 | Self::EdDsa => None,
        }
    }

    /// Case-sensitive. `Ed25519` is the name that RFC 9864 gives to the one kind of EdDSA that
    /// Tollgate verifies.
    pub fn parse(name: &str) -> Option<Self> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// The largest [`TokenRules::clock_skew`] that may be configured: so long after its end a token may still
/// pass.
pub const LARGEST_CLOCK_SKEW: Duration = Duration::from_secs(600);

/// The largest [`TokenRules::iat_behind`] that may be configured.
pub const LARGEST_IAT_BEHIND: Duration = Duration::from_secs(600);

/// What one issuer's tokens must be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRules {
    pub issuer: IssuerName,
    /// `iss`, compared byte for byte: of ID tokens and logout tokens, and of whatever is remembered of its
    /// subjects.
    pub iss: String,
    /// What the `iss` of access tokens is, one of these; empty: [`Self::iss`].
    pub access_token_iss: Vec<String>,
    /// One of these must be in `aud`; never empty.
    pub audiences: Vec<String>,
    /// The `client_id`s whose access tokens may come without `aud`.
    pub clients_without_audience: Vec<String>,
    pub algorithms: Vec<Algorithm>,
    /// Set: only this `typ`. Unset: `at+jwt`, `JWT` or absent.
    pub token_type: Option<String>,
    pub clock_skew: Duration,
    /// How far before the moment in which a token was made its `iat` lies. Only what is taken back up to a
    /// moment is compared with it.
    pub iat_behind: Duration,
    pub max_token_lifetime: Duration,
    pub claims: ClaimNames,
    /// The `client_id`s configured for this issuer: a token whose `aud` names only these is an ID token.
    pub client_ids: Vec<String>,
}

/// Which claim holds what, in order; the first present counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    pub scope: Vec<String>,
    pub client: Vec<String>,
    pub session: Vec<String>,
    pub id: Vec<String>,
    /// Claims that only access tokens have: their presence counts, not their value, and any one is enough.
    pub access_token: Vec<String>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        Self {
            scope: names(&["scope", "scp"]),
            client: names(&["client_id", "azp", "cid", "appid"]),
            session: names(&["sid"]),
            id: names(&["jti", "uti"]),
            access_token: Vec::new(),
        }
    }
}

/// The largest access token accepted, unless `limits.token` says otherwise, in bytes.
pub const DEFAULT_TOKEN_LIMIT: usize = 8 * 1024;
