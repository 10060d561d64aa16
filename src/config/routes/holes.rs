//! `to: none` — a route that serves nothing: a hole in what other routes cover. It says which paths it is
//! about, and must never say anything of serving them: whoever reads such a key there would believe it.

use crate::config::names::NO_UPSTREAM;
use crate::config::routes::paths;
use crate::config::schema;
use crate::config::text::read::Keys;
use crate::core::cors::Sharing;
use crate::core::ids::RouteName;
use crate::core::route::forwarding::Forwarding;
use crate::core::route::policy::{Access, Requirements};
use crate::core::route::resource::Resource;
use crate::core::route::{CorsSpeaker, Dpop, Route};

/// The keys by which a route says which requests it is about.
const OF_HOLES: [&str; 4] = ["path", "to", "host", "encoded_slash"];

/// Whether the file says that nothing is served there; a variable cannot.
pub(in crate::config) fn is_hole(keys: &Keys<'_>) -> bool {
    keys.get("to").is_some_and(|to| to.written() == NO_UPSTREAM)
}

pub(in crate::config) fn hole(keys: &Keys<'_>) -> Option<Route> {
    for key in schema::names_below("routes[]").filter(|key| !OF_HOLES.contains(key) && keys.has(key)) {
        let why = match key {
            "methods" => {
                "a hole (`to: none`) is one for every method, because a method that is not served is 405; remove this, and name the methods that are served where they are"
            }
            _ => {
                "nothing is served here (`to: none`), so this means nothing; remove it, or name in `to` the server behind it"
            }
        };
        keys.wrong(key, why);
    }
    let path = paths::read(keys);
    let given = keys.get("host").map(|value| paths::host(&value));
    let is_host_read = !matches!(given, Some(None));
    let path = path.filter(|_| is_host_read)?;
    Some(Route {
        name: RouteName::new(""),
        resource: Resource::of(&path),
        path,
        host: given.flatten(),
        methods: None,
        access: Access::Protected(Requirements::default().into()),
        from: None,
        session: None,
        report_only: false,
        dpop: Dpop::Allowed,
        upstream: None,
        cors: CorsSpeaker::Gateway,
        sharing: Sharing::default(),
        // No service takes it for another path.
        forwarding: Forwarding { case_sensitive: true, ..Forwarding::default() },
    })
}
