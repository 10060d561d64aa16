//! config.yaml → settings: everything that is wrong is said at once, each with path, line and
//! remedy, and what is not said to be wrong means what docs/configuration.md says.
//!
//! - `support`: what they share
//!
//! Sections of config.yaml:
//!
//! - `listeners`: addresses, certificates, the admin listener; `network`: `public_url`, proxies, deadlines
//! - `issuers`: keys, names, audiences, opaque tokens; `providers`: what some of them need said
//! - `clients`: each `mode`, and how they prove who they are; `sessions`: `session` mode and sign-in
//! - `routes`: paths, names, answers; `require`: what they require
//! - `identity`: what upstreams learn of callers
//! - `cors`: which pages may read answers; `csrf`: what makes a request one of a client's own pages
//! - `upstreams`: servers and how they are spoken with
//! - `signals`: transmitters; `store`: where sessions and revocations are kept
//!
//! The file, and what is said of it:
//!
//! - `yaml`: what its reader lets through; `variables`: `${NAME}`
//! - `mistakes`: all at once, each with its place; `secrets`: none is shown
//! - `machine`: what it asks of files and of the machine; `dates`: certificates that end
//! - `commands`: `check`, `run` and `keys`
//!
//! The schema and the documentation:
//!
//! - `schema`: what each key means; `defaults`: what leaving one out means; `json_schema`: for editors
//! - `documents`: docs/configuration.md and the examples

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "config/clients.rs"]
mod clients;
#[path = "config/commands.rs"]
mod commands;
#[path = "config/cors.rs"]
mod cors;
#[path = "config/csrf.rs"]
mod csrf;
#[path = "config/dates.rs"]
mod dates;
#[path = "config/defaults.rs"]
mod defaults;
#[path = "config/documents.rs"]
mod documents;
#[path = "config/identity.rs"]
mod identity;
#[path = "config/issuers.rs"]
mod issuers;
#[path = "config/json_schema.rs"]
mod json_schema;
#[path = "config/listeners.rs"]
mod listeners;
#[path = "config/machine.rs"]
mod machine;
#[path = "config/mistakes.rs"]
mod mistakes;
#[path = "config/network.rs"]
mod network;
#[path = "config/providers.rs"]
mod providers;
#[path = "config/require.rs"]
mod require;
#[path = "config/routes.rs"]
mod routes;
#[path = "config/schema.rs"]
mod schema;
#[path = "config/secrets.rs"]
mod secrets;
#[path = "config/sessions.rs"]
mod sessions;
#[path = "config/signals.rs"]
mod signals;
#[path = "config/store.rs"]
mod store;
#[path = "config/support.rs"]
mod support;
#[path = "config/upstreams.rs"]
mod upstreams;
#[path = "config/variables.rs"]
mod variables;
#[path = "config/yaml.rs"]
mod yaml;
