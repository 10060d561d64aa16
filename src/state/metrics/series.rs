//! Every series, by subject: its name, what it says, and its labels.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// Buckets for durations that a person or a page waits for, in seconds.
const DURATIONS: &[f64] =
    &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Buckets for the gate's own judgement, in seconds.
const JUDGEMENTS: &[f64] = &[0.000_002, 0.000_01, 0.000_05, 0.000_1, 0.000_5, 0.001, 0.01, 0.1, 1.0, 5.0];

type Registered<S> = Result<S, prometheus::Error>;

/// Makes series and registers them. It fails only when two have one name, which is a mistake in this file.
pub(super) struct Registrar<'r>(pub(super) &'r Registry);

impl Registrar<'_> {
    fn add<S: Collector + Clone + 'static>(&self, series: S) -> Registered<S> {
        self.0.register(Box::new(series.clone()))?;
        Ok(series)
    }

    fn counter(&self, name: &str, help: &str) -> Registered<IntCounter> {
        self.add(IntCounter::new(name, help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Registered<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Registered<IntGauge> {
        self.add(IntGauge::new(name, help)?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Registered<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// A gauge of seconds or of a moment, with a fraction.
    fn seconds(&self, name: &str, help: &str) -> Registered<Gauge> {
        self.add(Gauge::new(name, help)?)
    }

    /// Gauges of seconds, with a fraction.
    fn seconds_by(&self, name: &str, help: &str, labels: &[&str]) -> Registered<GaugeVec> {
        self.add(GaugeVec::new(Opts::new(name, help), labels)?)
    }

    fn histograms(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
        buckets: &[f64],
    ) -> Registered<HistogramVec> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(HistogramVec::new(options, labels)?)
    }
}

/// Requests, and what became of them.
#[derive(Clone, Debug)]
pub(super) struct Requests {
    pub(super) answered: IntCounterVec,
    pub(super) duration: HistogramVec,
    pub(super) denials: IntCounterVec,
    pub(super) report_only_denials: IntCounterVec,
    pub(super) ended: IntCounterVec,
    pub(super) in_flight: IntGauge,
}

impl Requests {
    pub(super) fn register(to: &Registrar<'_>) -> Registered<Self> {
        Ok(Self {
            answered: to.counters("requests_total", "Requests answered.", &["route", "status"])?,
            duration: to.histograms(
                "request_duration_seconds",
                "From the request's header to the answer's end.",
                &["route"],
                DURATIONS,
            )?,
            denials: to.counters("denials_total", "Requests refused.", &["route", "reason"])?,
            report_only_denials: to.counters(
                "report_only_denials_total",
                "Requests that passed as nobody's and would have been refused but for report_only.",
                &["route", "reason"],
            )?,
            ended: to.counters(
                "streams_ended_total",
                "Requests that were ended under way, because their access did.",
                &["cause"],
            )?,
            in_flight: to.gauge("requests_in_flight", "Requests not yet answered.")?,
        })
    }
}

/// The judgement of credentials.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    pub(super) auth_duration: HistogramVec,
    /// The series of [`Self::auth_duration`] for tokens from the cache.
    pub(super) recall_duration: Histogram,
    /// The series of [`Self::auth_duration`] for tokens that were verified anew.
    pub(super) verify_duration: Histogram,
    pub(super) verified: IntCounterVec,
    pub(super) unknown_kid: IntCounterVec,
    pub(super) introspections: IntCounterVec,
    pub(super) used_proofs: IntGaugeVec,
}

impl Tokens {
    pub(super) fn register(to: &Registrar<'_>) -> Registered<Self> {
        let auth_duration = to.histograms(
            "auth_duration_seconds",
            "Time spent judging a credential.",
            &["path"],
            JUDGEMENTS,
        )?;
        Ok(Self {
            recall_duration: auth_duration.with_label_values(&["cached"]),
            verify_duration: auth_duration.with_label_values(&["verified"]),
            auth_duration,
            verified: to.counters(
                "tokens_verified_total",
                "Access tokens that are good by signature, claims and times; a revocation may refuse them all the same.",
                &["issuer", "path"],
            )?,
            unknown_kid: to.counters("unknown_kid_total", "Tokens that named a key nobody knows.", &["issuer"])?,
            introspections: to.counters(
                "introspections_total",
                "Times that an issuer was, or should have been, asked about an opaque token.",
                &["issuer", "result"],
            )?,
            used_proofs: to.gauges("used_proofs", "Used proofs of possession that are remembered.", &["at"])?,
        })
    }
}

/// Calls to authorization servers, and how old the keys of issuers are.
#[derive(Clone, Debug)]
pub(super) struct AuthorizationServers {
    pub(super) request_duration: HistogramVec,
    pub(super) call_failures: IntCounterVec,
    pub(super) keys_age: GaugeVec,
    pub(super) keys_refresh: GaugeVec,
    pub(super) key_fetches: IntCounterVec,
}

impl AuthorizationServers {
    pub(super) fn register(to: &Registrar<'_>) -> Registered<Self> {
        Ok(Self {
            request_duration: to.histograms(
                "as_request_duration_seconds",
                "Calls to an authorization server.",
                &["issuer", "endpoint"],
                DURATIONS,
            )?,
            call_failures: to.counters(
                "as_call_failures_total",
                "Calls to an authorization server that brought no whole answer.",
                &["issuer", "endpoint", "reason"],
            )?,
            keys_age: to.seconds_by(
                "keys_age_seconds",
                "Since an issuer's keys were last read.",
                &["issuer"],
            )?,
            keys_refresh: to.seconds_by(
                "keys_refresh_seconds",
                "At which age an issuer's keys are read again.",
                &["issuer"],
            )?,
            key_fetches: to.counters(
                "key_fetches_total",
                "Attempts to read an issuer's keys.",
                &["issuer", "result"],
            )?,
        })
    }
}

/// Sign-ins and sessions, by client.
#[derive(Clone, Debug)]
pub(super) struct Clients {
    pub(super) exchanges: IntCounterVec,
    pub(super) sign_ins: IntCounterVec,
}

impl Clients {
    pub(super) fn register(to: &Registrar<'_>) -> Registered<Self> {
        Ok(Self {
            exchanges: to.counters(
                "exchanges_total",
                "Refresh tokens exchanged, at /oauth/token or for a session.",
                &["client", "outcome"],
            )?,
            sign_ins: to.counters(
                "sign_ins_total",
                "Sign-ins completed or failed.",
                &["client", "result"],
            )?,
        })
    }
}

/// The list of revocations, who adds to it, and the store behind it.
#[derive(Clone, Debug)]
pub(super) struct Revoking {
    pub(super) revocations: IntGaugeVec,
    pub(super) lag: Gauge,
    pub(super) signals: IntCounterVec,
    pub(super) store_up: IntGauge,
}

impl Revoking {
    pub(super) fn register(to: &Registrar<'_>) -> Registered<Self> {
        Ok(Self {
            revocations: to.gauges("revocations", "Entries of the list of revocations.", &["kind"])?,
            lag: to.seconds(
                "revocation_lag_seconds",
                "How long ago the list of revocations was last known to be complete.",
            )?,
            signals: to.counters(
                "signals_total",
                "Events that transmitters of shared signals told of, without those that were refused.",
                &["signal", "event", "result"],
            )?,
            store_up: to.gauge(
                "store_up",
                "1 while the store does what it is asked, and the list of revocations can be written.",
            )?,
        })
    }
}

/// Upstreams and their servers.
#[derive(Clone, Debug)]
pub(super) struct Upstreams {
    pub(super) requests: IntCounterVec,
    pub(super) healthy: IntGaugeVec,
    pub(super) planted_cookies: IntCounterVec,
}

impl Upstreams {
    pub(super) fn register(to: &Registrar<'_>) -> Registered<Self> {
        Ok(Self {
            requests: to.counters(
                "upstream_requests_total",
                "Requests sent to an upstream.",
                &["upstream", "server", "result"],
            )?,
            healthy: to.gauges(
                "upstream_healthy",
                "1 while a server answers its health checks and can be reached.",
                &["upstream", "server"],
            )?,
            planted_cookies: to.counters(
                "planted_cookies_total",
                "Cookies of Tollgate's names that an upstream tried to set, and that were dropped.",
                &["upstream"],
            )?,
        })
    }
}

/// Connections, and who is turned away before HTTP or at the admin listener.
#[derive(Clone, Debug)]
pub(super) struct Listeners {
    pub(super) connections: IntGaugeVec,
    pub(super) proxy_headers_refused: IntCounterVec,
    pub(super) admin_tokens_refused: IntCounter,
    pub(super) certificate_begin: IntGaugeVec,
    pub(super) certificate_end: IntGaugeVec,
}

impl Listeners {
    pub(super) fn register(to: &Registrar<'_>) -> Registered<Self> {
        Ok(Self {
            connections: to.gauges("connections", "Open connections.", &["listener"])?,
            proxy_headers_refused: to.counters(
                "proxy_headers_refused_total",
                "Connections of a load balancer that did not say whose they are.",
                &["reason"],
            )?,
            admin_tokens_refused: to.counter(
                "admin_tokens_refused_total",
                "Requests to the admin listener with a token that is not its own.",
            )?,
            certificate_begin: to.gauges(
                "certificate_begin_time_seconds",
                "From when on a certificate counts that Tollgate shows, Unix time.",
                &["certificate"],
            )?,
            certificate_end: to.gauges(
                "certificate_end_time_seconds",
                "When a certificate ends that Tollgate shows, Unix time.",
                &["certificate"],
            )?,
        })
    }
}

/// The process: its configuration, its log, and itself.
#[derive(Clone, Debug)]
pub(super) struct Process {
    pub(super) config_reloads: IntCounterVec,
    pub(super) config_is_taken_over: IntGauge,
    pub(super) log_lines_lost: IntCounterVec,
    pub(super) build_info: IntGaugeVec,
    pub(super) up_since: Gauge,
}

impl Process {
    pub(super) fn register(to: &Registrar<'_>) -> Registered<Self> {
        Ok(Self {
            config_reloads: to.counters(
                "config_reloads_total",
                "Configurations that were read again: taken over or not.",
                &["result"],
            )?,
            config_is_taken_over: to.gauge(
                "config_last_reload_successful",
                "1 while the configuration that was read last counts; 0 when it was refused.",
            )?,
            log_lines_lost: to.counters(
                "log_lines_lost_total",
                "Lines that could not be written: their reader is too slow or gone, or the disk is full.",
                &["log"],
            )?,
            build_info: to.gauges("build_info", "1, with the version as label.", &["version"])?,
            up_since: to.seconds("start_time_seconds", "When this process was ready, Unix time.")?,
        })
    }
}
