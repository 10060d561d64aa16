//! What becomes of a refusal at the edge: it is counted, said in the log where somebody should look, and
//! answered. What it says is decided in `core::denial`.

use std::net::{IpAddr, Ipv4Addr};

use pingora::Error;
use pingora::proxy::Session;

use crate::config::settings::SameSite;
use crate::core::brake::Tally;
use crate::core::denial::{Denial, LogLevel};
use crate::core::ids::RouteName;
use crate::core::request::{Origin, host_name};
use crate::core::session;
use crate::core::session::way_in::{RefusedRequest, WayIn};
use crate::core::token::bearer;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::offer::Offer;
use crate::edge::answers::respond::Form;
use crate::edge::errors;
use crate::edge::proxy::context::Context;
use crate::edge::proxy::{Proxy, reply};
use crate::edge::request::request_head;
use crate::flows::brake;
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

impl Proxy {
    pub(in crate::edge) async fn refuse(
        &self,
        session: &mut Session,
        context: &mut Context,
        denial: &Denial,
    ) -> pingora::Result<()> {
        let serving = context.serving.clone();
        // A person who comes to a page for the first time was denied nothing: this is how they sign in.
        let way_in = way_in(session, context, denial);
        let offer = match &way_in {
            Some(WayIn::SignIn(to)) => {
                self.say(context, denial);
                context.log.outcome = RequestOutcome::SentToSignIn;
                return reply(session, context, Answer::see_other(to)).await;
            }
            Some(WayIn::OnceMore(to)) => {
                self.say(context, denial);
                context.log.outcome = RequestOutcome::AskedOnceMore;
                return reply(session, context, serving.pages.goes_on(to)).await;
            }
            Some(WayIn::Told(login_url)) => Offer::SignIn(login_url),
            Some(WayIn::AsAnother(sign_out)) => Offer::SignOut(sign_out),
            None => Offer::Nothing,
        };
        self.note(context, denial);
        let form = Form::fit_for(session.req_header(), &serving.pages);
        let request_id = context.downstream.request_id().to_owned();
        let mut answer = Answer::refusal_offering(denial, form, request_id.as_str(), offer);
        if !matches!(form, Form::OAuth) {
            let at = asked_at(session, context.live());
            let used = bearer::scheme(&session.req_header().headers);
            answer.challenge(denial, context.route().map(AsRef::as_ref).zip(at.as_ref()), used);
        }
        reply(session, context, answer).await
    }

    /// Counts a refusal, and says it.
    pub(in crate::edge) fn note(&self, context: &mut Context, denial: &Denial) {
        let facts = denial.facts();
        context.log.outcome = denial.into();
        let route = context.label().unwrap_or(&self.unrouted);
        self.gate.metrics.denied(route, denial.into());
        self.gate.operators.refusals.note(facts.label, route, self.gate.clock.now());
        if let Some(who) = &context.downstream.who {
            brake::note(&self.gate, context.live(), who.client, denial, context.tally);
        }
        self.say(context, denial);
    }

    /// Says a refusal in the log where somebody should look.
    fn say(&self, context: &Context, denial: &Denial) {
        let facts = denial.facts();
        let (request_id, route) =
            (context.downstream.request_id(), context.label().unwrap_or(&self.unrouted));
        match facts.level {
            LogLevel::Info => {}
            LogLevel::Warn => {
                tracing::warn!(%request_id, %route, reason = facts.label, "a request was refused");
            }
            LogLevel::Error => {
                tracing::error!(%request_id, %route, reason = facts.label, "a request failed");
            }
        }
    }

    /// Counts what would have been refused. It brakes its address on routes that only report, and nowhere
    /// else.
    pub(in crate::edge) fn report(&self, context: &mut Context, route: &RouteName, denial: &Denial) {
        let facts = denial.facts();
        context.log.report_only = Some(denial.into());
        self.gate.metrics.would_be_denied(route, denial.into());
        if let Some(who) = &context.downstream.who {
            brake::note(&self.gate, context.live(), who.client, denial, Tally::Trial);
        }
        if facts.level != LogLevel::Info {
            let request_id = context.downstream.request_id();
            tracing::warn!(%request_id, %route, reason = facts.label, "a request passed that would be refused but for report_only");
        }
    }

    /// What a request that failed is to the client: what one of our phases said, or what the error comes to.
    /// `None` when the client is gone.
    pub(in crate::edge) fn denial_for(&self, context: &mut Context, error: &Error) -> Option<Denial> {
        if let Some(denial) = context.failure.take() {
            return Some(denial);
        }
        let denial = errors::denial(error);
        if denial == Some(Denial::Internal) {
            tracing::error!(
                request_id = %context.downstream.request_id(), kind = error.etype().as_str(),
                "a request failed inside the gateway"
            );
        }
        denial
    }
}

/// How whoever was refused comes to a session, where the route takes one and that was the credential.
fn way_in(session: &Session, context: &Context, denial: &Denial) -> Option<WayIn> {
    let brought_cookie = context.by_session?;
    let live = context.live();
    let takes = context.route()?.session.as_ref()?;
    let client = live.settings.client(&takes.client).filter(|client| client.login.is_some())?;
    let request = session.req_header();
    let host = request_head::host(request).ok()?;
    let head = request_head::head(request, &host, IpAddr::V4(Ipv4Addr::UNSPECIFIED)).ok()?;
    let own = &live.settings.public_url;
    let refused = RefusedRequest {
        denial,
        method: head.method,
        headers: head.headers,
        target: head.target,
        signs_in: takes.signs_in,
        brought_cookie,
        cookie_is_strict: client.cookie.same_site == SameSite::Strict,
        may_sign_out: head.asked_at(own).is_some() && client.origins.contains(own),
    };
    session::way_in::way_in(refused, &client.client_id, own)
}

/// The gateway's origin, as this request asks for it.
fn asked_at(session: &Session, live: &Live) -> Option<Origin> {
    let host = request_head::host(session.req_header()).ok()?;
    Some(live.settings.public_url.at(host_name(&host)?))
}
