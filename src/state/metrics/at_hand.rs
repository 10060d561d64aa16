//! Series that every request writes to, at hand: a look-up by labels costs more than what is counted.
//!
//! They belong to one configuration. Where a reload takes series away its own go on without being seen, and
//! never bring back what is gone.

use std::sync::OnceLock;
use std::time::Duration;

use http::StatusCode;
use prometheus::{Histogram, IntCounter};

use super::Metrics;
use crate::core::ids::RouteName;

/// What nearly all answers have; others are looked up.
const USUAL: [StatusCode; 8] = [
    StatusCode::OK,
    StatusCode::CREATED,
    StatusCode::NO_CONTENT,
    StatusCode::NOT_MODIFIED,
    StatusCode::UNAUTHORIZED,
    StatusCode::FORBIDDEN,
    StatusCode::NOT_FOUND,
    StatusCode::SWITCHING_PROTOCOLS,
];

/// Where the answers of one route are counted, from the first on: before that it has no series.
#[derive(Debug)]
pub struct RouteCounts {
    route: RouteName,
    times: OnceLock<Histogram>,
    /// In the order of [`USUAL`].
    answers: [OnceLock<IntCounter>; USUAL.len()],
}

impl RouteCounts {
    pub fn new(route: RouteName) -> Self {
        Self { route, times: OnceLock::new(), answers: Default::default() }
    }

    /// As [`Metrics::request_answered`], of which it must always be the same.
    pub fn answered(&self, metrics: &Metrics, status: StatusCode, took: Duration) {
        self.times.get_or_init(|| metrics.answer_times(&self.route)).observe(took.as_secs_f64());
        let place = USUAL.iter().position(|usual| *usual == status).and_then(|at| self.answers.get(at));
        match place {
            Some(place) => place.get_or_init(|| metrics.answers(&self.route, status)).inc(),
            None => metrics.answers(&self.route, status).inc(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_at_hand_counts_as_what_is_looked_up() {
        let (by_hand, by_label) = (Metrics::new().unwrap(), Metrics::new().unwrap());
        let text = |metrics: &Metrics| String::from_utf8(metrics.render().unwrap()).unwrap();
        let routes = ["/*", "/api/*"].map(RouteName::new);
        let at_hand = routes.clone().map(RouteCounts::new);
        assert_eq!(text(&by_hand), text(&by_label), "before the first there is none");
        for code in 100..600 {
            for times in 0..3 {
                let status = StatusCode::from_u16(code).unwrap();
                let took = Duration::from_millis(u64::from(code) * times);
                let at = usize::from(code % 2);
                at_hand[at].answered(&by_hand, status, took);
                by_label.request_answered(&routes[at], status, took);
            }
        }
        assert_eq!(text(&by_hand), text(&by_label));
        // Both ways write to the same.
        by_hand.request_answered(&routes[0], StatusCode::OK, Duration::ZERO);
        at_hand[0].answered(&by_label, StatusCode::OK, Duration::ZERO);
        let counted = |metrics: &Metrics| {
            let text = text(metrics);
            let line = |line: &&str| line.starts_with("tollgate_requests_total{route=\"/*\",status=\"200\"}");
            text.lines().find(line).map(str::to_owned)
        };
        assert_eq!(counted(&by_hand).unwrap().rsplit(' ').next(), Some("5"));
        assert_eq!(counted(&by_label).unwrap().rsplit(' ').next(), Some("3"), "each belongs to its own");
    }
}
