//! `GET /oauth/session` on the wire.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use pingora::proxy::Session;

use crate::core::session::way_in::login_url;
use crate::edge::answers::answer::Answer;
use crate::edge::answers::offer::Offer;
use crate::edge::answers::respond::Form;
use crate::edge::own_endpoints::reply::EndpointReply;
use crate::edge::request::request_head;
use crate::flows::Gate;
use crate::flows::admit::Target;
use crate::flows::own_endpoint::OwnEndpoint;
use crate::flows::session::who::{NobodySignedIn, WhoIsSignedIn, who};
use crate::state::live::Live;
use crate::state::metrics::RequestOutcome;

/// Answers a request to `/oauth/session`. `address`: the client's.
pub(crate) async fn answer(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &Session,
    target: &Target,
    address: IpAddr,
) -> EndpointReply {
    match asked(gate, live, session, target, address).await {
        Ok(WhoIsSignedIn { body, client, side }) => {
            let answer = Answer::json(StatusCode::OK, body).no_store();
            EndpointReply {
                client: Some(client),
                session: Some(side),
                ..EndpointReply::done(answer, RequestOutcome::Ok)
            }
        }
        Err(NobodySignedIn { denial, client, side }) => {
            let (headers, own) = (&session.req_header().headers, &live.settings.public_url);
            let client = client.filter(|client| client.login.is_some());
            let login_url =
                client.as_ref().and_then(|client| login_url(&denial, headers, &client.client_id, own));
            let mut answer =
                Answer::refusal_offering(&denial, Form::OAuth, "", Offer::sign_in(login_url.as_deref()));
            answer.challenge(&denial, None, None);
            let client = client.map(|client| client.name.clone());
            EndpointReply { client, session: Some(side), ..EndpointReply::refused(answer, denial) }
        }
    }
}

async fn asked(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    session: &Session,
    target: &Target,
    address: IpAddr,
) -> Result<WhoIsSignedIn, NobodySignedIn> {
    let request = session.req_header();
    OwnEndpoint::Session.takes(&request.method)?;
    let host = request_head::host(request)?;
    let head = request_head::head(request, &host, address)?;
    who(gate, live, &head, target.query.as_deref()).await
}
