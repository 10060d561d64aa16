//! stub
use std::sync::Arc;

use crate::core::denial::Denial;
use crate::core::metadata::Endpoints;
use crate::flows::Gate;
use crate::state::issuer_keys::IssuerState;

/// The endpoints of an issuer; discovered now when they are not known yet, in one flight.
pub async fn endpoints(gate: &Gate, issuer: &IssuerState) -> Result<Arc<Endpoints>, Denial> {
    let _ = (gate, issuer);
    Err(Denial::AuthorizationServerUnavailable)
}

/// Refreshes every issuer's keys before they grow old, until `stop` becomes true.
pub async fn keep_keys_fresh(gate: Arc<Gate>, stop: tokio::sync::watch::Receiver<bool>) {
    let _ = (gate, stop);
}
