//! Whose pages may read what a route answers, in words. Decided by `core::cors`.

use crate::config::summary::show_each;
use crate::core::request::Origin;
use crate::core::route::{CorsSpeaker, Route};

/// Which page asks, only its browser could say. `own`: the gateway's origin, whose pages ask nobody.
pub(super) fn with_whom(route: &Route, own: &Origin) -> String {
    if route.cors == CorsSpeaker::Upstream {
        return "its upstream says which may read the answer (`cors: upstream`)".to_owned();
    }
    let sharing = &route.sharing;
    let cookies = if sharing.credentials { "with cookies" } else { "without cookies" };
    let of_clients: Vec<_> = sharing.origins.iter().filter(|origin| *origin != own).collect();
    let of_clients = (show_each(&of_clients), cookies, "`origins` of clients");
    let others = (show_each(&sharing.without_cookies), "without cookies", "`cors`");
    let read = [of_clients, others].into_iter().filter(|(pages, ..)| !pages.is_empty());
    let read: Vec<_> =
        read.map(|(pages, how, by)| format!("{pages} may read the answer {how} ({by})")).collect();
    if read.is_empty() { "none may read the answer".to_owned() } else { read.join("; ") }
}
