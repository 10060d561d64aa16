//! The table's rows for those whom Tollgate deals with: issuers and clients.

use super::Form::{One, OneOrMany, Secret, Section, Values};
use super::Need::{Default, Otherwise, Required};
use super::{Key, key};

pub(super) const ISSUER: &[Key] = &[
    key(
        "url",
        One("a URL"),
        Required,
        "Equals the `iss` of its tokens, byte for byte. `http` only while `public_url` is on loopback.",
        "https://login.example.com/realms/main",
    ),
    key(
        "audience",
        OneOrMany("text"),
        Required,
        "One of these must be in a token's `aud`.",
        "[https://api.example.com]",
    ),
    key(
        "discovery",
        One("a URL"),
        Otherwise("found from `url` (RFC 8414, then OpenID Connect Discovery)"),
        "The metadata document, where it is not at its usual place. At most one of `discovery`, `jwks_uri`, `jwks_file`, `shared_secret`.",
        "https://login.example.com/meta.json",
    ),
    key(
        "jwks_uri",
        One("a URL"),
        Otherwise("discovered"),
        "Only keys, from this URL. Such an issuer has no token endpoint: no client can belong to it.",
        "https://login.example.com/keys",
    ),
    key(
        "jwks_file",
        One("a file"),
        Otherwise("discovered"),
        "Only keys, from this file (a JWK set).",
        "keys/issuer.jwks.json",
    ),
    key(
        "shared_secret",
        Secret,
        Otherwise("discovered"),
        "Tokens are signed with this secret, by HS256 unless `algorithms` says otherwise: of 32 bytes or more, for HS384 of 48, for HS512 of 64.",
        "{ file: /run/secrets/hs256 }",
    ),
    key(
        "algorithms",
        OneOrMany("the name of an algorithm"),
        Default("[RS256, PS256, ES256, EdDSA]"),
        "Which signatures count: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA. With `shared_secret` of HS256, HS384 and HS512 those that are listed, by default HS256.",
        "[ES256]",
    ),
    key(
        "token_type",
        One("text"),
        Otherwise("`at+jwt`, `JWT` or absent"),
        "Set: the only `typ` that is accepted. With `at+jwt` a token must also have `sub`, a client and an id, as RFC 9068 requires.",
        "at+jwt",
    ),
    key("clock_skew", One("a duration"), Default("30s"), "How far its clock may be off; at most 10m.", "10s"),
    key(
        "max_token_lifetime",
        One("a duration"),
        Default("24h"),
        "A token that lives longer is refused. So that it can be told, a token must say `iat` and `exp`.",
        "1h",
    ),
    key(
        "timeout",
        One("a duration"),
        Default("5s"),
        "How long a call to it may take in all; at most 60s. An exchange whose browser was answered, and a native client's refresh, go on for up to 60s.",
        "3s",
    ),
    key(
        "ca",
        One("a file"),
        Otherwise("the system's certificates"),
        "Certificates (PEM) that are trusted for it, instead of the system's.",
        "tls/corp-ca.pem",
    ),
    key("keys_refresh", One("a duration"), Default("10m"), "How often its keys are fetched again.", "5m"),
    key(
        "claims",
        Section(CLAIM_NAMES),
        Otherwise("the defaults below"),
        "Which claim holds what; the first present counts.",
        "",
    ),
    key(
        "introspection",
        Section(INTROSPECTION),
        Otherwise("opaque tokens are refused"),
        "How it is asked about opaque tokens (RFC 7662).",
        "",
    ),
];

const INTROSPECTION: &[Key] = &[
    key(
        "client_id",
        One("text"),
        Required,
        "As whom the gateway asks: a client that is registered there for this.",
        "gateway",
    ),
    key(
        "secret",
        Secret,
        Otherwise("`private_key` is needed"),
        "Its client secret. One of `secret` and `private_key`.",
        "{ file: introspection.txt }",
    ),
    key(
        "private_key",
        Secret,
        Otherwise("`secret` is needed"),
        "Its key for `private_key_jwt`, as of a client.",
        "{ file: keys/introspection.pem }",
    ),
    key(
        "endpoint",
        One("a URL"),
        Otherwise("discovered (`introspection_endpoint`)"),
        "Where it is asked. Required where its keys are given by `jwks_uri`, `jwks_file` or `shared_secret`.",
        "https://login.example.com/introspect",
    ),
    key(
        "cache",
        One("a duration"),
        Default("30s"),
        "How long an answer is remembered at most, and so how long a token may live on here after it was revoked there; \
         at most 10m. `0s`: it is asked about every request.",
        "10s",
    ),
];

const CLAIM_NAMES: &[Key] = &[
    key("scope", OneOrMany("the name of a claim"), Default("[scope, scp]"), "Holds the scope.", "[scp]"),
    key(
        "client",
        OneOrMany("the name of a claim"),
        Default("[client_id, azp, cid, appid]"),
        "Holds the client that the token was issued to.",
        "[azp]",
    ),
    key(
        "session",
        OneOrMany("the name of a claim"),
        Default("[sid]"),
        "Holds the session at the authorization server.",
        "[sid]",
    ),
    key("id", OneOrMany("the name of a claim"), Default("[jti, uti]"), "Holds the token's own id.", "[jti]"),
];

pub(super) const CLIENT: &[Key] = &[
    key(
        "client_id",
        One("text"),
        Otherwise("the name"),
        "Its `client_id` at the authorization server.",
        "0oa1b2c3",
    ),
    key("issuer", One("the name of an issuer"), Otherwise("the only issuer"), "Whose client it is.", "corp"),
    key(
        "mode",
        One("`token`, `session` or `native`"),
        Required,
        "Who holds what. `token`: a page gets access tokens, the refresh token stays sealed in a cookie. `session`: a page holds no token at all; its cookie stands for it on every request. `native`: a mobile or command-line application gets both tokens; its requests are passed through.",
        "session",
    ),
    key(
        "login",
        One("`gateway` or `page`"),
        Default("gateway"),
        "Who runs the sign-in. `gateway`: `GET /oauth/login` and `/oauth/callback`; the page sees no code and no verifier. `page`, in `token` mode: the page does it and hands the code to `POST /oauth/token`.",
        "page",
    ),
    key(
        "authorize",
        Values { name: "parameter", value: "text" },
        Otherwise("nothing more"),
        "With sign-in by the gateway: parameters for the authorization endpoint beside Tollgate's own.",
        "{ audience: https://api.example.com, prompt: consent }",
    ),
    key(
        "return_to",
        OneOrMany("an origin"),
        Otherwise("`origins`"),
        "With sign-in by the gateway: origins where it may lead, beside paths of `public_url`.",
        "[https://portal.example.com]",
    ),
    key(
        "post_logout_redirect_uri",
        One("a URL"),
        Otherwise("the authorization server's own page"),
        "With sign-in by the gateway: where the authorization server sends browsers after a sign-out, as it is registered.",
        "https://portal.example.com/",
    ),
    key(
        "identity",
        One("`access_token` or `id_token`"),
        Default("access_token"),
        "In `session` mode: where the identity headers come from. Requirements are judged by the access token in any case.",
        "id_token",
    ),
    key(
        "csrf_header",
        One("a header"),
        Default("X-CSRF"),
        "In `session` mode: pages send it with the value `1` along with every request that is not a navigation, an EventSource or a WebSocket.",
        "X-Requested-By",
    ),
    key(
        "secret",
        Secret,
        Otherwise("none: a public client"),
        "Its client secret. At most one of `secret` and `private_key`. In `native` mode the gateway lends it to `authorization_code` and `refresh_token` of every caller; without it, callers bring their own.",
        "${WEB_APP_SECRET}",
    ),
    key(
        "private_key",
        Secret,
        Otherwise("none"),
        "Its key for `private_key_jwt`: PKCS#8 PEM; RSA of 2048 bits or more, P-256, P-384 or Ed25519.",
        "{ file: keys/portal.pem }",
    ),
    key(
        "origins",
        OneOrMany("an origin"),
        Otherwise("`public_url`"),
        "Origins whose pages may use it. Origins on another site than `public_url` need `cookie: { same_site: none }`.",
        "[https://portal.example.com]",
    ),
    key(
        "scope",
        OneOrMany("a scope"),
        Otherwise("not sent"),
        "Asked for at sign-in and at every exchange; in `native` mode, where the caller names none. Without it the gateway signs in with `openid offline_access`.",
        "openid offline_access api:read",
    ),
    key(
        "resource",
        One("a URI"),
        Otherwise("not sent"),
        "Sent at sign-in and with every exchange (RFC 8707); in `native` mode, where the caller names none.",
        "https://api.example.com",
    ),
    key(
        "redirect_uri",
        One("a URL"),
        Otherwise(
            "`<public_url>/oauth/callback`; required with `login: page`, where clients of several issuers sign in (then `<public_url>/oauth/callback/<client>`), and in `native` mode where the gateway has its credential",
        ),
        "The one redirect URI of its sign-in, as it is registered. In `native` mode also a scheme of the application's own, or loopback with any port.",
        "https://portal.example.com/signed-in",
    ),
    key(
        "grants",
        OneOrMany("the name of a grant"),
        Otherwise("`refresh_token`, and `authorization_code` where the gateway does not sign people in"),
        "What it may ask `POST /oauth/token` for; in `session` mode nothing. In `native` mode without a credential here also `client_credentials` and, each after `urn:ietf:params:oauth:grant-type:`, `device_code`, `token-exchange`, `jwt-bearer`.",
        "[refresh_token]",
    ),
    key(
        "cookie",
        Section(COOKIE),
        Otherwise("the defaults below"),
        "The cookie that holds its sealed session. Always `Secure` and `HttpOnly`, without `Domain`.",
        "",
    ),
    key(
        "accept_any_access_token",
        One("true or false"),
        Default("false"),
        "In `token` mode: hands out access tokens that this gateway would itself refuse.",
        "true",
    ),
    key(
        "idle_timeout",
        One("a duration"),
        Otherwise("`sessions.idle_timeout`"),
        "For its sessions alone.",
        "30m",
    ),
    key(
        "absolute_timeout",
        One("a duration"),
        Otherwise("`sessions.absolute_timeout`"),
        "For its sessions alone.",
        "12h",
    ),
];

const COOKIE: &[Key] = &[
    key(
        "name",
        One("text"),
        Otherwise("`__Secure-tollgate-<client>`; in `session` mode `__Host-Http-tollgate-<client>`"),
        "Its name; no two clients share one. A name that begins with `__Host-` or `__Host-Http-` needs `path: /`.",
        "__Secure-portal",
    ),
    key(
        "path",
        One("a path"),
        Otherwise("`/oauth/token`; in `session` mode `/`"),
        "Its `Path`; must cover `/oauth/token`, and be `/` in `session` mode.",
        "/oauth",
    ),
    key("same_site", One("`strict`, `lax` or `none`"), Default("strict"), "Its `SameSite`.", "lax"),
];
