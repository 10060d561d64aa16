//! Whether an issuer takes what the gateway proves itself with: `tollgate check --live`. Each client proves
//! itself once, as it does when somebody signs in, and asks for what cannot be given: an exchange of a
//! refresh token that nobody has (RFC 6749 section 5.2: `invalid_client` is said of the client,
//! `invalid_grant` of the token), and what an access token is worth that nobody has (RFC 7662 sections 2.1
//! and 2.3). Where requests are pushed, one is that no browser brings (RFC 9126 section 2).
//!
//! Both tokens are random bytes of this moment, so nobody's session is touched. What it must never do: say
//! that a credential counts, or does not, where the answer may be given to either; show a secret.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use http::{Response, StatusCode};

use crate::config::settings::{Client, ClientCredential, GrantType, Login, Settings};
use crate::core::hex;
use crate::core::secret::{Secret, SecretString};
use crate::core::server_error::ServerError;
use crate::core::session::oauth::answer::{self, ServerAnswer};
use crate::core::session::oauth::authentication::{Audience, Credential};
use crate::core::session::oauth::pushed::PushAnswer;
use crate::core::session::oauth::request::ServerForm;
use crate::flows::call_authorization_server::{
    ClientAtServer, ClientProof, encoding_note, place, post, push_authorization_request, said, send,
    unrepeated,
};
use crate::flows::introspect::{ask_once, read_once};
use crate::flows::keep_keys_fresh::Means;
use crate::flows::ports::{self, Bounds, Randomness};
use crate::flows::sign_in::nobodys_request;
use crate::state::issuer_keys::IssuerState;
use crate::state::metrics::ServerEndpoint;

/// What a trial showed, in words.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    Counts(String),
    /// And what to do.
    DoesNotCount(String),
    /// There is no answer.
    Unreached(String),
    /// The answer is one that may be given to either.
    Nothing(String),
}

/// Who is tried where, and what comes of it.
pub(crate) type Trial<'a> = (String, LocalBoxFuture<'a, Shown>);

const UNASKED: &str = "was not tried, since the endpoint of its issuer is not known";

/// What a check asks with.
#[derive(Clone, Copy)]
struct Trying<'a> {
    means: Means<'a>,
    random: &'a Arc<dyn Randomness>,
    issuer: &'a Arc<IssuerState>,
}

/// A registration at an authorization server.
#[derive(Debug)]
struct Registered<'a> {
    /// Where it stands in config.yaml.
    place: String,
    client_id: &'a str,
    credential: &'a ClientCredential,
    /// Whether it ever brings a refresh token.
    refreshes: bool,
}

/// All that the gateway proves itself with at this issuer, whose endpoints have been fetched, or could not
/// be. Native clients whose callers bring the credential have none here.
pub(crate) fn trials<'a>(
    means: Means<'a>,
    random: &'a Arc<dyn Randomness>,
    settings: &'a Settings,
    issuer: &'a Arc<IssuerState>,
) -> Vec<Trial<'a>> {
    let name = &issuer.settings.name;
    let trying = Trying { means, random, issuer };
    let requires_pushed = issuer.endpoints().is_some_and(|endpoints| endpoints.requires_pushed);
    let mut trials: Vec<Trial<'a>> = Vec::new();
    for client in settings.clients.iter().filter(|client| client.issuer == *name) {
        let who = format!("client {}", client.name);
        trials.push((who.clone(), trying.at_token_endpoint(Registered::from(&**client)).boxed_local()));
        if let Some(login) = client.login.as_ref().filter(|login| login.pushed || requires_pushed) {
            trials.push((format!("{who} pushed"), trying.by_pushing(client, login).boxed_local()));
        }
    }
    let lent = |credential: &ClientCredential| !matches!(credential, ClientCredential::None);
    let native = settings.native_clients.iter().filter(|client| client.issuer == *name);
    for client in native.filter(|client| lent(&client.credential)) {
        let registered = Registered {
            place: format!("clients.{}", client.name),
            client_id: &client.client_id,
            credential: &client.credential,
            refreshes: client.grants.contains(&GrantType::RefreshToken),
        };
        let who = format!("client {}", client.name);
        trials.push((who, trying.at_token_endpoint(registered).boxed_local()));
    }
    if issuer.settings.introspection.is_some() {
        trials.push((format!("introspection {name}"), trying.by_introspection().boxed_local()));
    }
    trials
}

impl<'a> From<&'a Client> for Registered<'a> {
    fn from(client: &'a Client) -> Self {
        Self {
            place: format!("clients.{}", client.name),
            client_id: &client.client_id,
            credential: &client.credential,
            refreshes: true,
        }
    }
}

impl<'a> Trying<'a> {
    async fn at_token_endpoint(self, client: Registered<'a>) -> Shown {
        let Self { means, random, issuer } = self;
        let endpoints = issuer.endpoints();
        let known = endpoints.as_deref().and_then(|known| Some((known, known.token.as_ref()?)));
        let Some((endpoints, url)) = known else { return unasked(&client) };
        let form = ServerForm::refresh(&nobodys_token(&**random), None, None);
        let place = place(issuer, endpoints, url, &endpoints.token_auth);
        let client_there = client.at(issuer);
        let request = match post(&**random, means.clock.now(), place, client_there, &form) {
            Ok(request) => request,
            Err(why) => return Shown::DoesNotCount(why.to_owned()),
        };
        let bounds = Bounds { deadline: issuer.settings.timeout, answer_bytes: answer::LIMIT };
        match send(means, issuer, ServerEndpoint::Token, request, bounds).await {
            Ok(response) => {
                let manner = Credential::from(client.credential).manner(&endpoints.token_auth);
                client.shown_by_token_endpoint(
                    &manner,
                    response.status(),
                    &read(&response, client_there, &form),
                )
            }
            Err(fault) => Shown::Unreached(said(fault).to_owned()),
        }
    }

    async fn by_pushing(self, client: &'a Client, login: &'a Login) -> Shown {
        let Self { means, random, issuer } = self;
        let registered = Registered::from(client);
        let endpoints = issuer.endpoints();
        let known =
            endpoints.as_deref().and_then(|known| Some((known, known.pushed_authorization.as_ref()?)));
        let Some((endpoints, url)) = known else { return unasked(&registered) };
        let bits = Secret::new(ports::random(&**random));
        let form = nobodys_request(client, login, issuer, &bits, means.clock.now());
        let manner = Credential::from(&client.credential).manner(&endpoints.token_auth);
        match push_authorization_request(means, &**random, issuer, endpoints, url, client.into(), &form).await
        {
            PushAnswer::Taken(_) => Shown::Counts("its authorization requests are taken".to_owned()),
            PushAnswer::InvalidClient(said) => registered.not_taken(&manner, &words(None, &said)),
            PushAnswer::Refused(said) if said.wants_the_person() => {
                Shown::Nothing(format!("the AS says {}, which it may tell a person only", words(None, &said)))
            }
            PushAnswer::Refused(said) => Shown::DoesNotCount(format!(
                "the AS refuses an authorization request with {}; see that its `redirect_uri` {} is registered there, that `{place}.scope`, `resource` \
                 and `authorize` are what it takes, and that its credential counts",
                words(None, &said),
                client.redirect_uri,
                place = registered.place,
            )),
            PushAnswer::Unusable(outage) => match outage.status {
                None => Shown::Unreached(outage.why.to_owned()),
                Some(401 | 403) => registered.not_taken(&manner, &unspoken(outage.status)),
                Some(_) => registered.nothing(&unspoken(outage.status)),
            },
        }
    }

    async fn by_introspection(self) -> Shown {
        let Self { means, random, issuer } = self;
        let Some(asked) = &issuer.settings.introspection else { return Shown::Nothing(UNASKED.to_owned()) };
        let client = Registered {
            place: format!("issuers.{}.introspection", issuer.settings.name),
            client_id: &asked.client_id,
            credential: &asked.credential,
            refreshes: false,
        };
        let published = || issuer.endpoints().is_some_and(|known| known.introspection.is_some());
        if asked.endpoint.is_none() && !published() {
            return unasked(&client);
        }
        let token = nobodys_token(&**random);
        let form = ServerForm::introspection(token.expose());
        match ask_once(means, random, issuer, token).await {
            Ok((response, manner)) => {
                let answer = read(&response, client.at(issuer), &form);
                client.shown_by_introspection(&manner, &response, &answer)
            }
            Err(why) => Shown::Unreached(why),
        }
    }
}

impl Registered<'_> {
    fn at<'b>(&'b self, issuer: &'b IssuerState) -> ClientAtServer<'b> {
        ClientAtServer {
            client_id: self.client_id,
            issuer: &issuer.settings.name,
            proof: ClientProof::Ours(self.credential),
        }
    }

    fn shown_by_token_endpoint(&self, manner: &str, status: StatusCode, answer: &ServerAnswer) -> Shown {
        match answer {
            ServerAnswer::InvalidGrant(_) => {
                self.counts(manner, "the AS refuses the refresh token alone, which nobody has")
            }
            ServerAnswer::Tokens(_) => Shown::Nothing(
                "the AS takes a refresh token that nobody has, as servers for tests do".to_owned(),
            ),
            ServerAnswer::Refused(said) if self.refreshes && said.error == "unsupported_grant_type" => {
                Shown::DoesNotCount(format!(
                    "the AS answers {}: it exchanges no refresh tokens, and no session can be without them",
                    words(Some(status), said)
                ))
            }
            other => self.shown_by_refusal(manner, status, other),
        }
    }

    fn shown_by_introspection(
        &self,
        manner: &str,
        response: &Response<Bytes>,
        answer: &ServerAnswer,
    ) -> Shown {
        let status = response.status();
        if status == StatusCode::OK {
            return match read_once(response, manner) {
                Ok(answer) if answer.is_active() => Shown::Nothing(
                    "the AS calls a token active that nobody has, as servers for tests do".to_owned(),
                ),
                Ok(_) => self.counts(manner, "the AS says of a token that nobody has that it is not active"),
                Err(why) => {
                    Shown::DoesNotCount(format!("{why}; see that `{}.endpoint` is right", self.place))
                }
            };
        }
        match answer {
            ServerAnswer::Refused(said) if status == StatusCode::FORBIDDEN => Shown::DoesNotCount(format!(
                "the AS answers {}: let the client `{}` introspect tokens there",
                words(Some(status), said),
                self.client_id
            )),
            other => self.shown_by_refusal(manner, status, other),
        }
    }

    /// The same at each endpoint where the client proves itself.
    fn shown_by_refusal(&self, manner: &str, status: StatusCode, answer: &ServerAnswer) -> Shown {
        let is_unauthorized = status == StatusCode::UNAUTHORIZED;
        match answer {
            ServerAnswer::InvalidClient(said) => self.not_taken(manner, &words(Some(status), said)),
            // RFC 9110 section 15.5.2; Keycloak says unauthorized_client with it.
            ServerAnswer::Refused(said) if is_unauthorized => {
                self.not_taken(manner, &words(Some(status), said))
            }
            ServerAnswer::Refused(said) if said.error == "unauthorized_client" && self.refreshes => {
                Shown::DoesNotCount(format!(
                    "the AS answers {}: let the client `{}` use the grant type refresh_token there; or else, since some servers say it of that, {}",
                    words(Some(status), said),
                    self.client_id,
                    self.remedy(manner)
                ))
            }
            ServerAnswer::Refused(said) | ServerAnswer::InvalidGrant(said) => {
                self.nothing(&words(Some(status), said))
            }
            ServerAnswer::Unusable(_) if is_unauthorized || status == StatusCode::FORBIDDEN => {
                self.not_taken(manner, &unspoken(Some(status.as_u16())))
            }
            ServerAnswer::Unusable(_) if matches!(status.as_u16(), 404 | 405 | 410) => {
                Shown::DoesNotCount(format!(
                    "the AS answers {} where its metadata or `{}` have the endpoint",
                    status.as_u16(),
                    self.place
                ))
            }
            ServerAnswer::Unusable(_) | ServerAnswer::Tokens(_) => {
                self.nothing(&unspoken(Some(status.as_u16())))
            }
        }
    }

    fn counts(&self, manner: &str, by: &str) -> Shown {
        Shown::Counts(match self.credential {
            ClientCredential::None => format!("it is known there, without a secret: {by}"),
            ClientCredential::Secret(_) => format!("its secret counts, by {manner}: {by}"),
            ClientCredential::PrivateKey(_) => format!("its private key counts, by {manner}: {by}"),
        })
    }

    fn not_taken(&self, manner: &str, answered: &str) -> Shown {
        let shown = match self.credential {
            ClientCredential::None => "the client without a secret".to_owned(),
            ClientCredential::Secret(_) => format!("its secret by {manner}"),
            ClientCredential::PrivateKey(_) => format!("an assertion of its private key, by {manner}"),
        };
        let note = encoding_note(self.credential, manner).map(|note| format!("; {note}"));
        Shown::DoesNotCount(format!(
            "the AS answers {answered}, so it does not take {shown}; {}{}",
            self.remedy(manner),
            note.unwrap_or_default()
        ))
    }

    fn nothing(&self, answered: &str) -> Shown {
        Shown::Nothing(format!(
            "the AS answers {answered}, which does not tell whether {} counts",
            self.what()
        ))
    }

    const fn what(&self) -> &'static str {
        match self.credential {
            ClientCredential::None => "its `client_id`",
            ClientCredential::Secret(_) => "its secret",
            ClientCredential::PrivateKey(_) => "its private key",
        }
    }

    fn remedy(&self, manner: &str) -> String {
        let (place, id) = (&self.place, self.client_id);
        match self.credential {
            ClientCredential::None => format!(
                "see that the client `{id}` is there, as one without a secret, or give `{place}.secret` or `private_key`"
            ),
            ClientCredential::Secret(_) => format!(
                "see that `{place}.secret` is the secret of the client `{id}` there and has not ended, and that {manner} is how that client is \
                 registered to show it"
            ),
            ClientCredential::PrivateKey(key) => format!(
                "see that the public key of `{place}.private_key` is registered there for the client `{id}`, and that assertions may be for the {} \
                 (`{place}.assertion_audience`)",
                match key.audience {
                    Audience::Issuer => "issuer",
                    Audience::TokenEndpoint => "token endpoint",
                    Audience::Endpoint => "endpoint that is asked",
                }
            ),
        }
    }
}

fn unasked(client: &Registered<'_>) -> Shown {
    Shown::Nothing(format!("{} {UNASKED}", client.what()))
}

/// One that nobody has, and that a server's log shows to be of a check.
fn nobodys_token(random: &dyn Randomness) -> SecretString {
    let mut token = "tollgate-check-live-".to_owned();
    // Writing to a text has no reason to fail.
    let _ = hex::write(&mut token, &ports::random::<32>(random));
    SecretString::new(token)
}

/// An answer without what it repeats of the credential.
fn read(response: &Response<Bytes>, client: ClientAtServer<'_>, form: &ServerForm) -> ServerAnswer {
    unrepeated(answer::read(response.status(), response.headers(), response.body()), client, form)
}

/// `401 invalid_client (no such client)`.
fn words(status: Option<StatusCode>, said: &ServerError) -> String {
    let status = status.map(|status| format!("{} ", status.as_u16())).unwrap_or_default();
    let description = said.description.as_ref().filter(|text| !text.is_empty());
    let description = description.map(|text| format!(" ({text})")).unwrap_or_default();
    format!("{status}{}{description}", said.error)
}

fn unspoken(status: Option<u16>) -> String {
    format!("{} and no error of OAuth", status.unwrap_or_default())
}
