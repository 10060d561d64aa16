//! Why access tokens of an authorization server are of no use here, in words for the log: what is wrong with
//! one, and what to change, there or here.
//!
//! It must never repeat a token, and of what one says no more than its `iss` and `aud`.

use crate::config::settings::{Client, Issuer};
use crate::core::denial::Denial;
use crate::core::secret::SecretString;
use crate::core::session::oauth::answer::claims_from_token_endpoint;
use crate::core::token::TokenRules;
use crate::core::token::introspection::is_opaque;
use crate::core::token::jwt::Unverified;
use crate::core::token::to_client::Wrong;
use crate::state::log_targets::SECURITY;

/// What a token should have said of its issuer or audience and what it says instead, in words for the log,
/// and the claim by which it shows another kind.
#[derive(Clone, Debug, Default)]
pub(super) struct Said {
    wanted: String,
    iss: Option<String>,
    aud: Option<String>,
    mark: Option<&'static str>,
    /// It is opaque, and what counts is what its issuer answered about it.
    by_introspection: bool,
}

impl Said {
    /// How much is repeated of what a token says: what a line has room for.
    const SHOWN: usize = 200;

    /// What there is to say where this is why it is refused.
    pub(super) fn of(denial: &Denial, issuer: &Issuer, token: &SecretString) -> Option<Self> {
        let rules = &issuer.rules;
        if issuer.introspection.is_some() && is_opaque(token.expose()) {
            let wanted = rules.audiences.join(" ");
            return Some(Self { wanted, by_introspection: true, ..Self::default() });
        }
        let claims = claims_from_token_endpoint(token);
        let said = |name| match claims.as_ref().map(|claims| claims.get(name)) {
            Some(Some(value)) => value.to_string().chars().take(Self::SHOWN).collect(),
            Some(None) => "(there is none)".to_owned(),
            None => "(the token is opaque)".to_owned(),
        };
        match denial {
            Denial::UnknownIssuer if claims.is_some() => {
                let wanted = rules.iss_of_access_tokens().join(" ");
                Some(Self { wanted, iss: Some(said("iss")), ..Self::default() })
            }
            Denial::WrongAudience | Denial::WrongTokenType => {
                let text = token.expose();
                let read = Unverified::parse(text, text.len()).ok();
                let mark = read.and_then(|read| read.says().mark_of_another_kind(rules));
                Some(Self {
                    wanted: rules.audiences.join(" "),
                    aud: Some(said("aud")),
                    mark,
                    ..Self::default()
                })
            }
            _ => None,
        }
    }
}

/// Says in the log why nobody is signed in with this ID token, and what to change.
pub(super) fn log_unfit_id_token(client: &Client, rules: &TokenRules, token: &SecretString, wrong: Wrong) {
    let text = token.expose();
    let read = Unverified::parse(text, text.len()).ok();
    let alg = read.as_ref().map(|read| read.says().algorithm.name());
    let aud: Option<String> = read
        .as_ref()
        .and_then(|read| read.says().claims.get("aud"))
        .map(|aud| aud.to_string().chars().take(Said::SHOWN).collect());
    let issuer = &client.issuer;
    let advice = if wrong == Denial::AlgorithmNotAllowed.into() {
        let accepted: Vec<&str> = rules.algorithms.iter().map(|algorithm| algorithm.name()).collect();
        format!(
            "put the ID token's algorithm into issuers.{issuer}.algorithms ({}), or let the AS sign this client's ID tokens with one of \
             these (often its id_token_signed_response_alg there)",
            accepted.join(" ")
        )
    } else {
        "the AS must issue an ID token that is as `why` asks (OpenID Connect Core 1.0 section 3.1.3.7)"
            .to_owned()
    };
    tracing::error!(
        target: SECURITY,
        event = "security",
        client = %client.name,
        %issuer,
        why = wrong.why(),
        alg,
        aud,
        client_id = client.client_id,
        "the AS's ID token does not fit, and nobody is signed in: {advice}"
    );
}

/// Says in the log what to change so that access tokens are of use here.
pub(super) fn log_unusable(client: &Client, denial: &Denial, said: Option<&Said>) {
    let facts = denial.facts();
    if *denial == Denial::Revoked {
        tracing::error!(
            client = %client.name,
            issuer = %client.issuer,
            "the AS gave an access token that was revoked here before it came: it may still sign with a revoked key"
        );
        return;
    }
    if matches!(denial, Denial::BoundTokenAsBearer | Denial::ProofOfAnotherKey) {
        tracing::error!(
            client = %client.name,
            issuer = %client.issuer,
            "the AS bound an access token to a key of which no proof came with the request: it is of use to nobody"
        );
        return;
    }
    if *denial == Denial::AccessTokenUnusable {
        return; // It was told of with its type.
    }
    let mark = said.and_then(|said| said.mark);
    let by_introspection = said.is_some_and(|said| said.by_introspection);
    let asked_for = by_introspection.then(|| advice_on_introspection(client, denial)).flatten();
    tracing::error!(
        client = %client.name,
        issuer = %client.issuer,
        reason = facts.label,
        detail = facts.detail,
        wanted = said.map(|said| said.wanted.as_str()),
        iss = said.and_then(|said| said.iss.as_deref()),
        aud = said.and_then(|said| said.aud.as_deref()),
        mark,
        "the access token from the AS would be refused by this gateway: {}, or set clients.{}.accept_any_access_token: true if \
         its APIs are not behind this gateway",
        asked_for.unwrap_or_else(|| advice(client, denial, mark)),
        client.name,
    );
}

/// What the issuer's answer about an opaque token (RFC 7662 section 2.2) must say.
fn advice_on_introspection(client: &Client, denial: &Denial) -> Option<String> {
    let (issuer, name) = (&client.issuer, &client.name);
    let advice = match denial {
        Denial::WrongTokenType => {
            "let the AS's answer to the introspection of it say `token_type: Bearer`, as refresh tokens are active too".to_owned()
        }
        Denial::WrongAudience => format!(
            "let the AS's answer to the introspection of it say one of `wanted` in `aud`, which is issuers.{issuer}.audience (often by \
             clients.{name}.resource or scope); where it says none at all, put the client_id into issuers.{issuer}.clients_without_audience"
        ),
        Denial::TokenMalformed(_) => {
            "let the AS's answer to the introspection of it be as `detail` asks".to_owned()
        }
        Denial::TokenInactive { .. } => format!(
            "the AS calls its own new token inactive, as it does where the client of issuers.{issuer}.introspection may not ask about it"
        ),
        _ => return None,
    };
    Some(format!("{advice}; see docs/configuration.md, «Opaque tokens»"))
}

/// What to change there or here.
fn advice(client: &Client, denial: &Denial, mark: Option<&str>) -> String {
    let (issuer, name) = (&client.issuer, &client.name);
    match denial {
        Denial::TokenTooLarge => {
            "raise limits.token (and limits.header, which a request with it must fit), or let the AS put \
             less into it, such as a list of groups"
                .to_owned()
        }
        Denial::TokenLivesTooLong => {
            format!("raise issuers.{issuer}.max_token_lifetime, or let the AS issue tokens that end sooner")
        }
        Denial::TokenMalformed(_) => format!(
            "make the AS issue a JWT that is as `detail` asks (often by clients.{name}.resource or scope), or let it be opaque, with \
             `introspection` of the issuer"
        ),
        Denial::TokenExpired | Denial::TokenNotYetValid => {
            format!("set the clocks here and at the AS, or raise issuers.{issuer}.clock_skew")
        }
        Denial::AlgorithmNotAllowed => {
            format!(
                "put its algorithm into issuers.{issuer}.algorithms, or let the AS sign with one of these"
            )
        }
        Denial::UnknownKey | Denial::BadSignature => {
            "see that the AS signs access tokens with a key of its jwks_uri".to_owned()
        }
        Denial::UnknownIssuer => format!(
            "its `iss` must be `wanted`. Where the AS calls itself otherwise in access tokens alone (AD FS; Entra ID, unless the API's \
             manifest has requestedAccessTokenVersion: 2), put that into issuers.{issuer}.access_token_issuer; else let \
             issuers.{issuer}.url be what it writes there; see docs/deployment.md"
        ),
        Denial::WrongTokenType if mark == Some("nonce") => format!(
            "it repeats the `nonce` of the sign-in, as ID tokens do, and nothing shows that it is none. Make the AS name its client in `azp` \
             and an API alone in `aud`, or leave `nonce` out of access tokens, or issue at+jwt (RFC 9068); or, where the AS writes some \
             claim into access tokens alone, put its name into issuers.{issuer}.claims.access_token; see docs/deployment.md"
        ),
        // What a token is told by that has no `typ` of its own.
        Denial::WrongTokenType => format!(
            "it looks like an ID token or another that is none for an API. Where its `aud` names clients alone, make the AS name an \
             API there (often by clients.{name}.resource or scope) and put that into issuers.{issuer}.audience; or make the AS issue \
             at+jwt (RFC 9068); see docs/deployment.md"
        ),
        Denial::WrongAudience => format!(
            "its `aud` must have one of `wanted`, which is issuers.{issuer}.audience. Make the AS write it there: by clients.{name}.resource \
             or scope, in Keycloak by a mapper of the kind «Audience», at Auth0 by clients.{name}.authorize; where it writes none at all \
             (Amazon Cognito), put the client_id into issuers.{issuer}.clients_without_audience; see docs/deployment.md"
        ),
        _ => format!(
            "make the AS issue a JWT (or an opaque token, with `introspection` of the issuer) for one of issuers.{issuer}.audience \
             (often by clients.{name}.resource or scope)"
        ),
    }
}
