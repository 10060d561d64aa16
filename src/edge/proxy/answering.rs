//! The answer of an upstream on its way to the client: what is noted of it, and what a session adds to it.

use std::sync::Arc;

use http::response::Parts;
use pingora::http::ResponseHeader;

use crate::core::lasting::lasts;
use crate::core::route::policy::Access;
use crate::edge::answers::response_headers;
use crate::edge::proxy::context::Context;
use crate::flows::{Gate, open_requests};

/// Its head is here, and it is no interim one.
pub(super) fn note_head(gate: &Arc<Gate>, context: &mut Context, answer: &ResponseHeader) {
    if !context.answer.has_begun() {
        if let Some(inflow) = &context.downstream.inflow {
            inflow.begin_answer(|| response_headers::ends_with_head(answer, &context.downstream.method));
        }
        if let (Some(upstream), Some(server)) = (&context.sending.upstream, &context.sending.server) {
            upstream.reached(server);
        }
    }
    if let (Some(open), Some(permit)) = (&context.open, &context.permit)
        && lasts(answer.status, &answer.headers)
    {
        open_requests::mark_lasting(gate, open, permit);
    }
    context.answer.status = Some(answer.status);
}

/// What an answer says where a session let somebody in, or could have: that it is theirs alone, and their
/// next cookie.
pub(super) async fn add_session_headers(context: &mut Context, parts: &mut Parts) {
    if context.is_served_in_session() {
        response_headers::mark_private(&mut parts.headers);
    }
    if let Some(route) = context.route()
        && let Some(takes) = &route.session
    {
        response_headers::vary_by_cookie(&mut parts.headers);
        // Elsewhere one that does not count is refused, and no refusal is stored.
        let passes_without = route.report_only || !matches!(route.access, Access::Protected(_));
        let client = context.live().settings.client(&takes.client);
        if passes_without && let Some(mode) = client.and_then(|client| client.session.as_ref()) {
            for field in mode.csrf.decides_by(&mode.csrf_header, takes.signs_in) {
                response_headers::vary_by(&mut parts.headers, field);
            }
        }
    }
    if let Some(cookie) = context.cookie_that_leaves().await {
        response_headers::set_session_cookie(&mut parts.headers, cookie);
    }
}
