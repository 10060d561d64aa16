//! Where a path leads when upper and lower case are the same. RFC 3986 section 6.2.2.1 lets them differ in a
//! path, and so do routes; but many services take them for the same (Express and ASP.NET by default, IIS,
//! files on NTFS and APFS). So the table is asked a second time without regard to case, and only to find
//! doubt: a path that leads elsewhere then has two readings.
//!
//! Patterns that differ by case alone are one here. Whoever wrote both means the difference, and which of
//! them counts is for the spelling to say. Paths of Tollgate's own are read likewise: what a service would
//! take for `/oauth` is for no route that was not written so.
//!
//! It must never find a route: what a `{name}` stands for keeps its case, and only the spelling decides.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Hosts, Methods};
use crate::core::path::{
    CanonicalPath, PathPattern, PatternSegment, decoded, is_lower_case, lower_case, raw_segments,
};
use crate::core::route::Route;

/// The patterns of a table without regard to case.
#[derive(Debug, Default)]
pub(super) struct Caseless {
    root: Node,
    /// Some literal has a capital letter, so that a path without any may be meant too.
    has_capitals: bool,
    variants: Vec<(usize, usize)>,
}

/// What is known after some segments.
#[derive(Debug, Default)]
struct Node {
    /// In lower case, and sorted.
    literals: Vec<(String, Node)>,
    parameter: Option<Box<Node>>,
    end: Hosts,
    rest: Hosts,
}

impl Caseless {
    pub(super) fn add(&mut self, index: usize, route: &Arc<Route>) {
        let segments = route.path.segments();
        self.has_capitals |= segments.iter().any(|segment| match segment {
            PatternSegment::Literal(text) => !is_lower_case(text),
            _ => false,
        });
        let methods = self.root.leaf(segments).methods_of(route.host.as_ref());
        let variant = methods.first().filter(|(_, other)| !other.path.has_literals_of(&route.path));
        self.variants.extend(variant.map(|(first, _)| (*first, index)));
        // Whether routes conflict is found where case counts.
        methods.add(index, route, &mut Vec::new());
    }

    /// Routes of one host whose patterns differ by case alone: their indices.
    pub(super) fn variants(&self) -> &[(usize, usize)] {
        &self.variants
    }

    /// Whether the path leads to `found`, or to what differs from it by case alone, in whatever case it is
    /// read.
    pub(super) fn agrees(&self, host: &str, path: &CanonicalPath, found: &Route) -> bool {
        if !self.has_capitals && !path.has_capitals() {
            return true;
        }
        // A host of its own may hide `found` behind another pattern: whoever wrote that one need not have
        // thought of `found`.
        let is_there = |(_, other): &(usize, Arc<Route>)| {
            other.path.has_shape_of(&found.path) && other.host == found.host
        };
        self.root.find(host, path.as_str()).and_then(Methods::first).is_some_and(is_there)
            && (!path.is_own_but_for_case() || found.path.covers_own_paths_but_for_case())
    }

    /// The same of a path whose encoded slashes were taken for slashes: nothing is there that `found` does
    /// not cover, or what covers all that it does.
    pub(super) fn is_safe_split(&self, host: &str, split: &CanonicalPath, found: &PathPattern) -> bool {
        let other = self.lookup(host, split);
        other.is_none_or(|other| other.covers_all_of_but_for_case(found)) && !split.is_own_but_for_case()
    }

    /// Whether some pattern covers the path but for case.
    pub(super) fn covers(&self, host: &str, path: &CanonicalPath) -> bool {
        self.lookup(host, path).is_some()
    }

    fn lookup(&self, host: &str, path: &CanonicalPath) -> Option<&PathPattern> {
        self.root.find(host, path.as_str()).and_then(Methods::pattern)
    }
}

impl Node {
    fn leaf(&mut self, pattern: &[PatternSegment]) -> &mut Hosts {
        match pattern.split_first() {
            None => &mut self.end,
            Some((PatternSegment::Rest, _)) => &mut self.rest,
            Some((PatternSegment::Literal(text), below)) => self.literal_or_new(text).leaf(below),
            Some((PatternSegment::Parameter(_), below)) => self.parameter.get_or_insert_default().leaf(below),
        }
    }

    fn literal_or_new(&mut self, text: &str) -> &mut Self {
        let at = self.position(text).unwrap_or_else(|at| {
            self.literals.insert(at, (lower_case(text).collect(), Self::default()));
            at
        });
        #[allow(clippy::indexing_slicing)] // it was there, or was put there
        &mut self.literals[at].1
    }

    /// Where the literal is, or belongs. It allocates nothing.
    fn position(&self, text: &str) -> Result<usize, usize> {
        self.literals.binary_search_by(|(literal, _)| compare(literal, text))
    }

    /// As the table's own does it, a node is asked about one segment at most.
    fn find(&self, host: &str, path: &str) -> Option<&Methods> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let Some(segment) = raw_segments(path).next() else {
            return self.end.find(host).or_else(|| self.rest.find(host));
        };
        let below = path.get(segment.len()..).unwrap_or_default();
        let literal = || {
            let at = self.position(&decoded(segment)).ok()?;
            self.literals.get(at)?.1.find(host, below)
        };
        let parameter = || self.parameter.as_ref()?.find(host, below);
        literal().or_else(parameter).or_else(|| self.rest.find(host))
    }
}

/// What is in lower case with a text in any.
fn compare(literal: &str, text: &str) -> Ordering {
    if text.is_ascii() {
        literal.bytes().cmp(text.bytes().map(|byte| byte.to_ascii_lowercase()))
    } else {
        // Bytes of UTF-8 sort as what they stand for.
        literal.chars().cmp(lower_case(text))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use http::Method;

    use super::super::RouteTable;
    use super::super::tests::{found, keeping, naive, paths, route, without_conflicts};
    use super::*;
    use crate::core::ids::RouteName;

    fn check(table: &RouteTable, rows: &[(&str, &str)]) {
        for (path, expected) in rows {
            assert_eq!(found(table, "h", &Method::GET, path), *expected, "{path}");
        }
    }

    /// The same, of an upstream that tells case apart.
    fn sensitive(path: &str) -> Arc<Route> {
        let mut made = Arc::unwrap_or_clone(route(path, None, None));
        made.forwarding.case_sensitive = true;
        Arc::new(made)
    }

    #[test]
    fn a_path_that_leads_elsewhere_in_another_case_is_refused() {
        let patterns = ["/*", "/api/*", "/api/admin/*", "/admin/*", "/users/{id}", "/users/me", "/metrics"];
        check(
            &paths(&patterns),
            &[
                ("/api/ADMIN/x", "400"),
                ("/api/ADMIN", "400"),
                ("/api/aDMIN/x/y", "400"),
                ("/API/admin/x", "400"),
                ("/ADMIN/x", "400"),
                ("/%41dmin/x", "400"),
                ("/Users/me", "400"),
                ("/users/ME", "400"),
                // What no literal is compared with keeps its case.
                ("/users/Alice", "/users/{id}"),
                ("/api/admin/X", "/api/admin/*"),
                ("/api/Orders/ADMIN", "/api/*"),
                ("/Other/%C3%89", "/*"),
                ("/administrators/X", "/*"),
                // Nor in any other reading.
                ("/ADMIN;x/y", "400"),
                ("/%2541dmin/x", "400"),
                ("/METRICS;x/y", "400"),
                ("/METRICS%253Bx/y", "400"),
                ("/Other;x/y", "/*"),
                ("/api/X%2541", "/api/*"),
            ],
        );
        check(&paths(&["/api/*"]), &[("/API/x", "404"), ("/api/X", "/api/*")]);
    }

    #[test]
    fn a_capital_in_a_pattern_is_looked_for_in_paths_that_have_none() {
        let table = paths(&["/*", "/Docs/*", "/stra%C3%9Fe", "/caf%C3%A9", "/kiosk"]);
        check(
            &table,
            &[
                ("/Docs/x", "/Docs/*"),
                ("/docs/x", "400"),
                ("/other", "/*"),
                // Beyond ASCII likewise.
                ("/caf%C3%A9", "/caf%C3%A9"),
                ("/caf%C3%89", "400"),
                ("/strasse", "400"),
                ("/%E2%84%AAiosk", "400"),
                ("/caf%C3%A8", "/*"),
            ],
        );
        let lower = paths(&["/*", "/stra%C3%9Fe"]);
        check(&lower, &[("/strasse", "400")]);
    }

    #[test]
    fn a_letter_whose_lower_case_is_two_letters_to_some_and_one_to_others_is_no_way_round() {
        let table = paths(&["/*", "/api/admin/*", "/stra%C3%9Fe"]);
        for path in ["/api/adm%C4%B0n/x", "/api/ADM%C4%B0N", "/stra%E1%BA%9Ee", "/STRA%E1%BA%9EE"] {
            check(&table, &[(path, "400")]);
        }
        check(&table, &[("/api/adm%C4%B0", "/*"), ("/%E1%BA%9E", "/*")]);
    }

    #[test]
    fn patterns_that_differ_by_case_alone_are_told_apart_by_it() {
        let table = paths(&["/*", "/both/*", "/Both/*", "/Both/{id}/x", "/one", "/one/*"]);
        check(
            &table,
            &[
                ("/both/y", "/both/*"),
                ("/Both/y", "/Both/*"),
                ("/BOTH/y", "400"),
                ("/Both/y/x", "/Both/{id}/x"),
                ("/both/y/x", "400"),
                ("/both/y/X", "400"),
                ("/one/X", "/one/*"),
            ],
        );
        assert_eq!(table.case_variants(), [(1, 2)]);
        let hosts =
            [("a.example", "/x"), ("b.example", "/X"), ("a.example", "/x/{y}"), ("a.example", "/X/{z}")];
        let hosts = hosts.map(|(host, path)| route(path, Some(host), None));
        assert_eq!(RouteTable::build(&hosts).unwrap().case_variants(), [(2, 3)]);
    }

    #[test]
    fn where_its_upstream_tells_case_apart_the_spelling_decides() {
        let table =
            RouteTable::build(&[sensitive("/*"), route("/api/*", None, None), sensitive("/api/admin/*")]);
        check(
            &table.unwrap(),
            &[
                ("/API/x", "/*"),
                ("/OAuth/token", "/*"),
                ("/oauth;x/token", "400"),
                ("/api;x/y", "400"),
                // The upstream of `/api/*` does not.
                ("/api/ADMIN/x", "400"),
            ],
        );
    }

    #[test]
    fn a_route_of_another_host_or_method_is_no_other_way_out() {
        let table = RouteTable::build(&[
            route("/*", None, None),
            route("/admin/*", Some("a.example"), None),
            route("/put", None, Some(&[Method::PUT])),
        ])
        .unwrap();
        for (host, path, expected) in
            [("a.example", "/ADMIN/x", "400"), ("b.example", "/ADMIN/x", "/*"), ("b.example", "/PUT", "400")]
        {
            assert_eq!(found(&table, host, &Method::GET, path), expected, "{host} {path}");
        }
    }

    #[test]
    fn what_a_host_of_its_own_protects_in_another_case_is_no_route_without_that_host() {
        for host in ["admin.example.com", "*.example.com"] {
            let table =
                RouteTable::build(&[route("/Reports/*", Some(host), None), route("/reports/*", None, None)])
                    .unwrap();
            for (host, path, expected) in [
                ("admin.example.com", "/reports/x", "400"),
                ("admin.example.com", "/REPORTS/x", "404"),
                ("admin.example.com", "/Reports/x", "/Reports/*"),
                ("other.example", "/reports/x", "/reports/*"),
            ] {
                assert_eq!(found(&table, host, &Method::GET, path), expected, "{host} {path}");
            }
        }
    }

    #[test]
    fn what_a_service_may_take_for_a_path_of_tollgates_own_is_refused() {
        check(
            &paths(&["/*", "/.well-known/*"]),
            &[
                ("/OAuth/token", "400"),
                ("/OAUTH", "400"),
                ("/.well-known/JWKS.json", "400"),
                ("/.well-known/jw%E2%84%AAs.json", "400"),
                ("/.Well-Known/oauth-protected-resource/x", "400"),
                ("/OAuth;x/token", "400"),
                ("/%254fauth/token", "400"),
                ("/OAuth2/token", "/*"),
                ("/X/OAuth", "/*"),
            ],
        );
        // A route that was written so is meant so.
        check(
            &paths(&["/*", "/OAuth/*", "/OAuth/x/{y}"]),
            &[
                ("/OAuth/token", "/OAuth/*"),
                ("/OAuth/x/y", "/OAuth/x/{y}"),
                ("/OAUTH/token", "400"),
                ("/OAuth/X/y", "400"),
            ],
        );
    }

    #[test]
    fn an_encoded_slash_hides_no_other_case() {
        let routes = ["/api/*", "/Own/*", "/own/*"].map(|path| keeping(path, None));
        let routes = [&routes[..], &[keeping("/*", None), route("/api/admin/*", None, None)]].concat();
        check(
            &RouteTable::build(&routes).unwrap(),
            &[
                ("/api/ADMIN%2Fx", "400"),
                ("/api/X%2Fadmin", "/api/*"),
                ("/Own/a%2Fb", "/Own/*"),
                ("/own/A%2Fb", "/own/*"),
                ("/OWN/a%2Fb", "400"),
                ("/API%2Fx", "400"),
                ("/OAuth%2Ftoken", "400"),
            ],
        );
    }

    /// Among routes and paths of letters in either case a path is found exactly where the best pattern
    /// without regard to case differs from the best one by case at most.
    #[test]
    fn it_is_refused_exactly_where_case_makes_a_difference() {
        const SEGMENTS: [&str; 8] = ["/a", "/A", "/b", "/B", "/a", "/{p}", "/*", ""];
        let lowered = |route: &Arc<Route>| {
            let mut made = Arc::unwrap_or_clone(route.clone());
            made.path = PathPattern::parse(&route.path.as_str().to_lowercase()).unwrap();
            Arc::new(made)
        };
        let (refused, permitted) = (AtomicU32::new(0), AtomicU32::new(0));
        bolero::check!().with_iterations(4_000).with_type::<([[u8; 3]; 8], [[u8; 3]; 16])>().for_each(
            |(routes, requests)| {
                let mut kept = vec![route("/*", None, None)];
                for (at, choice) in routes.iter().enumerate() {
                    let segments = choice.iter().map(|one| SEGMENTS[usize::from(one % 8)]);
                    let mut path: String = segments.take_while(|one| !one.is_empty()).collect();
                    if let Some(end) = path.find('*') {
                        path.truncate(end + 1);
                    }
                    let path = path.replacen("{p}", "{q}", 1).replacen("{p}", "{r}", 1);
                    let mut made =
                        Arc::unwrap_or_clone(route(if path.is_empty() { "/" } else { &path }, None, None));
                    made.name = RouteName::new(at.to_string());
                    kept.push(Arc::new(made));
                }
                let kept = without_conflicts(kept);
                let lower: Vec<_> = kept.iter().map(lowered).collect();
                let table = RouteTable::build(&kept).unwrap();
                for choice in requests {
                    let path: String = choice.iter().map(|one| SEGMENTS[usize::from(one % 4)]).collect();
                    let by_name =
                        |name: &str| lower.iter().find(|route| route.name.as_str() == name).unwrap();
                    let exact = by_name(&naive::find(&kept, "h", &Method::GET, &path));
                    let other = by_name(&naive::find(&lower, "h", &Method::GET, &path.to_lowercase()));
                    let is_safe = exact.path.has_shape_of(&other.path);
                    let expected = if is_safe { exact.name.as_str() } else { "400" };
                    assert_eq!(found(&table, "h", &Method::GET, &path), expected, "{path} {kept:?}");
                    (if is_safe { &permitted } else { &refused }).fetch_add(1, Ordering::Relaxed);
                }
            },
        );
        assert!(refused.into_inner() > 1_000 && permitted.into_inner() > 1_000);
    }
}
