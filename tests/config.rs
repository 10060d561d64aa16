//! config.yaml → settings: everything that is wrong is said at once, each with path, line and
//! remedy, and what is not said to be wrong means what docs/configuration.md says.

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
