//! `tollgate check --live`: asks everybody that a gateway with this configuration would talk to, once and all
//! at the same time, and says of each how it is. It must never print a secret; an answer can be anybody's
//! text, and is escaped.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};

use super::{Surroundings, escaped};
use crate::config::settings::Settings;
use crate::flows::ask_issuer::{ask_issuer, ask_transmitter};
use crate::flows::keep_keys_fresh::Means;
use crate::flows::ports::{Clock, HttpClient};
use crate::io::http_client::{Called, IssuerClients};
use crate::io::system::SystemClock;
use crate::io::{store, upstream_reach};
use crate::state::live::Live;
use crate::state::metrics::Metrics;

/// Who was asked, and what came of it.
type Told = (String, Result<String, String>);

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
            Ok(about) => ("ok", about),
            Err(why) => ("NO", why),
        };
        out.extend(format!("{word:<4}{who}: {about}").chars().flat_map(escaped));
        out.push('\n');
    }
    let written = around.out.write_all(out.as_bytes()).and_then(|()| around.out.flush());
    u8::from(written.is_err() || told.iter().any(|(_, outcome)| outcome.is_err()))
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
    let means = Means { http: &http, clock: &clock, metrics: &metrics };
    let told = runtime.block_on(join_all(everybody(means, &clients, &live)));
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    Ok(told)
}

fn everybody<'a>(
    means: Means<'a>,
    clients: &'a IssuerClients,
    live: &'a Live,
) -> Vec<LocalBoxFuture<'a, Told>> {
    let settings = &live.settings;
    let issuers = live.issuers.iter().map(|issuer| {
        let who = format!("issuer {}", issuer.settings.name);
        let told = move |why: String| match clients.last_cause(&issuer.settings.name) {
            Some(cause) => format!("{why} ({cause})"),
            None => why,
        };
        async move {
            let outcome = ask_issuer(means, settings, issuer).await;
            (who, outcome.map_err(told))
        }
        .boxed_local()
    });
    let transmitters = live.transmitters.iter().map(|transmitter| {
        let who = format!("signals {}", transmitter.settings.name);
        async move {
            let outcome = ask_transmitter(means, transmitter).await;
            let cause = || clients.last_cause(&transmitter.signer.settings.name);
            (who, outcome.map_err(|why| cause().map_or(why.clone(), |cause| format!("{why} ({cause})"))))
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
            async move { (who, upstream_reach::reach(upstream, server).await) }.boxed_local()
        })
    });
    let store = async {
        let outcome = store::reach(&settings.store, means.clock.clone()).await;
        (format!("store {}", settings.store), outcome)
    };
    issuers.chain(transmitters).chain(servers).chain([store.boxed_local()]).collect()
}
