//! The buttons that take access back and give it back. The operator asks the gateway's admin listener; the
//! page gets what was asked and answered, and never the token. Which button was pressed says what is taken
//! back; a body names at most one of the demo's people. Who may press is decided in `controls`.

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::outcome::{done, refusal};
use crate::demo::operator::{Done, Operator, Person, Taken};
use crate::demo::serve::Answer;

const SUSPEND: &str = "/app/revoke/account";
const DEVICE: &str = "/app/revoke/device";
const KEY: &str = "/app/revoke/key";
const LIFT_ACCOUNT: &str = "/app/lift/account";
const LIFT_KEY: &str = "/app/lift/key";

pub(super) fn is_one(path: &str) -> bool {
    [SUSPEND, DEVICE, KEY, LIFT_ACCOUNT, LIFT_KEY].contains(&path)
}

pub(super) async fn answer(operator: &Operator, path: &str, body: &Bytes) -> Answer {
    let account = Taken::Account(Person::Alice);
    let asked = match path {
        SUSPEND => operator.take_back(account).await.map(Some),
        KEY => operator.take_back(Taken::Key).await.map(Some),
        LIFT_ACCOUNT => operator.lift(account).await,
        LIFT_KEY => operator.lift(Taken::Key).await,
        _ => match person(body) {
            Some(person) => operator.take_back(Taken::UntilNow(person)).await.map(Some),
            None => return refusal(StatusCode::BAD_REQUEST, "`person` is alice or bob"),
        },
    };
    match asked {
        Ok(asked) => done(&json!({ "asked": asked.as_ref().map(shown) })),
        Err(why) => refusal(StatusCode::BAD_GATEWAY, &why),
    }
}

fn person(body: &Bytes) -> Option<Person> {
    let asked: Value = serde_json::from_slice(body).ok()?;
    asked.get("person").and_then(Value::as_str).and_then(Person::parse)
}

fn shown(asked: &Done) -> Value {
    json!({
        "method": asked.method.as_str(),
        "target": asked.target,
        "body": asked.body,
        "status": asked.status.as_u16(),
        "answer": asked.answer,
    })
}
