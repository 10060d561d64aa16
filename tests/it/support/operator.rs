//! An operator: whoever has the token of a gateway's admin listener.

use std::net::SocketAddr;

use serde_json::Value;

use super::client::{Answer, Client};
use super::gateway::Gateway;

pub struct Operator {
    admin: SocketAddr,
    /// `Authorization` with the token.
    pub bearer: String,
}

impl Operator {
    /// With the token that `gateway` made for its operators.
    pub fn of(gateway: &Gateway) -> Self {
        let made = std::fs::read_to_string(gateway.folder().join("data/admin.token")).unwrap();
        Self::with_token(gateway, made.trim())
    }

    /// With a token that the operators chose.
    pub fn with_token(gateway: &Gateway, token: &str) -> Self {
        Self { admin: gateway.admin, bearer: format!("Bearer {token}") }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        let fields = [("Authorization", self.bearer.as_str()), ("Content-Type", "application/json")];
        ask(self.admin, "POST", path, &fields, &body.to_string()).await
    }

    /// Asks without a body.
    pub async fn ask(&self, method: &str, path: &str) -> Answer {
        ask(self.admin, method, path, &[("Authorization", &self.bearer)], "").await
    }
}

/// What an admin listener answers whoever asks it with these fields.
pub async fn ask(admin: SocketAddr, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> Answer {
    let length = body.len();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {length}\r\n");
    for (name, value) in fields {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut client = Client::connect(admin).await;
    client.send(head + "\r\n" + body).await;
    client.answer_to(method).await.unwrap()
}
