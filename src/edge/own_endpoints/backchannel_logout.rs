//! `/oauth/backchannel-logout` on the wire (OpenID Connect Back-Channel Logout 1.0 sections 2.5 and 2.8): for
//! servers, so no page may read its answers. The query is not looked at: a registered address may have one
//! (section 2.2).

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use pingora::proxy::Session;

use crate::edge::answers::answer::Answer;
use crate::edge::answers::request_headers::Identification;
use crate::edge::answers::respond::Form;
use crate::edge::own_endpoints::receiving::{receive, reply_to_server};
use crate::edge::own_endpoints::reply::EndpointReply;
use crate::edge::request::body::{Bound, Unread};
use crate::flows::Gate;
use crate::flows::backchannel_logout::{SignedOutByIssuer, backchannel_logout, body_limit};
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

const TOO_LARGE: &str =
    "No logout token within limits.token fills a form as long as the body of this request.";

/// Answers a request to `/oauth/backchannel-logout`.
///
/// # Errors
/// When the client is gone.
pub(crate) async fn answer(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &mut Session,
    who: &Identification,
) -> pingora::Result<EndpointReply> {
    let signed_out = signed_out(gate, live, session, who).await;
    reply_to_server(signed_out.map(done), Form::OAuth, who)
}

fn done(SignedOutByIssuer { client, subject }: SignedOutByIssuer) -> EndpointReply {
    let answer = Answer::json(StatusCode::OK, Bytes::new()).no_store();
    EndpointReply { client, subject, ..EndpointReply::done(answer, RequestOutcome::BackchannelLogout) }
}

async fn signed_out(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &mut Session,
    who: &Identification,
) -> Result<SignedOutByIssuer, Unread> {
    let bound = Bound { bytes: body_limit(live), why: TOO_LARGE };
    let received = receive(session, OwnEndpoint::BackchannelLogout, bound, who.client).await?;
    Ok(backchannel_logout(gate, live, &received.head()?, &received.body).await?)
}
