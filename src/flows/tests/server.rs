//! An authorization server that rotates, counts, and can be told to fail in every way that counts.

use super::*;

/// What the token endpoint does next, instead of its work.
#[derive(Clone, Debug)]
pub(super) enum Instead {
    Fault(HttpFault),
    Answer(u16, &'static str, String),
    /// 429, and come back after so many seconds.
    Later(u64),
    /// Its work, with these members put into the answer (`null` takes one out).
    With(Value),
}

/// An AS that rotates refresh tokens and ends a session whose replaced token comes back.
#[derive(Debug)]
pub(super) struct FakeServer {
    pub(super) current: Mutex<String>,
    pub(super) made: AtomicUsize,
    /// How many requests have come to the token endpoint, answered or not.
    pub(super) arrived: watch::Sender<usize>,
    pub(super) token_requests: Mutex<Vec<(HeaderMap, String)>>,
    /// What was pushed to it (RFC 9126), and what it answers instead of taking it.
    pub(super) pushed: Mutex<Vec<(HeaderMap, String)>>,
    pub(super) pushes: Mutex<VecDeque<Instead>>,
    pub(super) revoked: Mutex<Vec<String>>,
    pub(super) revocation_requests: Mutex<Vec<(HeaderMap, String)>>,
    /// It answers what it is asked to revoke with this status and this error.
    pub(super) revokes_nothing: Mutex<Option<(u16, &'static str)>>,
    pub(super) next: Mutex<VecDeque<Instead>>,
    /// For proofs of possession, one an answer.
    pub(super) nonces: Mutex<VecDeque<String>>,
    pub(super) jwks: Mutex<Value>,
    /// The keys of the second issuer.
    pub(super) second_jwks: Mutex<Value>,
    /// Members of its metadata beside the usual.
    pub(super) metadata: Mutex<Value>,
    /// What it says of whatever opaque token it is asked about; nothing: it cannot be reached for that.
    pub(super) introspection: Mutex<Option<Value>>,
    /// A permit an answer.
    pub(super) answers: Semaphore,
}

pub(super) const PLENTY: usize = 1 << 20;

impl FakeServer {
    pub(super) fn new() -> Self {
        Self {
            current: Mutex::new("none".into()),
            made: AtomicUsize::new(0),
            token_requests: Mutex::default(),
            pushed: Mutex::default(),
            pushes: Mutex::default(),
            revoked: Mutex::default(),
            revocation_requests: Mutex::default(),
            revokes_nothing: Mutex::default(),
            next: Mutex::default(),
            nonces: Mutex::default(),
            jwks: Mutex::new(json!({ "keys": [keys().p256.jwk()] })),
            second_jwks: Mutex::default(),
            introspection: Mutex::default(),
            metadata: Mutex::new(json!({})),
            answers: Semaphore::new(PLENTY),
            arrived: watch::Sender::new(0),
        }
    }

    fn token_endpoint(&self, headers: &HeaderMap, body: &str) -> Result<Response<Bytes>, HttpFault> {
        self.token_requests.lock().unwrap().push((headers.clone(), body.to_owned()));
        let members = match self.next.lock().unwrap().pop_front() {
            Some(Instead::Fault(fault)) => return Err(fault),
            Some(Instead::Answer(status, content_type, body)) => {
                return Ok(answer(status, content_type, body));
            }
            Some(Instead::Later(seconds)) => {
                let mut answered = answer(429, "application/json", "{}".to_owned());
                answered.headers_mut().insert(RETRY_AFTER, seconds.into());
                return Ok(answered);
            }
            Some(Instead::With(members)) => members,
            None => json!({}),
        };
        let asked: Vec<(String, String)> = form_urlencoded::parse(body.as_bytes()).into_owned().collect();
        let field =
            |name: &str| asked.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        let mut current = self.current.lock().unwrap();
        let good = match field("grant_type") {
            Some("authorization_code") => field("code").is_some_and(|code| code.starts_with("code")),
            Some("refresh_token") => field("refresh_token") == Some(&current),
            _ => false,
        };
        if !good {
            "ended".clone_into(&mut current);
            return Ok(answer(400, "application/json", json!({ "error": "invalid_grant" }).to_string()));
        }
        let number = self.made.fetch_add(1, Ordering::SeqCst);
        *current = format!("refresh-token-{number}");
        let mut body = json!({
            "access_token": format!("access-token-{number}"), "token_type": "Bearer", "expires_in": 300,
            "scope": "openid offline_access api:read", "refresh_token": *current, "secret_of_the_as": "x",
        });
        for (name, value) in members.as_object().unwrap() {
            body[name] = value.clone();
        }
        Ok(answer(200, "application/json", body.to_string()))
    }
}

fn answer(status: u16, content_type: &str, body: String) -> Response<Bytes> {
    Response::builder().status(status).header(CONTENT_TYPE, content_type).body(body.into()).unwrap()
}

impl HttpClient for FakeServer {
    fn send(
        &self,
        _issuer: &Issuer,
        request: Request<Bytes>,
        bounds: Bounds,
    ) -> BoxFuture<'_, Result<Response<Bytes>, HttpFault>> {
        let (parts, body) = request.into_parts();
        let body = String::from_utf8(body.to_vec()).unwrap();
        async move {
            match (parts.method, parts.uri.path()) {
                (Method::POST, "/token") => {
                    assert!(bounds.answer_bytes <= 256 * 1024 && bounds.deadline <= Duration::from_secs(60));
                    self.arrived.send_modify(|count| *count += 1);
                    self.answers.acquire().await.unwrap().forget();
                    let mut answered = self.token_endpoint(&parts.headers, &body)?;
                    if let Some(nonce) = self.nonces.lock().unwrap().pop_front() {
                        answered.headers_mut().insert("dpop-nonce", HeaderValue::try_from(nonce).unwrap());
                    }
                    Ok(answered)
                }
                (Method::POST, "/par") => {
                    assert_eq!((bounds.deadline, bounds.answer_bytes), (Duration::from_secs(5), 16 * 1024));
                    self.pushed.lock().unwrap().push((parts.headers, body));
                    let count = self.pushed.lock().unwrap().len();
                    match self.pushes.lock().unwrap().pop_front() {
                        Some(Instead::Fault(fault)) => Err(fault),
                        Some(Instead::Answer(status, content_type, body)) => Ok(answer(status, content_type, body)),
                        _ => {
                            let name = json!({ "request_uri": format!("urn:ietf:params:oauth:request_uri:{count}"), "expires_in": 60 });
                            Ok(answer(201, "application/json", name.to_string()))
                        }
                    }
                }
                (Method::POST, "/introspect") => match &*self.introspection.lock().unwrap() {
                    Some(said) => Ok(answer(200, "application/json", said.to_string())),
                    None => Err(HttpFault::Connect),
                },
                (Method::POST, "/revoke") => {
                    let token = form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "token").unwrap().1;
                    self.revoked.lock().unwrap().push(token.into_owned());
                    self.revocation_requests.lock().unwrap().push((parts.headers, body));
                    let refused = *self.revokes_nothing.lock().unwrap();
                    Ok(refused.map_or_else(
                        || answer(200, "application/json", String::new()),
                        |(status, error)| answer(status, "application/json", json!({ "error": error }).to_string()),
                    ))
                }
                (Method::GET, path) if path.contains("/.well-known/") => {
                    let mut metadata = json!({
                        "issuer": AS, "jwks_uri": format!("{AS}/jwks"), "token_endpoint": format!("{AS}/token"),
                        "revocation_endpoint": format!("{AS}/revoke"),
                        "authorization_endpoint": format!("{AS}/auth"), "response_types_supported": ["code"],
                    });
                    for (name, value) in self.metadata.lock().unwrap().as_object().unwrap() {
                        metadata[name] = value.clone();
                    }
                    Ok(answer(200, "application/json", metadata.to_string()))
                }
                (Method::GET, "/second/jwks") => {
                    Ok(answer(200, "application/json", self.second_jwks.lock().unwrap().to_string()))
                }
                _ => Ok(answer(200, "application/json", self.jwks.lock().unwrap().to_string())),
            }
        }
        .boxed()
    }
}
