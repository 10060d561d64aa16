//! `/oauth/login`, `/oauth/callback`, `/oauth/logout` and what is below them on the wire: asks the flows,
//! writes what they say. A person gets pages, a script JSON; nothing of it may be stored by anybody. No page
//! may have a token in it: script of the same origin reads it, in whatever window it is.

use std::sync::Arc;

use http::{HeaderValue, StatusCode, header};
use pingora::http::RequestHeader;
use serde_json::json;

use crate::core::ids::ClientName;
use crate::core::request::RequestHead;
use crate::core::session::authorization::again_path;
use crate::core::session::navigation::is_navigation;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::offer::Offer;
use crate::edge::answers::pages::Pages;
use crate::edge::answers::request_headers::Identification;
use crate::edge::answers::respond::Form;
use crate::edge::own_endpoints::reply::EndpointReply;
use crate::edge::own_endpoints::token_endpoint::refused;
use crate::edge::request::request_head;
use crate::flows::Gate;
use crate::flows::admit::Target;
use crate::flows::oauth_answer::OAuthRefusal;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::flows::sign_in::callback::{self, Arrived};
use crate::flows::sign_in::{SignInRefusal, login, not_under_way};
use crate::flows::sign_out::lead_on::{LedOn, lead_on};
use crate::flows::sign_out::logout::{SignOutBy, SignedOut, log_out};
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

/// What every answer needs.
#[derive(Clone, Copy)]
pub(crate) struct EndpointRequest<'a> {
    pub(crate) gate: &'a Arc<Gate>,
    pub(crate) live: &'a Arc<Live>,
    pub(crate) pages: &'a Pages,
    pub(crate) request: &'a RequestHeader,
    pub(crate) target: &'a Target,
    pub(crate) who: &'a Identification,
}

impl EndpointRequest<'_> {
    fn query(&self) -> Option<&str> {
        self.target.query.as_deref()
    }

    /// Where the address of a page has no code.
    fn away(&self, client: Option<&ClientName>) -> String {
        let client = client.and_then(|name| self.live.settings.client(name));
        again_path(client.map(|client| client.client_id.as_str()))
    }

    fn refuse(&self, refusal: SignInRefusal) -> EndpointReply {
        let SignInRefusal { denial, client, again, set_cookies, may_be_strangers, signed_in } = refusal;
        let mut answer = match Form::fit_for(self.request, self.pages) {
            Form::Page(..) if may_be_strangers => Answer::see_other(&self.away(client.as_ref())),
            form => {
                let form = match form {
                    Form::Page(pages, _) => Form::Page(pages, Offer::sign_in(again.as_deref())),
                    form => form,
                };
                Answer::refusal(&denial, form, self.who.ids.request_id.as_str())
            }
        };
        for cookie in set_cookies {
            answer.set(header::SET_COOKIE, cookie);
        }
        let (subject, family) = signed_in.map_or((None, None), |whose| (whose.subject, Some(whose.family)));
        EndpointReply { client, subject, family, ..EndpointReply::refused(answer, denial) }
    }
}

/// Answers a request to one of them.
pub(crate) async fn answer(asked: EndpointRequest<'_>, endpoint: OwnEndpoint) -> EndpointReply {
    match endpoint {
        OwnEndpoint::Logout => sign_out(asked).await,
        OwnEndpoint::LogoutNext => go_on_signing_out(asked).await,
        endpoint => sign_in(asked, endpoint).await.unwrap_or_else(|refusal| asked.refuse(refusal)),
    }
}

async fn sign_in(asked: EndpointRequest<'_>, endpoint: OwnEndpoint) -> Result<EndpointReply, SignInRefusal> {
    endpoint.takes(&asked.request.method)?;
    let host = request_head::host(asked.request)?;
    let head = request_head::head(asked.request, &host, asked.who.client)?;
    match endpoint {
        OwnEndpoint::Login => begin(asked, &head).await,
        OwnEndpoint::LoginAgain => Err(not_under_way(asked.live, asked.query())),
        _ => end(asked, &head).await,
    }
}

async fn begin(asked: EndpointRequest<'_>, head: &RequestHead<'_>) -> Result<EndpointReply, SignInRefusal> {
    let begun = login::login(asked.gate, asked.live, head, asked.query()).await?;
    let mut answer = Answer::see_other(&begun.location);
    for cookie in begun.set_cookies {
        answer.set(header::SET_COOKIE, cookie);
    }
    Ok(done(answer, RequestOutcome::SignInBegun, begun.client))
}

async fn end(asked: EndpointRequest<'_>, head: &RequestHead<'_>) -> Result<EndpointReply, SignInRefusal> {
    let path = asked.target.path.as_str();
    match callback::callback(asked.gate, asked.live, head, path, asked.query()).await? {
        Arrived::Again { client } => {
            let to = format!("{path}?{}", asked.query().unwrap_or_default());
            Ok(done(asked.pages.goes_on(&to), RequestOutcome::SignInGoesOn, client))
        }
        Arrived::Anew { goes_to, set_cookies, client } => {
            let answer = goes_on_with(asked, &goes_to, set_cookies);
            Ok(done(answer, RequestOutcome::SignInGoesOn, client))
        }
        Arrived::SignedIn(signed_in) => {
            let answer = goes_on_with(asked, &signed_in.goes_to, signed_in.set_cookies);
            let (subject, family) = (signed_in.whose.subject, Some(signed_in.whose.family));
            Ok(EndpointReply { subject, family, ..done(answer, RequestOutcome::SignedIn, signed_in.client) })
        }
    }
}

fn goes_on_with(asked: EndpointRequest<'_>, to: &str, set_cookies: Vec<HeaderValue>) -> Answer {
    let mut answer = asked.pages.goes_on(to);
    for cookie in set_cookies {
        answer.set(header::SET_COOKIE, cookie);
    }
    answer
}

fn done(answer: Answer, outcome: RequestOutcome, client: ClientName) -> EndpointReply {
    EndpointReply { client: Some(client), ..EndpointReply::done(answer, outcome) }
}

async fn sign_out(asked: EndpointRequest<'_>) -> EndpointReply {
    let by = if is_navigation(&asked.request.headers) { SignOutBy::Navigation } else { SignOutBy::Script };
    let signed_out = match signed_out(asked, by).await {
        Ok(signed_out) => signed_out,
        Err(refusal) => {
            let form = Form::fit_for(asked.request, asked.pages);
            return refused(refusal, form, asked.who.ids.request_id.as_str());
        }
    };
    let SignedOut { end_session, goes_to, set_cookies, client, subject, family } = signed_out;
    let mut answer = match by {
        // No redirect: the page whose form it was may allow its forms no other origin (CSP Level 3,
        // form-action), and browsers hold a form's redirects to that.
        SignOutBy::Navigation => asked.pages.goes_on(&goes_to),
        SignOutBy::Script => {
            let body = json!({ "end_session_url": end_session.as_ref().map(|url| url.as_str()) });
            let mut answer = Answer::json(StatusCode::OK, body.to_string().into()).no_store();
            answer.set(header::PRAGMA, HeaderValue::from_static("no-cache"));
            answer
        }
    };
    for cookie in set_cookies {
        answer.set(header::SET_COOKIE, cookie);
    }
    EndpointReply { subject, family, ..done(answer, RequestOutcome::SignedOut, client) }
}

async fn go_on_signing_out(asked: EndpointRequest<'_>) -> EndpointReply {
    let LedOn { goes_to, set_cookie, client } = match led_on(asked).await {
        Ok(led_on) => led_on,
        Err(refusal) => {
            let form = Form::fit_for(asked.request, asked.pages);
            return refused(refusal, form, asked.who.ids.request_id.as_str());
        }
    };
    // No browser tells a script, or a service worker, where a navigation is redirected to.
    let mut answer = Answer::see_other(&goes_to);
    if let Some(cookie) = set_cookie {
        answer.set(header::SET_COOKIE, cookie);
    }
    done(answer, RequestOutcome::SignOutGoesOn, client)
}

async fn led_on(asked: EndpointRequest<'_>) -> Result<LedOn, OAuthRefusal> {
    let refusal = OAuthRefusal::before_client;
    OwnEndpoint::LogoutNext.takes(&asked.request.method).map_err(refusal)?;
    let host = request_head::host(asked.request).map_err(refusal)?;
    let head = request_head::head(asked.request, &host, asked.who.client).map_err(refusal)?;
    lead_on(asked.gate, asked.live, &head, asked.query()).await
}

async fn signed_out(asked: EndpointRequest<'_>, by: SignOutBy) -> Result<SignedOut, OAuthRefusal> {
    let refusal = OAuthRefusal::before_client;
    OwnEndpoint::Logout.takes(&asked.request.method).map_err(refusal)?;
    let host = request_head::host(asked.request).map_err(refusal)?;
    let head = request_head::head(asked.request, &host, asked.who.client).map_err(refusal)?;
    log_out(asked.gate, asked.live, &head, asked.query(), by).await
}
