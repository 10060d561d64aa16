//! What becomes of a refusal at the edge: it is counted, said in the log where somebody should look, and answered. What
//! it says is decided in `core::denial`.

use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};

use crate::core::denial::{Denial, LogLevel};
use crate::core::ids::RouteName;
use crate::core::request::{Origin, host_name};
use crate::edge::context::Context;
use crate::edge::proxy::{Proxy, reply};
use crate::edge::respond::{Answer, Form};
use crate::edge::{attempt, request_head};
use crate::flows::brake;
use crate::state::live::Live;

impl Proxy {
    pub(super) async fn refuse(
        &self,
        session: &mut Session,
        context: &mut Context,
        denial: &Denial,
    ) -> pingora::Result<()> {
        self.note(context, denial);
        let serving = context.serving.clone();
        let form = Form::fit_for(session.req_header(), &serving.pages);
        let request_id = context.request_id();
        let mut answer = Answer::refusal(denial, form, request_id.as_str());
        if !matches!(form, Form::OAuth) {
            let at = asked_at(session, context.live());
            answer.challenge(denial, context.route().map(AsRef::as_ref).zip(at.as_ref()));
        }
        reply(session, context, answer).await
    }

    /// Counts a refusal and says it in the log where somebody should look.
    pub(super) fn note(&self, context: &mut Context, denial: &Denial) {
        let facts = denial.facts();
        context.outcome = facts.label;
        let route = context.label().unwrap_or(&self.unrouted);
        self.gate.metrics.denied(route, facts.label);
        self.gate.operators.refusals.note(facts.label, route, self.gate.clock.now());
        if let Some(who) = &context.who {
            brake::note(&self.gate, context.live(), who.client, denial);
        }
        let request_id = context.request_id();
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

    /// Counts what would have been refused. No brake hears of it: a trial changes nothing for anybody.
    pub(super) fn report(&self, context: &mut Context, route: &RouteName, denial: &Denial) {
        let facts = denial.facts();
        context.report_only = Some(facts.label);
        self.gate.metrics.would_be_denied(route, facts.label);
        if facts.level != LogLevel::Info {
            let request_id = context.request_id();
            tracing::warn!(%request_id, %route, reason = facts.label, "a request passed that would be refused but for report_only");
        }
    }

    /// What an error of pingora's is to the client; `None` when the client is gone.
    pub(super) fn denial_for(&self, context: &mut Context, error: &Error) -> Option<Denial> {
        if let Some(denial) = context.failure.take() {
            return Some(denial);
        }
        match error.esource() {
            ErrorSource::Upstream => Some(attempt::denial(error.etype())),
            ErrorSource::Downstream => match error.etype() {
                ErrorType::ReadTimedout => Some(Denial::BodyTooSlow),
                ErrorType::WriteError
                | ErrorType::WriteTimedout
                | ErrorType::ReadError
                | ErrorType::ConnectionClosed => None,
                _ => Some(Denial::BadRequest("The request is not framed as HTTP asks.")),
            },
            ErrorSource::Internal | ErrorSource::Unset => {
                tracing::error!(
                    request_id = %context.request_id(), kind = error.etype().as_str(),
                    "a request failed inside the gateway"
                );
                Some(Denial::Internal)
            }
        }
    }
}

/// The gateway's origin, as this request asks for it.
fn asked_at(session: &Session, live: &Live) -> Option<Origin> {
    let host = request_head::host(session.req_header()).ok()?;
    Some(live.settings.public_url.at(host_name(&host)?))
}
