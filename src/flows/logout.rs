//! stub
use std::sync::Arc;

use crate::core::denial::Denial;
use crate::core::request::RequestHead;
use crate::core::time::Timestamp;
use crate::flows::Gate;
use crate::flows::exchange::{OAuthAnswer, OAuthRefusal};
use crate::state::live::Live;

/// `DELETE /oauth/token?client_id=`: ends the session that the cookie stands for.
pub async fn sign_out(
    gate: &Arc<Gate>,
    live: &Arc<Live>,
    head: &RequestHead<'_>,
    query: Option<&str>,
    now: Timestamp,
) -> Result<OAuthAnswer, OAuthRefusal> {
    let _ = (gate, live, head, query, now);
    Err(OAuthRefusal { denial: Denial::UnknownClient, client: None, set_cookie: None, subject: None })
}
