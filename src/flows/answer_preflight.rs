//! A browser asks before it sends a page's request (CORS preflight, Fetch Standard section 4.9): from
//! where, with which method. Answered for the route that the request itself would find, from
//! memory, without any credential: a preflight carries none.
//!
//! It must never let anything but a preflight through to an upstream, and that only on routes with
//! `cors: upstream`.

use std::sync::Arc;

use http::{HeaderName, HeaderValue, Method};

use crate::core::cors::Preflight;
use crate::core::denial::Denial;
use crate::core::request::METHODS;
use crate::core::request::RequestHead;
use crate::core::route::Route;
use crate::core::route::permit::Permit;
use crate::core::route::table::Matched;
use crate::core::token::bearer::{Carried, carried};
use crate::flows::admit::{Refusal, Target, check_address, find_route};
use crate::flows::own_endpoint::OwnEndpoint;
use crate::state::live::Live;

/// What becomes of a preflight.
#[derive(Debug)]
pub enum Answered {
    /// 204 with these headers.
    Here { headers: Vec<(HeaderName, HeaderValue)>, route: Option<Arc<Route>> },
    /// The route's upstream answers.
    ByUpstream(Box<Permit>),
}

/// Answers a preflight, or lets it pass to the upstream that does.
///
/// # Errors
/// [`Denial::OriginNotAllowed`] for a page that may not read the answer either; otherwise as for the
/// request itself, except that a method which the path does not have is answered with those that it
/// has: browsers tell the page's author exactly that.
pub fn answer_preflight(
    live: &Live,
    head: &RequestHead<'_>,
    target: Target,
    preflight: &Preflight,
) -> Result<Answered, Refusal> {
    let own = target.own.map(OwnEndpoint::methods_for_pages).filter(|methods| !methods.is_empty());
    if let Some(methods) = own {
        let reader = live.settings.sharing.reader(head.headers).ok_or(Denial::OriginNotAllowed)?;
        return Ok(Answered::Here { headers: reader.preflight_headers(methods), route: None });
    }
    let matched = match (
        route_for(live, head, &target, preflight.method()),
        carried(head.headers, target.query.as_deref())
            .and_then(|carried| carried.map_or(Ok(()), Carried::check_spelling)),
    ) {
        // The request itself will be reported.
        (Ok(matched), Err(_)) if matched.route().report_only => matched,
        (_, Err(denial)) => return Err(denial.into()),
        (found, Ok(_)) => found?,
    };
    let route = matched.route().clone();
    // It carries no credential, but it comes from an address.
    check_address(live, head, &matched)?;
    if let Some(permit) = Permit::preflight(matched, target.query, preflight)? {
        return Ok(Answered::ByUpstream(Box::new(permit)));
    }
    let Some(reader) = route.sharing.reader(head.headers) else {
        return Err(Refusal { route: Some(route), ..Denial::OriginNotAllowed.into() });
    };
    let headers = reader.preflight_headers(route.methods.as_deref().unwrap_or(&METHODS));
    Ok(Answered::Here { headers, route: Some(route) })
}

fn route_for(
    live: &Live,
    head: &RequestHead<'_>,
    target: &Target,
    asked: &Method,
) -> Result<Matched, Denial> {
    let found = |method: &Method| {
        let head = RequestHead { method, ..*head };
        find_route(live, &head, target.path.clone(), target.own)
    };
    match found(asked) {
        Err(Denial::MethodNotAllowed { allow }) => found(allow.first().unwrap_or(asked)),
        other => other,
    }
}
