//! What a route is called by those who ask for tokens for it: its resource identifier (RFC 9728 section 1.2),
//! where its metadata is (section 3.1), and what that says (section 2).
//!
//! The identifier and the place of its metadata follow from each other, so nothing is described that is not
//! at the gateway itself: a client must not use metadata whose `resource` is not the one that it asked for
//! (section 3.3). Of a route it says nothing but its resource, its issuers, the scopes that it asks for, and
//! whether tokens must be bound to a key.

use serde_json::{Value, json};

use crate::core::path::{CanonicalPath, PathPattern};
use crate::core::request::Origin;
use crate::core::route::{Dpop, Route};
use crate::core::token::dpop::ALGORITHMS;

/// Where metadata is, before the path of the resource.
pub const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// `routes[].resource`, or what the route's path makes of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// `None`: whatever origin of the gateway it is asked for at.
    origin: Option<Origin>,
    /// As it is written: nothing, or from its first slash on.
    path: String,
}

impl Resource {
    /// The literal segments with which a pattern begins, wherever the gateway is asked.
    pub fn of(pattern: &PathPattern) -> Self {
        Self { origin: None, path: pattern.literal_prefix() }
    }

    /// Reads an identifier.
    ///
    /// # Errors
    /// What is wrong and what would be right, as one sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        let right = "write it like `https://api.example.com/orders`";
        if text.contains(['?', '#']) {
            return Err(format!("a resource has no query and no fragment here: {right}"));
        }
        let after_scheme = text.find("://").map_or(0, |at| at.saturating_add(3));
        let host_ends = text.get(after_scheme..).and_then(|rest| rest.find('/'));
        let path_starts = host_ends.map_or(text.len(), |at| after_scheme.saturating_add(at));
        let (origin, path) = text.split_at_checked(path_starts).unwrap_or((text, ""));
        let known = Origin::parse(origin).ok_or_else(|| format!("it is no URL of a resource: {right}"))?;
        if known.as_str() != origin {
            return Err(format!("clients compare it byte for byte: write `{}{path}`", known.as_str()));
        }
        match CanonicalPath::parse(if path.is_empty() { "/" } else { path }.as_bytes()) {
            Err(_) => Err(format!("its path has more than one reading: {right}")),
            Ok(canonical) if !path.is_empty() && canonical.as_str() != path => Err(format!(
                "clients compare it byte for byte: write `{}{}`",
                known.as_str(),
                canonical.as_str()
            )),
            Ok(_) => Ok(Self { origin: Some(known), path: path.to_owned() }),
        }
    }

    /// Its origin, where it was said.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The identifier. `at`: the gateway's origin, as it was asked.
    pub fn identifier(&self, at: &Origin) -> String {
        format!("{}{}", self.origin.as_ref().unwrap_or(at).as_str(), self.path)
    }

    /// Where its metadata is (section 3.1).
    pub fn metadata_url(&self, at: &Origin) -> String {
        let path = if self.path == "/" { "" } else { &self.path };
        format!("{}{WELL_KNOWN}{path}", self.origin.as_ref().unwrap_or(at).as_str())
    }

    /// Whether it is meant by `path`, what is behind [`WELL_KNOWN`], at this origin of the gateway.
    pub fn is_at(&self, at: &Origin, path: &str) -> bool {
        let is_here = self.origin.as_ref().is_none_or(|origin| origin == at);
        is_here && without_slash(path) == without_slash(&self.path)
    }
}

fn without_slash(path: &str) -> &str {
    path.strip_suffix('/').unwrap_or(path)
}

/// The metadata of the resource to which these routes belong; `None` when there are none. `issuers`: name in
/// the configuration and `iss`, in its order; the others are not named.
pub fn metadata<'r, 'i>(
    routes: impl IntoIterator<Item = &'r Route>,
    issuers: impl IntoIterator<Item = (&'i crate::core::ids::IssuerName, &'i str)>,
    at: &Origin,
) -> Option<Value> {
    let routes: Vec<&Route> = routes.into_iter().collect();
    let resource = routes.first()?.resource.identifier(at);
    let taken = issuers.into_iter().filter(|(name, _)| routes.iter().any(|r| r.access.takes_issuer(name)));
    let servers: Vec<&str> = taken.map(|(_, iss)| iss).collect();
    let mut scopes: Vec<&str> = Vec::new();
    for scope in routes.iter().flat_map(|route| route.access.named_scope()) {
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    let mut metadata = json!({
        "resource": resource,
        "authorization_servers": servers,
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": ALGORITHMS,
    });
    let Some(members) = metadata.as_object_mut() else { return Some(metadata) };
    if !scopes.is_empty() {
        members.insert("scopes_supported".to_owned(), scopes.into());
    }
    // Where one of its routes takes others, the resource does not always ask for them.
    if routes.iter().all(|route| route.dpop == Dpop::Required) {
        members.insert("dpop_bound_access_tokens_required".to_owned(), true.into());
    }
    Some(metadata)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::ids::IssuerName;
    use crate::core::path::EncodedSlash;
    use crate::core::route;
    use crate::core::route::policy::{Access, Alternatives, Requirements};

    fn origin(text: &str) -> Origin {
        Origin::parse(text).unwrap()
    }

    fn of(pattern: &str) -> Resource {
        Resource::of(&PathPattern::parse_with(pattern, EncodedSlash::Keep).unwrap())
    }

    #[test]
    fn without_a_name_it_is_the_origin_and_the_literal_prefix() {
        let at = origin("https://gate.example");
        for (pattern, resource, metadata) in [
            ("/*", "", ""),
            ("/", "", ""),
            ("/api/*", "/api", "/api"),
            ("/api/users/{id}/*", "/api/users", "/api/users"),
            ("/{tenant}/api", "", ""),
            ("/a/b", "/a/b", "/a/b"),
            ("/a%20b/%C3%A9/*", "/a%20b/%C3%A9", "/a%20b/%C3%A9"),
            ("/projects/group%2Fname/{id}", "/projects/group%2Fname", "/projects/group%2Fname"),
        ] {
            let made = of(pattern);
            assert_eq!(made.identifier(&at), format!("https://gate.example{resource}"), "{pattern}");
            assert_eq!(
                made.metadata_url(&at),
                format!("https://gate.example/.well-known/oauth-protected-resource{metadata}")
            );
            assert!(made.is_at(&at, metadata) && made.is_at(&at, &format!("{metadata}/")), "{pattern}");
        }
    }

    #[test]
    fn a_name_is_kept_as_it_is_written() {
        let asked = origin("https://other.example");
        for (text, metadata) in [
            ("https://gate.example", "https://gate.example/.well-known/oauth-protected-resource"),
            ("https://gate.example/", "https://gate.example/.well-known/oauth-protected-resource"),
            ("https://gate.example/a/b", "https://gate.example/.well-known/oauth-protected-resource/a/b"),
            ("http://localhost:8080/a/", "http://localhost:8080/.well-known/oauth-protected-resource/a/"),
        ] {
            let named = Resource::parse(text).unwrap();
            assert_eq!(named.identifier(&asked), text);
            assert_eq!(named.metadata_url(&asked), metadata);
            assert!(!named.is_at(&asked, metadata.split_once("resource").unwrap().1), "{text}");
        }
        assert!(
            !Resource::parse("https://gate.example/a").unwrap().is_at(&origin("https://gate.example"), "/b")
        );
    }

    #[test]
    fn what_clients_would_not_find_again_is_no_resource() {
        for (text, remedy) in [
            ("", "write it like"),
            ("api", "write it like"),
            ("urn:api", "write it like"),
            ("/api", "write it like"),
            ("ftp://gate.example/x", "write it like"),
            ("https://gate.example?x=1", "no query"),
            ("https://gate.example/x#y", "no fragment"),
            ("https://GATE.example/x", "write `https://gate.example/x`"),
            ("https://gate.example:443/x", "write `https://gate.example/x`"),
            ("https://gate.example/%61", "write `https://gate.example/a`"),
            ("https://gate.example/a/../b", "more than one reading"),
            ("https://gate.example//a", "more than one reading"),
            ("https://u:p@gate.example/a", "write it like"),
        ] {
            let why = Resource::parse(text).unwrap_err();
            assert!(why.contains(remedy), "{text}: {why}");
        }
    }

    /// RFC 9728 section 3.3: whoever makes the metadata's address of an identifier gets that identifier.
    #[test]
    fn an_identifier_leads_to_its_own_metadata() {
        bolero::check!().with_type::<(Vec<u8>, bool)>().for_each(|(path, named)| {
            let at = origin("https://gate.example");
            let Ok(path) = CanonicalPath::parse(&[b"/", path.as_slice()].concat()) else { return };
            let text = format!("https://gate.example{}", path.as_str());
            let resource = match named {
                true => Resource::parse(&text).unwrap(),
                false => match PathPattern::parse(path.as_str()) {
                    Ok(pattern) => Resource::of(&pattern),
                    Err(_) => return,
                },
            };
            let identifier = resource.identifier(&at);
            let place = resource.metadata_url(&at);
            let behind =
                place.strip_prefix("https://gate.example").unwrap().strip_prefix(WELL_KNOWN).unwrap();
            assert!(resource.is_at(&at, behind));
            let rest = identifier.strip_prefix("https://gate.example").unwrap();
            assert_eq!(behind, if rest == "/" { "" } else { rest });
        });
    }

    fn route(path: &str, access: Access) -> Route {
        let resource = Resource::of(&PathPattern::parse(path).unwrap());
        Route { resource, access, ..route::testing::route(path) }
    }

    #[test]
    fn metadata_names_the_issuers_and_scopes_of_all_its_routes() {
        let (corp, other) = (IssuerName::new("corp"), IssuerName::new("other"));
        let issuers = [(&corp, "https://corp.example"), (&other, "https://other.example")];
        let at = origin("https://gate.example");
        let scoped = |scope: &[&str], any: &[&str], issuers: Option<Vec<IssuerName>>| {
            let texts = |all: &[&str]| all.iter().map(ToString::to_string).collect();
            Access::Protected(
                Requirements {
                    scope: texts(scope),
                    any_scope: texts(any),
                    issuers,
                    ..Requirements::default()
                }
                .into(),
            )
        };
        let of_corp = || Some(vec![corp.clone()]);
        let one = route("/api/*", scoped(&["read"], &[], of_corp()));
        let two = route("/api/{id}", scoped(&["read", "write"], &["a", "b"], of_corp()));
        assert_eq!(
            metadata([&one, &two], issuers, &at).unwrap(),
            json!({
                "resource": "https://gate.example/api",
                "authorization_servers": ["https://corp.example"],
                "scopes_supported": ["read", "write", "a", "b"],
                "bearer_methods_supported": ["header"],
                "dpop_signing_alg_values_supported": ALGORITHMS,
            })
        );
        let bound = |route: &Route| Route { dpop: Dpop::Required, ..route.clone() };
        let required = |routes: [&Route; 2]| {
            metadata(routes, issuers, &at).unwrap().get("dpop_bound_access_tokens_required").cloned()
        };
        assert_eq!(required([&bound(&one), &bound(&two)]), Some(json!(true)));
        assert_eq!(required([&bound(&one), &two]), None);
        let of_other = Access::Protected(
            Requirements { clients: Some(vec![(other.clone(), "c".to_owned())]), ..Requirements::default() }
                .into(),
        );
        let three = route("/api", of_other);
        let scope = |scope: &str| Requirements { scope: vec![scope.to_owned()], ..Requirements::default() };
        let several =
            Alternatives::new(Requirements::default(), vec![scope("admin"), scope("ops"), scope("admin")]);
        let several = metadata([&route("/api", Access::Protected(several))], issuers, &at).unwrap();
        assert_eq!(several["scopes_supported"], json!(["admin", "ops"]));
        let both = metadata([&one, &three], issuers, &at).unwrap();
        assert_eq!(both["authorization_servers"], json!(["https://corp.example", "https://other.example"]));
        let alone = metadata([&three], issuers, &at).unwrap();
        assert_eq!(alone["authorization_servers"], json!(["https://other.example"]));
        assert!(alone.get("scopes_supported").is_none());
        assert_eq!(metadata([], issuers, &at), None);
    }
}
