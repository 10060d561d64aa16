//! The operator of the demo: takes access back and gives it back over the admin API of the gateway, as
//! `tollgate revoke` does. It takes back what is named here and nothing else, and never gives the token of
//! the admin listener away.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::io::admin_client::AdminClient;

/// Somebody of the demo.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Person {
    Alice,
    Bob,
}

/// What can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// An account: everything of this person, old and new, until it is lifted.
    Account(Person),
    /// What this person has had until now, on every device.
    UntilNow(Person),
    /// The key of the demo's authorization server, until it is lifted.
    Key,
}

/// What was asked, and what the gateway answered.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) method: Method,
    pub(super) target: String,
    pub(super) body: Option<Value>,
    pub(super) status: StatusCode,
    pub(super) answer: Value,
}

/// Whoever may ask the admin listener.
#[derive(Debug)]
pub(super) struct Operator {
    admin: AdminClient,
    /// The key of the demo's authorization server.
    kid: String,
}

impl Person {
    pub(super) fn parse(subject: &str) -> Option<Self> {
        [Self::Alice, Self::Bob].into_iter().find(|person| person.subject() == subject)
    }

    pub(super) const fn subject(self) -> &'static str {
        match self {
            Self::Alice => "alice",
            Self::Bob => "bob",
        }
    }
}

impl Operator {
    pub(super) const fn new(admin: AdminClient, kid: String) -> Self {
        Self { admin, kid }
    }

    /// Takes it back.
    ///
    /// # Errors
    /// Why there is no answer, as text for people.
    pub(super) async fn take_back(&self, what: Taken) -> Result<Done, String> {
        let (kind, value) = self.names(what);
        let body = match what {
            Taken::Account(_) => {
                json!({ "kind": kind, "value": value, "block": true, "reason": "account suspended" })
            }
            Taken::UntilNow(_) => json!({ "kind": kind, "value": value, "reason": "device lost" }),
            Taken::Key => json!({ "kind": kind, "value": value, "reason": "key compromised" }),
        };
        self.ask(Method::POST, "/revocations".to_owned(), Some(body)).await
    }

    /// Gives it back. `None`: it was not taken.
    ///
    /// # Errors
    /// Why there is no answer, as text for people.
    pub(super) async fn lift(&self, what: Taken) -> Result<Option<Done>, String> {
        match self.standing(what).await? {
            Some(id) => self.ask(Method::DELETE, format!("/revocations/{id}"), None).await.map(Some),
            None => Ok(None),
        }
    }

    /// The id of the revocation that takes it back, whoever made it.
    pub(super) async fn standing(&self, what: Taken) -> Result<Option<String>, String> {
        let (kind, value) = self.names(what);
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("kind", kind)
            .append_pair("value", value)
            .finish();
        let listed = self.ask(Method::GET, format!("/revocations?{query}"), None).await?;
        if listed.status != StatusCode::OK {
            return Err(format!("the list of revocations was answered {}", listed.status));
        }
        let is_block = matches!(what, Taken::Account(_));
        let all = listed.answer.get("revocations").and_then(Value::as_array);
        let found = all.into_iter().flatten().find(|one| one.get("block") == Some(&Value::Bool(is_block)));
        Ok(found.and_then(|one| one.get("id")?.as_str()).map(str::to_owned))
    }

    fn names(&self, what: Taken) -> (&'static str, &str) {
        match what {
            Taken::Account(person) | Taken::UntilNow(person) => ("sub", person.subject()),
            Taken::Key => ("kid", &self.kid),
        }
    }

    async fn ask(&self, method: Method, target: String, body: Option<Value>) -> Result<Done, String> {
        let bytes = body.as_ref().map(|body| body.to_string().into_bytes());
        let answered = self.admin.ask(method.clone(), &target, bytes).await?;
        let answer = serde_json::from_slice(&answered.body).unwrap_or(Value::Null);
        Ok(Done { method, target, body, status: answered.status, answer })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_people_of_the_demo_have_a_name() {
        assert_eq!(Person::parse("alice"), Some(Person::Alice));
        assert_eq!(Person::parse("bob"), Some(Person::Bob));
        for other in ["", "Alice", "*", "alice ", "carol"] {
            assert_eq!(Person::parse(other), None, "{other:?}");
        }
    }
}
