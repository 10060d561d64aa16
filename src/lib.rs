//! Tollgate: a reverse-proxy auth gateway. It proves who is calling before a request reaches an
//! upstream, and keeps refresh tokens out of the browser's JavaScript.
//!
//! # The map
//!
//! A layer imports only the layers listed before it; `io` and `edge` do not see each other. `app`, `demo` and
//! `cli` are no layers: they tie them together. Words that are ours alone are explained in docs/glossary.md.
//!
//! | layer | what it is |
//! |---|---|
//! | [`core`] | what is true: pure rules and types; `now` and random bytes are arguments |
//! | [`config`] | what was asked: config.yaml becomes settings, or all its mistakes at once |
//! | [`state`] | what we remember: memory only, each piece with one owner |
//! | [`flows`] | what we do: use cases, read from top to bottom, and what they share |
//! | [`io`] | whom we talk to: the ports' implementations, files, messages |
//! | `edge` | where it meets pingora: phases in, flows asked, answers out |
//! | `app` | the wiring, shared by `tollgate run`, the demo and the tests |
//! | `demo` | an authorization server, an upstream, a story and a page, in one process |
//! | [`cli`] | the commands |
//!
//! # What always holds
//!
//! No permit, no upstream: [`core::route::permit::Permit`] is made in one place, and `edge` cannot name an
//! upstream without one. What is judged is what is sent. Doubt closes the gate. docs/architecture.md has the
//! whole list.
//!
//! # To change X, open Y
//!
//! ## A request, from its path to its answer
//!
//! | to change | open |
//! |---|---|
//! | the steps from request to permit | `flows/admit.rs` |
//! | which path is ambiguous | `core/path.rs` |
//! | which route wins | `core/route/table.rs`; in which case of letters that is doubtful: `core/route/table/caseless.rs` |
//! | what a route may require | `core/route/policy.rs`, read in `config/routes/requirements.rs` |
//! | where clients must be | `core/address.rs` |
//! | whose a connection is | `core/forwarded.rs` by headers, `core/proxy_protocol.rs` by a load balancer |
//! | what is not served (`to: none`) | `core/route/table.rs`, read in `config/routes/holes.rs` |
//! | what a route is called, and said of it | `core/route/resource.rs`, `flows/describe_resource.rs` |
//! | status and words of a refusal | `core/denial/`; which one an error of pingora's is: `edge/errors.rs`; how it looks: `edge/answers/respond.rs`, `edge/answers/pages.rs` |
//! | who may read an answer, and what pages may send | `core/cors.rs`, `flows/answer_preflight.rs`, read in `config/cors.rs` |
//! | what counts against an address | `core/brake.rs`, `core/allowance.rs`, `flows/brake.rs` |
//! | which paths are Tollgate's own | `core/path/own.rs`; what is there: `flows/own_endpoint.rs`, `edge/own_endpoints/mod.rs`, and what each answers in a file beside it |
//!
//! ## Tokens and issuers
//!
//! | to change | open |
//! |---|---|
//! | what a token must be like | `core/token/jwt.rs`, which kind of JWT it is `core/token/kind.rs`, whose it is and for whom `core/token/issuer.rs` and `audience.rs`, an opaque one `core/token/introspection.rs` |
//! | what an ID token or a logout token must be like | `core/token/id_token.rs`, `core/token/logout_token.rs` |
//! | what a proof of possession must be like | `core/token/dpop/`, asked for in `flows/prove_possession.rs`; which were used: `state/used_proofs.rs`; a page's, for the token endpoint: `flows/exchange/page_key.rs` |
//! | what is remembered of a token | `state/verified_tokens.rs`, asked in `flows/authenticate.rs` |
//! | how an issuer is asked about opaque tokens | `flows/introspect/`, remembered in `state/introspections.rs` |
//! | how an issuer is reached (`proxy`, `connect_to`) | `config/issuers/connection.rs`, taken in `io/http_client/connector.rs` |
//! | when keys are fetched | `core/token/freshness.rs` |
//!
//! ## What upstreams learn, and which one is asked
//!
//! | to change | open |
//! |---|---|
//! | what an upstream learns | `core/identity_headers.rs`, `core/assertion.rs`, `core/forwarded.rs`, applied in `edge/answers/request_headers.rs` |
//! | what Tollgate proves itself with to an upstream | `edge/upstreams/server.rs`, read in `config/upstreams.rs` |
//! | what a route says of the caller | `core/route/identity.rs`, read in `config/identity.rs` |
//! | which server takes a request | `edge/upstreams/`, tried again in `edge/proxy/attempt.rs` |
//!
//! ## Sessions
//!
//! | to change | open |
//! |---|---|
//! | how the gateway signs people in | `flows/sign_in/`; what travels: `core/session/transaction.rs`, `core/session/authorization.rs` |
//! | what is pushed to an authorization server (RFC 9126) | `flows/sign_in/push.rs` |
//! | where a sign-in may lead | `core/session/return_to.rs` |
//! | who is sent to sign-in | `core/session/way_in.rs`, answered in `edge/proxy/refusing.rs` |
//! | which requests may use a session | `core/session/csrf.rs` |
//! | what a session is served with | `flows/session/`, remembered in `state/sessions.rs` |
//! | what becomes of a refresh token | `core/session/exchange/`, `flows/exchange/` |
//! | how a session ends | `flows/sign_out/` |
//! | where sessions are remembered | `io/store/`, asked in `flows/exchange/coordinate.rs`; all stores pass `io/store/tests/suite.rs` |
//!
//! ## Taking access back
//!
//! | to change | open |
//! |---|---|
//! | what a revocation refuses | `core/revocation/`, looked up in `state/revocations/` |
//! | what a revocation reaches | `flows/revoke/`; the list behind it in `io/revocations/`; what is still to be done: `state/backlog.rs` |
//! | where the list of revocations is kept | `io/revocations/` |
//! | who holds a block | `core/revocation/holders.rs`, written in `flows/revoke/blocks.rs` |
//! | what becomes of a logout token | `flows/backchannel_logout.rs` |
//! | what a security event must be like, and what it says | `core/token/security_event/` |
//! | what follows from a shared signal | `flows/hear_signal/`; its transmitters in `state/transmitters.rs` |
//! | when what has ended is thrown away | `core/clock_watch.rs`, read in `io/watched_clock.rs` |
//!
//! ## Connections
//!
//! | to change | open |
//! |---|---|
//! | when a connection becomes a WebSocket | `core/websocket.rs`, believed in `edge/answers/response_headers.rs` |
//! | a slow head, an idle connection | `edge/connection/connection_guard.rs` |
//! | a slow body, a body too large | `edge/request/inflow.rs`, `core/pace.rs`; `edge/request/body.rs` |
//! | a connection whose network is dead | `edge/upstreams/server.rs`, of a client `edge/connection/listening.rs`, to an issuer `io/http_client.rs` |
//! | how names are looked up | `edge/upstreams/lookup.rs`, those of issuers and of Redis `io/names.rs` |
//! | a client that reads nothing | `edge/connection/unread.rs`, `edge/connection/confirmed.rs` |
//! | a silent upstream | `edge/request/watched.rs`, `edge/proxy/attempt.rs` |
//! | how a connection ends | `edge/connection/lingering.rs` |
//! | how many connections and requests there may be | `edge/connection/connections.rs`, `edge/request/request_places.rs` |
//! | which of pingora's timeouts are set to what | `edge/request/timeouts.rs` |
//!
//! ## Operation
//!
//! | to change | open |
//! |---|---|
//! | a key of config.yaml | `config/schema/`, then the file of its section, `config/settings.rs`, and docs/configuration.md (tests compare them) |
//! | what a reload can follow | `app/reload.rs`, `edge/proxy/serving.rs` |
//! | what happens on SIGQUIT | `app/handover.rs`, `app/run.rs`, `edge/connection/listening.rs`; what the two processes say: `io/handover/`; how a file is given up: `io/store_file/keeping.rs` |
//! | what happens at a drain | `edge/drain.rs`, `edge/connection/cut_off.rs`, `edge/connection/listening.rs`, `edge/server.rs` |
//! | a metric | `state/metrics.rs`, its name and help in `state/metrics/series.rs`, which of them begin at 0 `state/metrics/beginning.rs`, then docs/metrics.md and `deploy/dashboard.json` (tests compare them) |
//! | a line of the access log | `edge/proxy/access_log.rs`, left by `edge/proxy/finish.rs`; its `outcome` `state/metrics/request_outcome.rs`; how logs are written: `state/lines.rs`, `io/line_writer.rs`, `io/log.rs` |
//! | which messages are written at every `log.level` | `state/log_targets.rs`, left on in `io/log.rs` |
//! | what `check --live` asks | `cli/live.rs`, `flows/ask_issuer.rs`, `flows/try_credentials.rs`, `io/upstream_reach.rs`, `io/store/reach.rs` |
//! | what `schema` prints | `config/schema/json.rs` |
//! | what `tollgate explain` says | `flows/explain.rs`, printed in `cli/explain.rs` |
//! | what is said of a certificate that ends | `config/network/validity.rs` |
//! | the page of the demo | `demo/page/`; what the wire shows: `demo/wire/shorten.rs` |

pub mod cli;
pub mod config;
pub mod core;
pub mod flows;
pub mod io;
pub mod state;

#[cfg(feature = "edge")]
pub mod app;
#[cfg(feature = "edge")]
pub mod edge;

#[cfg(feature = "edge")]
pub mod demo;
