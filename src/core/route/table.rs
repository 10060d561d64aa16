//! The most specific route for host, path and method: a trie of segments.
//!
//! Only routes whose host matches, or that name none, take part. Then, from the left, segment by
//! segment: a literal before `{name}` before `*`, and the end of a pattern before `*`. Then an exact
//! host before `*.a.example` before `*.example` before none. Then a route that names the method before
//! one that names none. Nothing falls back: where the routes of the most specific path and host do not
//! have the method, the answer is 405, even if a less specific route had it (its policy was written for
//! other paths). A hole is a route in all of this, and what it wins is not served.
//!
//! A path with other readings (see [`CanonicalPath::lenient_reading`] and [`CanonicalPath::cut_readings`]) is
//! looked up in each, and found only when all lead to the same route and none is a path of Tollgate's own. An
//! encoded slash is part of its segment: the route must keep such slashes, and with slashes in their place
//! the path must not lead to a route that was written for it. Unless its upstream tells upper and lower case
//! apart, every reading must lead there in any case too (see [`Caseless`]). `find` allocates nothing for a
//! path with one reading, unless it has an escape in it.

use std::net::Ipv6Addr;
use std::sync::Arc;

use ahash::{HashMap, HashSet};
use http::Method;

use crate::core::path::{CanonicalPath, PathPattern, PatternSegment, SLASH, decoded, raw_segments};
use crate::core::route::Route;
use crate::core::route::table::caseless::Caseless;

mod caseless;

/// `routes[].host`: an exact host or `*.example.com`, lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Exact(String),
    /// Any name below this one: one label or more.
    Below(String),
}

impl HostPattern {
    /// Reads a host name, an IP address (IPv6 in brackets) or `*.` with a name.
    ///
    /// # Errors
    /// What is wrong and what would be right, as one sentence for the operator.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('[') {
            let address: Option<Ipv6Addr> =
                text.strip_prefix('[').and_then(|s| s.strip_suffix(']')).and_then(|s| s.parse().ok());
            return address.map(|address| Self::Exact(format!("[{address}]"))).ok_or_else(|| {
                format!("`{text}` is no IPv6 address in brackets: write `[2001:db8::1]`, without a port")
            });
        }
        let (below, name) = text.strip_prefix("*.").map_or((false, text), |name| (true, name));
        if name.contains("://") || name.contains('/') {
            return Err(format!("`{text}` is not only a host: write `api.example.com`"));
        }
        if let Some((host, _)) = name.split_once(':') {
            return Err(format!("a route's host has no port: write `{host}`"));
        }
        if name.contains('*') {
            return Err(format!(
                "`*` stands for whole labels at the start: write `*.example.com`, not `{text}`"
            ));
        }
        if name.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(format!("hosts are compared in lower case: write `{}`", text.to_ascii_lowercase()));
        }
        if !name.is_ascii() {
            return Err(format!("write the internationalised name `{text}` in its ASCII form (`xn--…`)"));
        }
        if let Some(name) = name.strip_suffix('.') {
            return Err(format!("drop the last dot: write `{name}`"));
        }
        let is_label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        };
        if name.len() > 253 || !name.split('.').all(is_label) {
            return Err(format!(
                "`{text}` is no host name: write labels of a-z, 0-9 and `-` between dots, like `api.example.com`"
            ));
        }
        Ok(if below { Self::Below(name.to_owned()) } else { Self::Exact(name.to_owned()) })
    }
}

impl HostPattern {
    /// Whether a request for this host (lower case, without port) is meant.
    pub fn covers(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host == name,
            Self::Below(name) => is_below(host, name),
        }
    }
}

fn is_below(host: &str, name: &str) -> bool {
    host.strip_suffix(name).and_then(|s| s.strip_suffix('.')).is_some_and(|labels| !labels.is_empty())
}

/// Two routes of equal rank that could match one request: their indices, and what they share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    pub first: usize,
    pub second: usize,
    pub why: String,
}

/// A route, and the path that it was found for. Only [`RouteTable::find`] makes one, so that nobody can
/// judge a path by another path's route.
#[derive(Debug)]
pub struct Matched {
    route: Arc<Route>,
    path: CanonicalPath,
}

impl Matched {
    pub fn route(&self) -> &Arc<Route> {
        &self.route
    }

    pub fn path(&self) -> &CanonicalPath {
        &self.path
    }

    pub(super) fn into_parts(self) -> (Arc<Route>, CanonicalPath) {
        (self.route, self.path)
    }
}

/// What the table says of a request.
#[derive(Debug)]
pub enum RouteMatch {
    Route(Matched),
    /// The methods that the path has instead; never empty.
    MethodNotAllowed {
        allow: Vec<Method>,
    },
    /// Upstreams may read the path in several ways, or in any case, and that leads to different routes; or it
    /// has an encoded slash that the route does not take. Why, for who asked.
    Ambiguous(&'static str),
    /// The most specific route says that nothing is served here (`to: none`).
    Hole(Arc<Route>),
    Nothing,
}

const TWO_WAYS: &str = "Services read what follows a semicolon, or double encoding, in several ways; here they lead to different routes, or to a path of the gateway's own.";
const CASE: &str = "Many services take upper and lower case in a path for the same; here that leads to a different route, or to a path of the gateway's own. Write the path as its route does; where the service does tell them apart, its upstream says `case_sensitive: true`.";
const SPLIT: &str =
    "Some services take an encoded slash for a slash; here that leads to a path that is not this route's.";

/// Finds the most specific route.
#[derive(Debug, Default)]
pub struct RouteTable {
    root: Node,
    caseless: Caseless,
    exact_hosts: HashSet<String>,
    hosts_below: Vec<String>,
}

/// What is known after some segments.
#[derive(Debug, Default)]
struct Node {
    literals: HashMap<String, Node>,
    parameter: Option<Box<Node>>,
    /// The patterns that end here.
    end: Hosts,
    /// The patterns that have `*` here.
    rest: Hosts,
}

/// The routes of one pattern, by host.
#[derive(Debug, Default)]
struct Hosts {
    exact: HashMap<String, Methods>,
    /// The longest name first.
    below: Vec<(String, Methods)>,
    any: Option<Methods>,
}

/// The routes of one pattern and one host, by method. Their index is the one in the file.
#[derive(Debug, Default)]
struct Methods {
    named: Vec<(usize, Arc<Route>)>,
    any: Option<(usize, Arc<Route>)>,
}

impl RouteTable {
    /// Builds the table.
    ///
    /// # Errors
    /// Every pair of routes of equal rank that could match the same request.
    pub fn build(routes: &[Arc<Route>]) -> Result<Self, Vec<Conflict>> {
        let mut table = Self::default();
        let mut conflicts = Vec::new();
        for (index, route) in routes.iter().enumerate() {
            match &route.host {
                Some(HostPattern::Exact(name)) => drop(table.exact_hosts.insert(name.clone())),
                Some(HostPattern::Below(name)) => table.hosts_below.push(name.clone()),
                None => {}
            }
            table.root.leaf(route.path.segments()).methods_of(route.host.as_ref()).add(
                index,
                route,
                &mut conflicts,
            );
            table.caseless.add(index, route);
        }
        if conflicts.is_empty() { Ok(table) } else { Err(conflicts) }
    }

    /// Finds the route for a request. `host` is lower case and has no port.
    pub fn find(&self, host: &str, method: &Method, path: CanonicalPath) -> RouteMatch {
        let Some(methods) = self.lookup(host, &path) else { return RouteMatch::Nothing };
        if path.has_encoded_slash() {
            if !methods.keep_encoded_slashes(method) {
                return RouteMatch::Ambiguous(SLASH);
            }
            if !self.is_safe_split(host, methods, &path) {
                return RouteMatch::Ambiguous(SPLIT);
            }
        }
        let Some(route) = methods.route(method) else {
            return RouteMatch::MethodNotAllowed { allow: methods.allowed() };
        };
        let agrees = |reading: &CanonicalPath| {
            let other = self.lookup(host, reading).and_then(|methods| methods.route(method));
            other.is_some_and(|other| Arc::ptr_eq(route, other) && same_judgement(route, &path, reading))
                && !reading.is_own()
        };
        let in_any_case = |reading: &CanonicalPath| {
            route.forwarding.case_sensitive || self.caseless.agrees(host, reading, route)
        };
        let lenient = path.lenient_reading();
        let mut others: Vec<CanonicalPath> = lenient.iter().flat_map(|it| path.cut_readings(it)).collect();
        others.extend(lenient);
        if !others.iter().all(agrees) {
            return RouteMatch::Ambiguous(TWO_WAYS);
        }
        let is_safe_split = || {
            route.forwarding.case_sensitive
                || !path.has_encoded_slash()
                || self.caseless.is_safe_split(host, &path.split_reading(), &route.path)
        };
        if !in_any_case(&path) || !others.iter().all(in_any_case) || !is_safe_split() {
            return RouteMatch::Ambiguous(CASE);
        }
        let route = route.clone();
        if route.is_served() { RouteMatch::Route(Matched { route, path }) } else { RouteMatch::Hole(route) }
    }

    /// Whether an upstream that takes encoded slashes for slashes finds nothing in this path that Tollgate or
    /// a route was meant for: nothing at all, or a route that covers whatever `found` does anyway.
    fn is_safe_split(&self, host: &str, found: &Methods, path: &CanonicalPath) -> bool {
        let split = path.split_reading();
        let other = self.lookup(host, &split).and_then(Methods::pattern);
        let covers = |other: &PathPattern| found.pattern().is_some_and(|mine| other.covers_all_of(mine));
        !split.is_own() && other.is_none_or(covers)
    }

    /// The index of the route for which no request ever reaches this one: with slashes in the place of the
    /// encoded slashes in its pattern, all its paths are that route's.
    pub fn hidden_by(&self, route: &Route) -> Option<usize> {
        let host = match &route.host {
            None => String::new(),
            Some(HostPattern::Exact(name)) => name.clone(),
            Some(HostPattern::Below(name)) => format!("any.{name}"),
        };
        let methods = self.lookup(&host, &route.path.split_example()?)?;
        let (index, other) = methods.first()?;
        let is_open = |route: &Route| route.path.segments().last() == Some(&PatternSegment::Rest);
        let takes_all = is_open(other) || !is_open(route);
        (takes_all && !other.path.covers_all_of(&route.path)).then_some(*index)
    }

    /// Routes whose patterns differ by case alone, for which exactly the spelling decides: their indices.
    pub fn case_variants(&self) -> &[(usize, usize)] {
        self.caseless.variants()
    }

    /// Whether some route covers the path but for upper and lower case.
    pub fn covers_but_for_case(&self, host: &str, path: &CanonicalPath) -> bool {
        self.caseless.covers(host, path)
    }

    /// Whether some route names this host (lower case, without port).
    pub fn names_host(&self, host: &str) -> bool {
        self.exact_hosts.contains(host) || self.hosts_below.iter().any(|name| is_below(host, name))
    }

    fn lookup(&self, host: &str, path: &CanonicalPath) -> Option<&Methods> {
        self.root.find(host, path.as_str())
    }
}

/// Whether the route's policy sees the same in two readings of a path.
fn same_judgement(route: &Route, one: &CanonicalPath, other: &CanonicalPath) -> bool {
    route
        .access
        .path_parameters()
        .all(|name| route.path.parameter(one, name) == route.path.parameter(other, name))
}

impl Node {
    fn leaf(&mut self, pattern: &[PatternSegment]) -> &mut Hosts {
        match pattern.split_first() {
            None => &mut self.end,
            Some((PatternSegment::Rest, _)) => &mut self.rest,
            Some((PatternSegment::Literal(text), below)) => {
                self.literals.entry(text.clone()).or_default().leaf(below)
            }
            Some((PatternSegment::Parameter(_), below)) => self.parameter.get_or_insert_default().leaf(below),
        }
    }

    /// Each node is visited at most once, since its depth says which segment it is asked about: the
    /// work is bounded by the table, not by the path.
    fn find(&self, host: &str, path: &str) -> Option<&Methods> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let Some(segment) = raw_segments(path).next() else {
            return self.end.find(host).or_else(|| self.rest.find(host));
        };
        let below = path.get(segment.len()..).unwrap_or_default();
        let literal = || self.literals.get(decoded(segment).as_ref())?.find(host, below);
        let parameter = || self.parameter.as_ref()?.find(host, below);
        literal().or_else(parameter).or_else(|| self.rest.find(host))
    }
}

impl Hosts {
    fn methods_of(&mut self, host: Option<&HostPattern>) -> &mut Methods {
        match host {
            None => self.any.get_or_insert_default(),
            Some(HostPattern::Exact(name)) => self.exact.entry(name.clone()).or_default(),
            Some(HostPattern::Below(name)) => {
                let at = self.below.partition_point(|(other, _)| (other.len(), other) > (name.len(), name));
                if self.below.get(at).is_none_or(|(other, _)| other != name) {
                    self.below.insert(at, (name.clone(), Methods::default()));
                }
                #[allow(clippy::indexing_slicing)] // it was there, or was put there
                &mut self.below[at].1
            }
        }
    }

    fn find(&self, host: &str) -> Option<&Methods> {
        let below = || self.below.iter().find(|(name, _)| is_below(host, name)).map(|(_, methods)| methods);
        self.exact.get(host).or_else(below).or(self.any.as_ref())
    }
}

impl Methods {
    fn add(&mut self, index: usize, route: &Arc<Route>, conflicts: &mut Vec<Conflict>) {
        let mut conflict = |first: usize, other: &Route, what: String| {
            let host = match &route.host {
                None => "any host".to_owned(),
                Some(HostPattern::Exact(name)) => format!("`{name}`"),
                Some(HostPattern::Below(name)) => format!("`*.{name}`"),
            };
            let (mine, theirs) = (route.path.as_str(), other.path.as_str());
            let why = format!("`{theirs}` and `{mine}` both cover {what} of the same paths on {host}");
            conflicts.push(Conflict { first, second: index, why });
        };
        let Some(methods) = &route.methods else {
            match &self.any {
                Some((first, other)) => conflict(*first, other, "every method".to_owned()),
                None => self.any = Some((index, route.clone())),
            }
            return;
        };
        for (first, other) in &self.named {
            let shared =
                methods.iter().find(|m| other.methods.as_ref().is_some_and(|theirs| theirs.contains(m)));
            if let Some(method) = shared {
                conflict(*first, other, method.to_string());
            }
        }
        self.named.push((index, route.clone()));
    }

    fn first(&self) -> Option<&(usize, Arc<Route>)> {
        self.named.iter().chain(self.any.as_ref()).next()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.named.iter().chain(self.any.as_ref()).map(|(_, route)| route)
    }

    /// The pattern that they share, but for the names of its parameters.
    fn pattern(&self) -> Option<&PathPattern> {
        self.first().map(|(_, route)| &route.path)
    }

    /// Whether the route for this method takes encoded slashes; where there is none, whether all do.
    fn keep_encoded_slashes(&self, method: &Method) -> bool {
        match self.route(method) {
            Some(route) => route.path.keeps_encoded_slashes(),
            None => self.all().all(|route| route.path.keeps_encoded_slashes()),
        }
    }

    fn route(&self, method: &Method) -> Option<&Arc<Route>> {
        let names_it = |(_, route): &&(usize, Arc<Route>)| {
            route.methods.as_ref().is_some_and(|all| all.contains(method))
        };
        self.named.iter().find(names_it).or(self.any.as_ref()).map(|(_, route)| route)
    }

    /// For `Allow` (RFC 9110 section 10.2.1); asked only where no route takes every method.
    fn allowed(&self) -> Vec<Method> {
        let mut allow: Vec<Method> =
            self.named.iter().flat_map(|(_, route)| route.methods.iter().flatten()).cloned().collect();
        allow.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        allow.dedup();
        allow
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::core::ids::RouteName;
    use crate::core::path::EncodedSlash;
    use crate::core::path::tests::{upstream_reads, upstreams};
    use crate::core::percent;
    use crate::core::route;
    use crate::core::route::policy::{Access, ClaimRequirement, ClaimValue, Requirements};

    pub(super) fn route(path: &str, host: Option<&str>, methods: Option<&[Method]>) -> Arc<Route> {
        Arc::new(Route {
            host: host.map(|host| HostPattern::parse(host).unwrap()),
            methods: methods.map(<[Method]>::to_vec),
            ..route::testing::route(path)
        })
    }

    /// The same, with `encoded_slash: keep`.
    pub(super) fn keeping(path: &str, methods: Option<&[Method]>) -> Arc<Route> {
        let mut made = Arc::unwrap_or_clone(route("/", None, methods));
        made.name = RouteName::new(path);
        made.path = PathPattern::parse_with(path, EncodedSlash::Keep).unwrap();
        Arc::new(made)
    }

    pub(super) fn found(table: &RouteTable, host: &str, method: &Method, path: &str) -> String {
        let path = CanonicalPath::parse_with(path.as_bytes(), EncodedSlash::Keep).unwrap();
        match table.find(host, method, path) {
            RouteMatch::Route(matched) => matched.route().name.to_string(),
            RouteMatch::MethodNotAllowed { allow } => {
                format!("405 {}", allow.iter().map(Method::as_str).collect::<Vec<_>>().join(","))
            }
            RouteMatch::Ambiguous(_) => "400".to_owned(),
            RouteMatch::Hole(hole) => format!("hole {}", hole.name),
            RouteMatch::Nothing => "404".to_owned(),
        }
    }

    pub(super) fn paths(patterns: &[&str]) -> RouteTable {
        RouteTable::build(&patterns.iter().map(|path| route(path, None, None)).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn the_most_specific_path_wins_whatever_the_order() {
        let mut patterns = [
            "/api/*",
            "/api/public/*",
            "/api/users/{id}/*",
            "/api/users/me",
            "/api/{kind}/list",
            "/",
            "/{x}",
            "/both",
            "/both/*",
        ];
        for _ in 0..patterns.len() {
            patterns.rotate_left(1);
            let table = paths(&patterns);
            for (path, expected) in [
                ("/", "/"),
                ("/api", "/api/*"),
                ("/api/", "/api/*"),
                ("/other", "/{x}"),
                ("/other/", "/{x}"),
                ("/other/y", "404"),
                ("/both", "/both"),
                ("/both/", "/both"),
                ("/both/x", "/both/*"),
                ("/api/public", "/api/public/*"),
                ("/api/public/list", "/api/public/*"),
                ("/api/users", "/api/*"),
                ("/api/users/", "/api/*"),
                ("/api/users/me", "/api/users/me"),
                ("/api/users/me/", "/api/users/me"),
                ("/api/users/me/x", "/api/users/{id}/*"),
                ("/api/users/list", "/api/users/{id}/*"),
                ("/api/orders/list", "/api/{kind}/list"),
                ("/api/orders/lists", "/api/*"),
                ("/API/public", "404"),
                ("/%61pi/%70ublic", "/api/public/*"),
            ] {
                assert_eq!(found(&table, "h", &Method::GET, path), expected, "{path}");
            }
        }
    }

    #[test]
    fn a_hole_wins_what_a_route_would_and_nothing_falls_back() {
        let hole = |path: &str, host| {
            Arc::new(Route { upstream: None, ..Arc::unwrap_or_clone(route(path, host, None)) })
        };
        let get: Option<&[Method]> = Some(&[Method::GET]);
        let table = RouteTable::build(&[
            route("/api/*", None, None),
            hole("/api/internal/*", None),
            route("/api/internal/jobs", None, get),
            hole("/api/internal/jobs", None),
            hole("/api/shop", Some("a.example")),
            hole("/x/*", None),
            route("/x/{id}", None, None),
        ])
        .unwrap();
        for (host, method, path, expected) in [
            ("h", Method::GET, "/api/x", "/api/*"),
            ("h", Method::GET, "/api/internal", "hole /api/internal/*"),
            ("h", Method::DELETE, "/api/internal/x", "hole /api/internal/*"),
            ("h", Method::GET, "/api/internal/jobs", "/api/internal/jobs"),
            ("h", Method::POST, "/api/internal/jobs", "hole /api/internal/jobs"),
            ("h", Method::GET, "/api/Internal/x", "400"),
            ("h", Method::GET, "/api/internal;x/y", "400"),
            ("h", Method::GET, "/api/shop", "/api/*"),
            ("a.example", Method::GET, "/api/shop", "hole /api/shop"),
            ("h", Method::GET, "/x/1", "/x/{id}"),
            ("h", Method::GET, "/x/1/2", "hole /x/*"),
        ] {
            assert_eq!(found(&table, host, &method, path), expected, "{host} {method} {path}");
        }
        let clash = [route("/api/*", None, None), hole("/api/*", None)];
        assert!(RouteTable::build(&clash).is_err());
    }

    #[test]
    fn a_route_of_another_host_takes_no_part() {
        let table = RouteTable::build(&[
            route("/x", Some("a.example"), None),
            route("/*", None, None),
            route("/y/*", Some("*.example"), None),
            route("/y/{z}", Some("a.example"), Some(&[Method::GET])),
        ])
        .unwrap();
        for (host, path, expected) in [
            ("a.example", "/x", "/x"),
            ("b.example", "/x", "/*"),
            ("b.example", "/y/z", "/y/*"),
            ("a.example", "/y/z", "405 GET"),
            ("example", "/y/z", "/*"),
            (".example", "/y/z", "/*"),
            ("aexample", "/y/z", "/*"),
        ] {
            assert_eq!(found(&table, host, &Method::POST, path), expected, "{host} {path}");
        }
        for (host, named) in
            [("a.example", true), ("z.y.example", true), ("example", false), ("a.other", false), ("", false)]
        {
            assert_eq!(table.names_host(host), named, "{host}");
        }
        for sent in
            ["evil.test/x.b.example", "evil.test#.b.example", "<b>.example", ".b.example", "b..example"]
        {
            let name = crate::core::request::host_name(sent);
            assert!(!name.is_some_and(|name| table.names_host(name)), "{sent}");
        }
    }

    #[test]
    fn the_closest_host_wins_and_shadows_the_others() {
        let named = |name: &str, host: Option<&str>, methods: Option<&[Method]>| {
            let mut made = Arc::unwrap_or_clone(route("/x", host, methods));
            made.name = RouteName::new(name);
            Arc::new(made)
        };
        let table = RouteTable::build(&[
            named("none", None, None),
            named("wide", Some("*.example"), None),
            named("narrow", Some("*.a.example"), None),
            named("exact", Some("b.a.example"), Some(&[Method::GET])),
        ])
        .unwrap();
        for (host, method, expected) in [
            ("b.a.example", Method::GET, "exact"),
            ("b.a.example", Method::PUT, "405 GET"),
            ("c.a.example", Method::GET, "narrow"),
            ("a.example", Method::GET, "wide"),
            ("example", Method::GET, "none"),
        ] {
            assert_eq!(found(&table, host, &method, "/x"), expected, "{host}");
        }
    }

    #[test]
    fn the_method_decides_last_and_nothing_falls_back() {
        let table = RouteTable::build(&[
            route("/x/*", None, None),
            route("/x/y", None, Some(&[Method::PUT, Method::GET])),
            route("/x/{y}", None, Some(&[Method::POST])),
            route("/z", None, Some(&[Method::GET])),
            route("/z", None, Some(&[Method::POST])),
        ])
        .unwrap();
        for (method, path, expected) in [
            (Method::GET, "/x/y", "/x/y"),
            (Method::POST, "/x/y", "405 GET,PUT"),
            (Method::GET, "/x/other", "405 POST"),
            (Method::POST, "/x/other", "/x/{y}"),
            (Method::DELETE, "/x/y/z", "/x/*"),
            (Method::DELETE, "/z", "405 GET,POST"),
        ] {
            assert_eq!(found(&table, "h", &method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_path_with_two_readings_is_found_only_when_both_lead_to_one_route() {
        let mut own = Arc::unwrap_or_clone(route("/users/{id}/{part}", None, None));
        own.access = Access::Protected(
            Requirements {
                claims: vec![ClaimRequirement {
                    name: "sub".to_owned(),
                    values: vec![ClaimValue::PathParameter("id".to_owned())],
                }],
                ..Requirements::default()
            }
            .into(),
        );
        let table = RouteTable::build(&[
            route("/*", None, None),
            route("/admin/*", None, None),
            route("/metrics", None, None),
            Arc::new(own),
        ])
        .unwrap();
        for (path, expected) in [
            ("/admin;x/y", "400"),
            ("/admin%3Bx/y", "400"),
            ("/%2561dmin/y", "400"),
            ("/admin/y;v=1", "/admin/*"),
            ("/admin/y;v=1/z", "/admin/*"),
            ("/other;x/y", "/*"),
            // Some cut the whole path off there (Jetty before 9.3, Shiro), and some decode first.
            ("/metrics;x/y", "400"),
            ("/metrics%3Bx/y", "400"),
            ("/metrics%253Bx/y", "400"),
            ("/a/metrics;x/y", "/*"),
            ("/metrics/y;x/z", "/*"),
            ("/admin/50%2541b", "/admin/*"),
            ("/other;x", "/*"),
            ("/users/alice;x/a", "400"),
            ("/users/%2561lice/a", "400"),
            ("/users/alice/a;x", "/users/{id}/{part}"),
        ] {
            assert_eq!(found(&table, "h", &Method::GET, path), expected, "{path}");
        }
    }

    /// A service behind `/*` may have a token endpoint of its own there, which no route was written for.
    #[test]
    fn no_other_reading_leads_past_a_path_of_tollgates_own() {
        let table = paths(&["/*", "/.well-known/*"]);
        for (path, expected) in [
            ("/oauth;/token", "400"),
            ("/oauth;x", "400"),
            ("/oauth%3Bx/token", "400"),
            ("/oauth%253Bx/token", "400"),
            ("/%256fauth/token", "400"),
            ("/.well-known;x/jwks.json", "400"),
            ("/.well-known/jwks.json;x", "400"),
            ("/.well-known/jwks.json;x/y", "400"),
            ("/.well-known/oauth-protected-resource;x/y", "400"),
            ("/.well-known/jwks.json/y;x", "/.well-known/*"),
            ("/.well-known/security.txt;x", "/.well-known/*"),
            ("/oauth2;x/token", "/*"),
            ("/x;oauth/token", "/*"),
        ] {
            assert_eq!(found(&table, "h", &Method::GET, path), expected, "{path}");
        }
    }

    #[test]
    fn an_encoded_slash_is_found_in_its_segment_by_routes_that_keep_it() {
        let (get, post): (&[Method], &[Method]) = (&[Method::GET], &[Method::POST]);
        let table = RouteTable::build(&[
            route("/*", None, None),
            keeping("/api/*", None),
            route("/api/admin/*", None, None),
            keeping("/api/projects/{id}", None),
            keeping("/api/projects/{id}/members", None),
            keeping("/x/a%2Fb", None),
            route("/x/*", None, None),
            keeping("/files/{path}", Some(get)),
            route("/files/{path}", None, Some(post)),
            keeping("/put/*", Some(&[Method::PUT])),
        ])
        .unwrap();
        for (path, expected) in [
            ("/api/a%2fb", "/api/*"),
            ("/api/x/a%2Fb/c", "/api/*"),
            ("/api/projects/group%2Fname", "/api/projects/{id}"),
            ("/api/projects/group%2Fname/", "/api/projects/{id}"),
            ("/api/projects/a%2Fb%2Fc/members", "/api/projects/{id}/members"),
            ("/x/a%2Fb", "/x/a%2Fb"),
            ("/x/a/b", "/x/*"),
            ("/files/a%2Fb", "/files/{path}"),
            ("/put/a%2Fb", "405 PUT"),
            // The most specific route does not keep it, and nothing falls back.
            ("/a%2Fb", "400"),
            ("/x/a%2Fc", "400"),
            ("/api/admin/a%2Fb", "400"),
            // Decoded, it is where another route was written for.
            ("/api/admin%2Fusers", "400"),
            ("/api/projects%2F7", "400"),
            ("/api/projects/group%2Fmembers", "400"),
            ("/api%2Fadmin/users", "400"),
        ] {
            assert_eq!(found(&table, "h", &Method::GET, path), expected, "{path}");
        }
        for (method, path, expected) in [
            (Method::POST, "/files/a%2Fb", "400"),
            (Method::PUT, "/files/a%2Fb", "400"),
            (Method::PUT, "/files/a", "405 GET,POST"),
        ] {
            assert_eq!(found(&table, "h", &method, path), expected, "{method} {path}");
        }
        let all = RouteTable::build(&[keeping("/*", None)]).unwrap();
        for (path, expected) in [
            ("/a%2Fb", "/*"),
            ("/oauth%2Ftoken", "400"),
            ("/.well-known%2Fjwks.json", "400"),
            ("/.well-known/oauth-protected-resource%2Fx", "400"),
            ("/x/oauth%2Ftoken", "/*"),
        ] {
            assert_eq!(found(&all, "h", &Method::GET, path), expected, "{path}");
        }
        let none = RouteTable::build(&[keeping("/a/{b}", None)]).unwrap();
        assert_eq!(found(&none, "h", &Method::GET, "/a/b%2Fc"), "/a/{b}");
        assert_eq!(found(&none, "h", &Method::GET, "/a%2Fb"), "404");
    }

    #[test]
    fn a_route_whose_own_encoded_slash_is_another_ones_slash_is_hidden() {
        let hidden = |path: &str, other: &str| {
            let routes = [route("/*", None, None), keeping(path, None), route(other, None, None)];
            RouteTable::build(&routes).unwrap().hidden_by(&routes[1])
        };
        for (path, other, by) in [
            ("/x/a%2Fb", "/x/a/*", Some(2)),
            ("/x/a%2Fb", "/x/a/b", Some(2)),
            ("/x/a%2Fb/{id}", "/x/a/{b}/{c}", Some(2)),
            ("/x/a%2Fb/*", "/x/a/*", Some(2)),
            ("/x/a%2Fb/*", "/x/a/b", None),
            ("/x/a%2Fb", "/x/*", None),
            ("/x/a%2Fb", "/x/b/*", None),
            ("/x/{a}", "/x/a/*", None),
        ] {
            assert_eq!(hidden(path, other), by, "{path} {other}");
        }
    }

    #[test]
    fn equal_rank_is_a_conflict() {
        let get: &[Method] = &[Method::GET];
        let both: &[Method] = &[Method::POST, Method::GET];
        for (first, second, conflicts) in [
            (("/x/{a}", None, None), ("/x/{b}", None, None), true),
            (("/x", None, None), ("/x", None, None), true),
            (("/x", None, Some(get)), ("/x", None, Some(both)), true),
            (("/x/*", Some("*.a"), None), ("/x/*", Some("*.a"), None), true),
            (("/x", None, Some(get)), ("/x", None, None), false),
            (("/x", None, Some(get)), ("/x", None, Some(&[Method::PUT][..])), false),
            (("/x", Some("a"), None), ("/x", None, None), false),
            (("/x", Some("*.b.a"), None), ("/x", Some("*.a"), None), false),
            (("/x", None, None), ("/x/*", None, None), false),
            (("/{a}", None, None), ("/x", None, None), false),
        ] {
            let made = [route(first.0, first.1, first.2), route(second.0, second.1, second.2)];
            let built = RouteTable::build(&made);
            assert_eq!(built.is_err(), conflicts, "{first:?} {second:?}");
            if let Err(found) = built {
                assert_eq!((found[0].first, found[0].second), (0, 1));
                assert!(
                    found[0].why.contains(first.0) && found[0].why.contains(second.0),
                    "{}",
                    found[0].why
                );
            }
        }
    }

    /// The rules once more, as slowly and plainly as possible: every route is tried against every
    /// request, and candidates are compared in pairs.
    pub(super) mod naive {
        use super::*;

        pub(super) fn covers(pattern: &str, path: &str) -> bool {
            let mut want = pattern.split('/').skip(1).filter(|s| !s.is_empty());
            let mut have = path.split('/').skip(1).filter(|s| !s.is_empty());
            loop {
                match (want.next(), have.next()) {
                    (None, None) | (Some("*"), _) => return true,
                    (Some(want), Some(have)) if want.starts_with('{') || want == have => {}
                    _ => return false,
                }
            }
        }

        /// Smaller is more specific. The end of a pattern ranks as a literal does.
        fn path_rank(pattern: &str) -> Vec<u8> {
            let rank = |segment: &str| match segment {
                "*" => 2,
                _ if segment.starts_with('{') => 1,
                _ => 0,
            };
            let mut ranks: Vec<u8> = pattern.split('/').skip(1).filter(|s| !s.is_empty()).map(rank).collect();
            ranks.resize(10, 0);
            ranks
        }

        fn host_rank(host: Option<&HostPattern>) -> (u8, isize) {
            match host {
                Some(HostPattern::Exact(_)) => (0, 0),
                Some(HostPattern::Below(name)) => (1, -isize::try_from(name.len()).unwrap()),
                None => (2, 0),
            }
        }

        pub(in super::super) fn find(
            routes: &[Arc<Route>],
            host: &str,
            method: &Method,
            path: &str,
        ) -> String {
            let mut part: Vec<&Arc<Route>> = routes
                .iter()
                .filter(|route| match &route.host {
                    None => true,
                    Some(HostPattern::Exact(name)) => host == name,
                    Some(HostPattern::Below(name)) => host.ends_with(&format!(".{name}")),
                })
                .filter(|route| covers(route.path.as_str(), path))
                .collect();
            let Some(best) = part.iter().map(|r| path_rank(r.path.as_str())).min() else {
                return "404".to_owned();
            };
            part.retain(|route| path_rank(route.path.as_str()) == best);
            let best = part.iter().map(|route| host_rank(route.host.as_ref())).min().unwrap();
            part.retain(|route| host_rank(route.host.as_ref()) == best);
            let names = |route: &&&Arc<Route>| route.methods.as_ref().is_some_and(|all| all.contains(method));
            if let Some(route) = part.iter().find(names).or(part.iter().find(|r| r.methods.is_none())) {
                return route.name.to_string();
            }
            let mut allow: Vec<&str> =
                part.iter().flat_map(|r| r.methods.iter().flatten()).map(Method::as_str).collect();
            allow.sort_unstable();
            allow.dedup();
            format!("405 {}", allow.join(","))
        }
    }

    const METHODS: [Method; 3] = [Method::GET, Method::POST, Method::PUT];
    const HOSTS: [&str; 4] = ["a.b.c", "b.c", "x.b.c", "other"];

    /// Four bytes of path, one of host, one of methods.
    type Choice = [u8; 6];

    fn arbitrary_route(index: usize, &[a, b, c, d, host, methods]: &Choice) -> Arc<Route> {
        let mut path = String::new();
        for (at, segment) in [a, b, c, d].into_iter().enumerate() {
            match segment % 10 {
                0 => path.push_str(&format!("/{{p{at}}}")),
                1 => path.push_str(&format!("/{{q{at}}}")),
                2 | 3 => path.push_str("/a"),
                4 | 5 => path.push_str("/b"),
                6 => path.push_str("/c"),
                7 | 8 => {
                    path.push_str("/*");
                    break;
                }
                _ => break,
            }
        }
        let path = if path.is_empty() { "/" } else { &path };
        let host = ["a.b.c", "*.b.c", "*.c", "b.c"].get(usize::from(host % 12)).copied();
        let named: Vec<Method> =
            (0..3).filter(|i| ((methods % 16) >> i) & 1 == 1).map(|i| METHODS[i].clone()).collect();
        let mut made = Arc::unwrap_or_clone(route(path, host, (!named.is_empty()).then_some(&named[..])));
        made.name = RouteName::new(format!("{index}"));
        Arc::new(made)
    }

    /// Those of the routes that do not conflict with one before them.
    pub(super) fn without_conflicts(routes: Vec<Arc<Route>>) -> Vec<Arc<Route>> {
        let Err(conflicts) = RouteTable::build(&routes) else { return routes };
        let dropped: HashSet<usize> = conflicts.iter().map(|conflict| conflict.second).collect();
        routes.into_iter().enumerate().filter(|(i, _)| !dropped.contains(i)).map(|(_, route)| route).collect()
    }

    #[test]
    fn the_trie_finds_what_a_naive_matcher_finds() {
        bolero::check!().with_iterations(4_000).with_type::<([Choice; 12], [Choice; 16])>().for_each(
            |(routes, requests)| {
                let routes =
                    routes.iter().enumerate().map(|(i, choice)| arbitrary_route(i, choice)).collect();
                let routes = without_conflicts(routes);
                let table = RouteTable::build(&routes).unwrap();
                for [a, b, c, d, host, method] in requests {
                    let mut path: String = [a, b, c, d]
                        .into_iter()
                        .map_while(|s| ["/a", "/a", "/b", "/b", "/c", "/d"].get(usize::from(s % 8)))
                        .copied()
                        .collect();
                    if path.is_empty() || method & 8 == 8 {
                        path.push('/');
                    }
                    let host = HOSTS[usize::from(host % 4)];
                    let method = &METHODS[usize::from(method % 3)];
                    let expected = naive::find(&routes, host, method, &path);
                    assert_eq!(found(&table, host, method, &path), expected, "{method} {host} {path}");
                }
            },
        );
    }

    /// The promise of this folder: whatever an upstream makes of the path that is sent, the policy that
    /// was applied is the one written for what it makes of it.
    #[test]
    fn no_spelling_reaches_an_upstream_under_another_policy() {
        const PIECES: [&str; 22] = [
            "/",
            "/",
            "/",
            "a",
            "b",
            "c",
            "a",
            "A",
            "B",
            "%41",
            "%2541",
            "%61",
            "%2561",
            "%25%36%32",
            ";x",
            ";",
            "%3Bx",
            "%253bx",
            "%252561",
            ".",
            "%25",
            "",
        ];
        let permitted = AtomicU32::new(0);
        bolero::check!().with_iterations(3_000).with_type::<([[u8; 4]; 8], [[u8; 6]; 16])>().for_each(
            |(routes, requests)| {
                let mut kept: Vec<Arc<Route>> = vec![route("/*", None, None)];
                for [a, b, c, d] in routes {
                    kept.push(arbitrary_route(kept.len(), &[*a, *b, *c, *d, 7, 0]));
                }
                let kept = without_conflicts(kept);
                let table = RouteTable::build(&kept).unwrap();
                for pieces in requests {
                    let text: String =
                        pieces.iter().map(|p| PIECES[usize::from(*p) % PIECES.len()]).collect();
                    let Ok(path) = CanonicalPath::parse(format!("/{text}").as_bytes()) else { continue };
                    let RouteMatch::Route(matched) = table.find("h", &Method::GET, path) else { continue };
                    permitted.fetch_add(1, Ordering::Relaxed);
                    let sent = matched.path().as_str();
                    for cuts in upstreams() {
                        let read: String = upstream_reads(sent, &cuts)
                            .iter()
                            .map(|segment| format!("/{}", String::from_utf8_lossy(segment)))
                            .collect();
                        let lower = read.to_lowercase();
                        let others = [&lower].into_iter().filter(|lower| **lower != read);
                        for read in others.chain([&read]) {
                            let expected = naive::find(&kept, "h", &Method::GET, read);
                            assert_eq!(matched.route().name.as_str(), expected, "{sent} is read as {read}");
                        }
                    }
                }
            },
        );
        assert!(permitted.into_inner() > 1_000, "too few requests were permitted to prove anything");
    }

    /// Routes of `a`, `b`, `a%2Fb`, `{name}` and `*`; those that keep encoded slashes and those that do not.
    fn arbitrary_routes(choices: &[[u8; 5]; 8]) -> Vec<Arc<Route>> {
        let mut routes: Vec<Arc<Route>> = vec![route("/*", None, None)];
        for [a, b, c, d, keep] in choices {
            let mut made = Arc::unwrap_or_clone(arbitrary_route(routes.len(), &[*a, *b, *c, *d, 7, 0]));
            if keep % 4 > 0 {
                let text = made.path.as_str().replace("/c", "/a%2Fb");
                made.path = PathPattern::parse_with(&text, EncodedSlash::Keep).unwrap();
            }
            routes.push(Arc::new(made));
        }
        without_conflicts(routes)
    }

    /// The same promise of encoded slashes. An upstream that takes one for data finds the route that was
    /// judged. One that takes it for a slash finds that one, or what has no route of its own: the other
    /// covers all that this one does.
    #[test]
    fn no_encoded_slash_reaches_an_upstream_past_a_route_that_was_written_for_it() {
        const PIECES: [&str; 12] =
            ["/", "/", "/", "a", "b", "a", "b", "%2F", "%2f", "a%2Fb", "%61%2fb", ".."];
        let (permitted, elsewhere) = (AtomicU32::new(0), AtomicU32::new(0));
        bolero::check!().with_iterations(6_000).with_type::<([[u8; 5]; 8], [[u8; 7]; 16])>().for_each(
            |(routes, requests)| {
                let kept = arbitrary_routes(routes);
                let table = RouteTable::build(&kept).unwrap();
                for pieces in requests {
                    let text: String =
                        pieces.iter().map(|p| PIECES[usize::from(*p) % PIECES.len()]).collect();
                    let path = CanonicalPath::parse_with(format!("/{text}").as_bytes(), EncodedSlash::Keep);
                    let Ok(path) = path else { continue };
                    let RouteMatch::Route(matched) = table.find("h", &Method::GET, path) else { continue };
                    if !matched.path().has_encoded_slash() {
                        continue;
                    }
                    let (route, sent) = (matched.route(), matched.path().as_str());
                    assert!(route.path.keeps_encoded_slashes(), "{sent} is not for {:?}", route.path);
                    permitted.fetch_add(1, Ordering::Relaxed);
                    for cuts in upstreams() {
                        let times = cuts.len() - 1;
                        // Cut at slashes, then decoded; written as a pattern has it.
                        let as_data: String = raw_segments(sent)
                            .map(|s| (0..times).fold(s.as_bytes().to_vec(), |s, _| percent::decode(&s)))
                            .map(|s| format!("/{}", String::from_utf8(s).unwrap().replace('/', "%2F")))
                            .collect();
                        let found = naive::find(&kept, "h", &Method::GET, &as_data);
                        assert_eq!(route.name.as_str(), found, "{sent} is read as {as_data}");
                        let split: String = upstream_reads(sent, &cuts)
                            .iter()
                            .map(|segment| format!("/{}", String::from_utf8_lossy(segment)))
                            .collect();
                        let found = naive::find(&kept, "h", &Method::GET, &split);
                        if route.name.as_str() == found {
                            continue;
                        }
                        elsewhere.fetch_add(1, Ordering::Relaxed);
                        let other = kept.iter().find(|other| other.name.as_str() == found).unwrap();
                        for rest in ["", "/y", "/y/y/y/y/y"] {
                            let mine = route.path.as_str().replace("/*", rest);
                            assert!(
                                naive::covers(other.path.as_str(), &mine),
                                "{sent} of {:?} is read as {split} of {:?}",
                                route.path,
                                other.path
                            );
                        }
                    }
                }
            },
        );
        assert!(permitted.into_inner() > 300, "too few requests were permitted to prove anything");
        assert!(elsewhere.into_inner() > 100, "and too few of them could be read otherwise");
    }

    #[test]
    fn no_conflict_is_overlooked() {
        bolero::check!().with_iterations(2_000).with_type::<[Choice; 2]>().for_each(|[one, other]| {
            let pair = [arbitrary_route(0, one), arbitrary_route(1, other)];
            let turned = [pair[1].clone(), pair[0].clone()];
            let Ok(table) = RouteTable::build(&pair) else {
                assert!(RouteTable::build(&turned).is_err());
                return;
            };
            let turned = RouteTable::build(&turned).unwrap();
            for path in ["/", "/a", "/b", "/a/b", "/a/a/c", "/b/c/a/a", "/a/b/c/d/e"] {
                for host in HOSTS {
                    for method in &METHODS {
                        assert_eq!(found(&table, host, method, path), found(&turned, host, method, path));
                    }
                }
            }
        });
    }

    #[test]
    fn hosts_are_names_or_addresses_and_nothing_else() {
        let exact = |host: &str| Ok(HostPattern::Exact(host.to_owned()));
        assert_eq!(HostPattern::parse("api.example.com"), exact("api.example.com"));
        assert_eq!(HostPattern::parse("localhost"), exact("localhost"));
        assert_eq!(HostPattern::parse("127.0.0.1"), exact("127.0.0.1"));
        assert_eq!(HostPattern::parse("[2001:DB8:0::1]"), exact("[2001:db8::1]"));
        assert_eq!(HostPattern::parse("*.example.com"), Ok(HostPattern::Below("example.com".to_owned())));
        for (bad, remedy) in [
            ("", "labels"),
            ("*", "*.example.com"),
            ("*.", "labels"),
            ("a.*.example", "*.example.com"),
            ("*a.example", "*.example.com"),
            ("API.example", "write `api.example`"),
            ("api.example:8443", "write `api.example`"),
            ("https://api.example", "not only a host"),
            ("api.example/x", "not only a host"),
            ("api.example.", "write `api.example`"),
            ("a..b", "labels"),
            ("-a.example", "labels"),
            ("b\u{fc}cher.example", "xn--"),
            ("[::1]:80", "[2001:db8::1]"),
            ("[nonsense]", "[2001:db8::1]"),
        ] {
            let error = HostPattern::parse(bad).unwrap_err();
            assert!(error.contains(remedy), "{bad}: {error}");
        }
    }
}
