//! `tollgate check --live`: asks everybody that a gateway with this configuration would talk to, once and all
//! at the same time, and says of each how it is; an issuer is then asked whether it takes the credentials for
//! it. It must never print a secret; an answer can be anybody's text, and is escaped.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};

use super::{Surroundings, escaped};
use crate::config::settings::Settings;
use crate::core::ids::IssuerName;
use crate::flows::ask_issuer::{ask_issuer, ask_transmitter};
use crate::flows::keep_keys_fresh::Means;
use crate::flows::ports::{Clock, HttpClient, Randomness};
use crate::flows::try_credentials::{Shown, trials};
use crate::io::http_client::{Called, IssuerClients};
use crate::io::system::{SystemClock, SystemRandomness};
use crate::io::{store, upstream_reach};
use crate::state::issuer_keys::IssuerState;
use crate::state::live::Live;
use crate::state::metrics::Metrics;

/// Who was asked, and what came of it.
type Told = (String, Outcome);

enum Outcome {
    Well(String),
    /// What is wrong, and what to do.
    Wrong(String),
    /// Nobody can say by what was answered, which is no fault of the configuration.
    Open(String),
}

impl From<Result<String, String>> for Outcome {
    fn from(outcome: Result<String, String>) -> Self {
        outcome.map_or_else(Self::Wrong, Self::Well)
    }
}

/// The exit code: 0 all are well, 1 one is not.
pub(super) fn run(settings: Settings, around: &mut Surroundings<'_>) -> u8 {
    let told = match ask(settings) {
        Ok(told) => told,
        Err(why) => {
            let _ = writeln!(around.err, "{why}");
            return 1;
        }
    };
    let mut out = "\n".to_owned();
    for (who, outcome) in &told {
        let (word, about) = match outcome {
            Outcome::Well(about) => ("ok", about),
            Outcome::Wrong(why) => ("NO", why),
            Outcome::Open(why) => ("?", why),
        };
        out.extend(format!("{word:<4}{who}: {about}").chars().flat_map(escaped));
        out.push('\n');
    }
    let written = around.out.write_all(out.as_bytes()).and_then(|()| around.out.flush());
    u8::from(written.is_err() || told.iter().any(|(_, outcome)| matches!(outcome, Outcome::Wrong(_))))
}

/// Everybody's answer, in the order of the file.
fn ask(settings: Settings) -> Result<Vec<Told>, String> {
    crate::io::install_crypto_providers();
    let called = settings.called();
    let called = called.iter().map(|called| Called::from(&**called));
    let clients = Arc::new(IssuerClients::new(called).map_err(|error| error.to_string())?);
    let http: Arc<dyn HttpClient> = clients.clone();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let metrics = Metrics::new().map_err(|error| error.to_string())?;
    let live = Live::to_look_at(settings)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let random: Arc<dyn Randomness> = Arc::new(SystemRandomness);
    let means = Means { http: &http, clock: &clock, metrics: &metrics };
    let told = runtime.block_on(join_all(everybody(means, &random, &clients, &live)));
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    Ok(told.into_iter().flatten().collect())
}

/// For each who is asked, what there is to say.
fn everybody<'a>(
    means: Means<'a>,
    random: &'a Arc<dyn Randomness>,
    clients: &'a IssuerClients,
    live: &'a Live,
) -> Vec<LocalBoxFuture<'a, Vec<Told>>> {
    let settings = &live.settings;
    let issuers = live
        .issuers
        .iter()
        .map(|issuer| issuer_with_its_clients(means, random, clients, settings, issuer).boxed_local());
    let transmitters = live.transmitters.iter().map(|transmitter| {
        let who = format!("signals {}", transmitter.settings.name);
        let name = &transmitter.signer.settings.name;
        async move {
            let outcome = ask_transmitter(means, transmitter).await;
            vec![(who, outcome.map_err(|why| with_cause(clients, name, why)).into())]
        }
        .boxed_local()
    });
    let servers = settings.upstreams.iter().flat_map(|upstream| {
        upstream.servers.iter().map(move |server| {
            let url = server.url.as_str().trim_end_matches('/');
            let who = match upstream.name.as_str() {
                of_route if of_route.contains("://") => format!("upstream {of_route}"),
                name => format!("upstream {name} {url}"),
            };
            async move { vec![(who, upstream_reach::reach(upstream, server).await.into())] }.boxed_local()
        })
    });
    let store = async {
        let outcome = store::reach(&settings.store, means.clock.clone()).await;
        vec![(format!("store {}", settings.store), outcome.into())]
    };
    issuers.chain(transmitters).chain(servers).chain([store.boxed_local()]).collect()
}

/// Its clients are asked about once its endpoints are known.
async fn issuer_with_its_clients(
    means: Means<'_>,
    random: &Arc<dyn Randomness>,
    clients: &IssuerClients,
    settings: &Settings,
    issuer: &Arc<IssuerState>,
) -> Vec<Told> {
    let name = &issuer.settings.name;
    let outcome = ask_issuer(means, settings, issuer).await;
    let outcome = outcome.map_err(|why| with_cause(clients, name, why));
    let tried = trials(means, random, settings, issuer).into_iter().map(async |(who, trial)| {
        let outcome = match trial.await {
            Shown::Counts(about) => Outcome::Well(about),
            Shown::DoesNotCount(why) => Outcome::Wrong(why),
            Shown::Unreached(why) => Outcome::Wrong(with_cause(clients, name, why)),
            Shown::Nothing(why) => Outcome::Open(why),
        };
        (who, outcome)
    });
    let mut told = vec![(format!("issuer {name}"), outcome.into())];
    told.extend(join_all(tried).await);
    told
}

/// What the latest call there said of its fault beside.
fn with_cause(clients: &IssuerClients, issuer: &IssuerName, why: String) -> String {
    match clients.last_cause(issuer) {
        Some(cause) => format!("{why} ({cause})"),
        None => why,
    }
}
