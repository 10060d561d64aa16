//! The table itself, but for what has a file beside it. A row: name, form, what holds without it, meaning,
//! example.

use super::Need::{Default, Otherwise, Required};
use super::ValueForm::{
    Alternatives, List, Named, One, OneOrEntries, OneOrKeys, OneOrMany, Secret, Secrets, Section, Values,
};
use super::identity::{IDENTITY, ROUTE_IDENTITY};
use super::limits::{LIMITS, TIMEOUTS};
use super::parties::{CLIENT, ISSUER};
use super::signals::SIGNAL;
use super::store::STORE;
use super::upstreams::{OWN_TIMEOUTS, UPSTREAM};
use super::{Key, key};

/// The whole file.
pub const ROOT: &[Key] = &[
    key(
        "public_url",
        One("a URL"),
        Required,
        "The gateway as browsers see it: scheme, host and port, no path. `https`, except on loopback.",
        "https://api.example.com",
    ),
    key(
        "listen",
        OneOrEntries("an address", LISTENER),
        Required,
        "Where the gateway listens: IP address and port, or the keys below, or a list of either.",
        "0.0.0.0:8080",
    ),
    key(
        "admin",
        OneOrKeys("an address", ADMIN),
        Default("127.0.0.1:8081"),
        "Where metrics, health and the status page are, and what operators may do: an address, or the keys below. Keep it off public networks.",
        "127.0.0.1:8081",
    ),
    key(
        "trusted_proxies",
        OneOrMany("a network"),
        Otherwise("none"),
        "Proxies whose `X-Forwarded-For`, `X-Forwarded-Proto`, `X-Request-Id` and `traceparent` are believed: networks or addresses. They must set these or remove what clients sent. `X-Forwarded-Host` is believed of nobody.",
        "[10.0.0.0/8]",
    ),
    key(
        "issuers",
        Named { name: "name", keys: ISSUER },
        Required,
        "Whose access tokens count. At least one.",
        "{ corp: { url: \"https://login.example.com\", audience: \"https://api.example.com\" } }",
    ),
    key(
        "clients",
        Named { name: "name", keys: CLIENT },
        Otherwise("no client: nobody signs in, and `/oauth/*` serves nobody"),
        "The applications that people sign in to: who may use `/oauth/*`.",
        "",
    ),
    key(
        "upstreams",
        Named { name: "name", keys: UPSTREAM },
        Otherwise("`to` of every route is a URL"),
        "The servers behind the gateway, where several routes share one or more is to be said than a URL.",
        "",
    ),
    key(
        "routes",
        List(ROUTE),
        Required,
        "What is served. The most specific path wins, whatever the order; what no route covers is 404.",
        "[{ path: /api/*, to: \"http://10.0.0.1:3000\" }]",
    ),
    key(
        "identity",
        Section(IDENTITY),
        Otherwise("the defaults below"),
        "What an upstream learns of the caller.",
        "",
    ),
    key(
        "sessions",
        Section(SESSIONS),
        Otherwise("the defaults below"),
        "How long sessions live, and what seals their cookies.",
        "",
    ),
    key(
        "signals",
        Named { name: "name", keys: SIGNAL },
        Otherwise("`/oauth/events` answers 404"),
        "Transmitters of shared signals (RFC 8935): who may say, at `POST /oauth/events`, that a session is over, a credential changed or an account suspended.",
        "",
    ),
    key(
        "store",
        OneOrKeys("a folder or a URL", STORE),
        Default("data"),
        "Where what must outlive a request is kept: a folder, made when it is missing; or, for several replicas, the URL of a Redis or Valkey; or the keys below.",
        "/var/lib/tollgate",
    ),
    key(
        "cors",
        Section(CORS),
        Otherwise("the defaults below"),
        "Which pages beside those of clients may read answers, on every route where the gateway speaks CORS; and what pages may send there and, those of clients, to Tollgate's own endpoints.",
        "",
    ),
    key(
        "limits",
        Section(LIMITS),
        Otherwise("the defaults below"),
        "How large things may be, how many, and how often.",
        "",
    ),
    key(
        "timeouts",
        Section(TIMEOUTS),
        Otherwise("the defaults below"),
        "How long clients are waited for. Deadlines towards upstreams: `upstreams.<name>.timeouts`.",
        "",
    ),
    key(
        "trace",
        Section(TRACE),
        Otherwise("the defaults below"),
        "What upstreams are told of the trace of a request (W3C Trace Context).",
        "",
    ),
    key("log", Section(LOG), Otherwise("the defaults below"), "What the log looks like.", ""),
];

const ADMIN: &[Key] = &[
    key("address", One("an address"), Required, "IP address and port.", "0.0.0.0:8081"),
    key(
        "token",
        Secret,
        Otherwise("one is made and kept in `store` (`admin.token`)"),
        "What operators prove themselves with, but for `/metrics`, `/livez` and `/readyz`: 16 or more visible characters.",
        "{ file: /run/secrets/admin }",
    ),
    key(
        "hosts",
        OneOrMany("a host"),
        Otherwise("IP addresses and `localhost`"),
        "Names by which it is asked beside IP addresses and `localhost`; any other could be a web page's.",
        "[tollgate-admin.internal]",
    ),
];

const LISTENER: &[Key] = &[
    key("address", One("an address"), Required, "IP address and port.", "0.0.0.0:443"),
    key(
        "tls",
        List(CERTIFICATE),
        Otherwise("clear text"),
        "Certificates, chosen by the name that a client asks for (SNI); the first serves all others. TLS 1.2 and 1.3, HTTP/1.1 and HTTP/2.",
        "",
    ),
    key(
        "client_certificates",
        Section(CLIENT_CERTIFICATES),
        Otherwise("clients are not asked for one"),
        "Certificates that clients show (mutual TLS). Which were taken back (CRL, OCSP) is asked of nobody.",
        "",
    ),
    key(
        "proxy_protocol",
        OneOrMany("a network"),
        Otherwise("no connection begins with it"),
        "Load balancers whose connections begin with the PROXY protocol (version 1 or 2), which says whose they are: networks or addresses. Theirs must, and nobody else's is believed.",
        "[10.0.0.0/24]",
    ),
    key(
        "redirect",
        One("`https`"),
        Otherwise("it serves"),
        "Serves nothing: sends everybody to the same place under `https`.",
        "https",
    ),
];

const CERTIFICATE: &[Key] = &[
    key(
        "certificate",
        One("a file"),
        Required,
        "The certificate and its chain (PEM), its own first.",
        "tls/a.pem",
    ),
    key("key", One("a file"), Required, "Its private key (PEM, not encrypted).", "tls/a.key"),
];

const CLIENT_CERTIFICATES: &[Key] = &[
    key("ca", One("a file"), Required, "The authorities that sign them (PEM).", "tls/clients.pem"),
    key(
        "required",
        One("true or false"),
        Default("true"),
        "Whether there is no connection without one. `false`: one that is shown must be good.",
        "false",
    ),
];

const ROUTE: &[Key] = &[
    key(
        "path",
        One("a path"),
        Required,
        "What it covers: literals, `{name}` for one segment, `*` at the end for the rest. `/x/*` also covers `/x` and `/x/`.",
        "/api/users/{id}/*",
    ),
    key(
        "to",
        One("a URL, the name of an upstream, or `none`"),
        Required,
        "The server behind it: scheme (`http`, `https` or `h2c`), host and port, no path; or a name under `upstreams`. `none`: nothing is served here, whatever other routes cover, and only `path`, `host` and `encoded_slash` stand beside it.",
        "http://10.0.0.1:3000",
    ),
    key(
        "name",
        One("text"),
        Otherwise("its pattern; with host or methods where several share one"),
        "What metrics and the log call it.",
        "users",
    ),
    key(
        "host",
        One("a host"),
        Otherwise("every host"),
        "Only requests for this host: exact, or, in quotes, `\"*.example.com\"`, where `*` is one label or several. Of two such that cover a host the longer wins.",
        "api.example.com",
    ),
    key(
        "methods",
        OneOrMany("a method"),
        Otherwise("every method"),
        "Only these: GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.",
        "[GET, POST]",
    ),
    key(
        "from",
        OneOrMany("a network or an address"),
        Otherwise("anywhere"),
        "The client's address, as `trusted_proxies` has it told, is in one of these, whatever else is required: it stands in for no token. Also on a `public` route. Judged before anything that a request brings; elsewhere it is 403.",
        "[10.0.0.0/8, \"2001:db8::/32\"]",
    ),
    key(
        "public",
        One("true or false"),
        Default("false"),
        "No token is needed. One that comes along is still verified, and refused when bad; so is an `Authorization` by any other scheme, such as `Basic`, which never reaches the upstream.",
        "true",
    ),
    key(
        "require",
        Alternatives(REQUIRE),
        Otherwise("any valid token passes"),
        "What a token must have. All of it must hold; of a list one entry, all of it.",
        "",
    ),
    key(
        "issuers",
        OneOrMany("the name of an issuer"),
        Otherwise("every issuer"),
        "Only tokens of these issuers.",
        "[corp]",
    ),
    key(
        "clients",
        OneOrMany("the name of a client"),
        Otherwise("every client, also unknown ones"),
        "Only tokens that were issued to these clients, and their cookies. A route takes the cookie of one client in `session` mode. On a `public` route: that client alone, whose cookie says who calls; tokens of every client count there.",
        "[portal]",
    ),
    key(
        "sign_in",
        One("the name of a client"),
        Otherwise("navigations without a session are 401"),
        "A client in `session` mode: navigations without a session go to sign-in, and come back here.",
        "portal",
    ),
    key(
        "extends_session",
        One("true or false"),
        Default("true"),
        "Whether a request here is use of the session (see `idle_timeout`); `false` for what a page polls.",
        "false",
    ),
    key(
        "report_only",
        One("true or false"),
        Default("false"),
        "Refuses nobody for want of a good token: what would be refused is reported (`tollgate_report_only_denials_total`, `report_only` in the access log) and goes on as nobody's, without identity headers and without the credential that it brought.",
        "true",
    ),
    key(
        "dpop",
        One("`allowed` or `required`"),
        Default("allowed"),
        "Tokens that are bound to a key (DPoP, RFC 9449) are taken with a proof of it, everywhere. `required`: no others are, and no session cookie.",
        "required",
    ),
    key(
        "resource",
        One("a URL"),
        Otherwise("`public_url`, or the host asked for, and the first literal segments of `path`"),
        "What tokens for it are asked for by (RFC 8707, RFC 9728): a URL at the gateway, and an `audience` of an issuer. Its metadata is under `/.well-known/oauth-protected-resource`.",
        "https://api.example.com",
    ),
    key(
        "cors",
        OneOrKeys("`gateway` or `upstream`", CORS),
        Default("gateway"),
        "Who speaks CORS; the keys below are for `gateway`. `gateway`: pages of the `origins` of the route's clients and of `cors` may read answers, and preflights are answered here. `upstream`: preflights go on without a token, and what the upstream says stays; refusals of pages in none of these `origins` brake such pages alone (`limits.denials_per_address`).",
        "upstream",
    ),
    key(
        "encoded_slash",
        One("`refuse` or `keep`"),
        Default("refuse"),
        "What `%2F` in a path is. `refuse`: 400. `keep`: part of its segment, never a slash, and sent as it is; only for services that take it so too, because one that decodes it finds another path than the one that was judged (see [security.md](security.md#encoded-slashes)).",
        "keep",
    ),
    key(
        "strip_prefix",
        One("a path"),
        Otherwise("the path is sent as it was judged"),
        "These first segments of `path` are taken off what is sent, and told in `X-Forwarded-Prefix`. Requirements see the whole path; answers (`Location`, a cookie's `Path`) are not changed.",
        "/api",
    ),
    key(
        "rewrite",
        One("a path"),
        Otherwise("the path is sent as it was judged"),
        "The path that is sent: literals, `{name}`s of `path`, and `*` at the end for what its `*` covers. The query stays.",
        "/v2/users/{id}/*",
    ),
    key(
        "timeouts",
        Section(OWN_TIMEOUTS),
        Otherwise("those of the upstream"),
        "Deadlines towards the upstream, where they differ on this route.",
        "",
    ),
    key(
        "body_limit",
        One("a size"),
        Otherwise("`limits.body`"),
        "The largest request body on this route. What a client streams (gRPC, a long upload) counts from the request's beginning to its end: give such a route more than one stream ever sends.",
        "1GiB",
    ),
    key(
        "identity",
        Section(ROUTE_IDENTITY),
        Otherwise("`identity` of the file"),
        "What the upstream of this route learns of the caller. A key that is given here takes the place of the same key of `identity`; the others stay. The keys that sign assertions are those of `identity.assertion`.",
        "",
    ),
];

/// At the top for all routes, on a route for it alone.
const CORS: &[Key] = &[
    key(
        "origins",
        OneOrMany("an origin"),
        Otherwise("those of clients alone"),
        "Origins whose pages may, beside those of clients, read answers of routes and open WebSockets there, with a token that they bring: never with a cookie, and not at `/oauth/*`. `https://*.preview.example.com` is every name of one label more than that; `\"*\"`, on a `public` route alone, is every page. Those of a route are added to those of the top.",
        "[https://app.example.com, \"https://*.preview.example.com\"]",
    ),
    key(
        "headers",
        OneOrMany("a header"),
        Otherwise("no others"),
        "Headers that pages may send from another origin beside `Authorization`, `Content-Type`, `DPoP`, `traceparent`, `tracestate`, `baggage` and the `csrf_header` of `session` mode. Those of a route are added to those of the top.",
        "[If-Match, Idempotency-Key]",
    ),
];

const REQUIRE: &[Key] = &[
    key(
        "scope",
        OneOrMany("a scope"),
        Otherwise("no scope"),
        "All of these: text with spaces, or a list.",
        "[api:read, admin]",
    ),
    key("any_scope", OneOrMany("a scope"), Otherwise("no scope"), "One of these.", "[api:read, api:write]"),
    key(
        "claims",
        Values { name: "claim", value: "text, a number, true or false, or `{name}` of the path" },
        Otherwise("no claim"),
        "Equal to the value, or containing it where the claim is a list, or an object with a member of that name; of a list of values one. A name is looked up as it stands, then dots descend.",
        "{ sub: \"{id}\", realm_access.roles: [staff, admin] }",
    ),
    key(
        "acr",
        OneOrMany("text"),
        Otherwise("any"),
        "One of these authentication contexts (RFC 9470), as `acr` of the access token says: visible ASCII without spaces, and where the gateway signs people in 600 bytes together at most.",
        "[urn:example:mfa]",
    ),
    key(
        "signed_in_within",
        One("a duration"),
        Otherwise("any time"),
        "The sign-in was not longer ago than this (RFC 9470), as `auth_time` of the access token says; one without is refused.",
        "5m",
    ),
];

const SESSIONS: &[Key] = &[
    key(
        "idle_timeout",
        One("a duration"),
        Default("8h"),
        "A session that nobody used for so long is over.",
        "30m",
    ),
    key(
        "absolute_timeout",
        One("a duration"),
        Default("7d"),
        "A session is over so long after its sign-in; at most 400d.",
        "12h",
    ),
    key(
        "grace",
        One("a duration"),
        Default("30s"),
        "How long the answer of an exchange is given again to those who ask with the same cookie; 1s to 5m.",
        "10s",
    ),
    key(
        "keys",
        Secrets,
        Otherwise("one is made and kept in `store`"),
        "Keys that seal cookies, as `tollgate keys cookie` prints them. The first seals, all open.",
        "[{ file: keys/cookie.1 }]",
    ),
];

const TRACE: &[Key] = &[key(
    "sampled",
    One("true or false"),
    Default("false"),
    "Whether a new `traceparent` says that its trace is recorded. Services that follow it, as those of OpenTelemetry do, record nothing with `false`. That of a trusted proxy goes on as it is.",
    "true",
)];

const LOG: &[Key] = &[
    key(
        "format",
        One("`json` or `text`"),
        Default("json"),
        "One JSON object a line, or text for people.",
        "text",
    ),
    key(
        "level",
        One("`error`, `warn`, `info`, `debug` or `trace`"),
        Default("info"),
        "Which of Tollgate's own messages are logged. Audit lines (`event: audit`) and what looks like theft (`event: security`) are at every level; the access log has no levels.",
        "debug",
    ),
    key(
        "subject",
        One("`plain`, `hash` or `none`"),
        Default("plain"),
        "How the access log names the caller.",
        "hash",
    ),
];
