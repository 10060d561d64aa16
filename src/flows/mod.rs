//! WHAT WE DO. One use case a file, read from top to bottom.

pub mod admit;
pub mod answer_preflight;
pub mod authenticate;
pub mod call_authorization_server;
pub mod exchange;
pub mod keep_keys_fresh;
pub mod logout;
pub mod ports;

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::state::errands::Errands;
use crate::state::exchanges::Exchanges;
use crate::state::live::Live;
use crate::state::metrics::Metrics;
use ports::{Clock, HttpClient, Randomness};

/// Everything that a flow works with. Built once, in `app`.
#[derive(Debug)]
pub struct Gate {
    pub live: ArcSwap<Live>,
    pub exchanges: Exchanges,
    pub errands: Errands,
    pub metrics: Metrics,
    pub clock: Arc<dyn Clock>,
    pub random: Arc<dyn Randomness>,
    pub http: Arc<dyn HttpClient>,
}
