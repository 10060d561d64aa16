//! What a button says of what it did.

use http::StatusCode;
use serde_json::{Value, json};

use crate::demo::serve::{self, Answer};

pub(super) fn done(what: &Value) -> Answer {
    serve::json(StatusCode::OK, what)
}

pub(super) fn refusal(status: StatusCode, why: &str) -> Answer {
    serve::json(status, &json!({ "refused": why }))
}
