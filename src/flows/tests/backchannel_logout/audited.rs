//! What is written down of a sign-out at the issuer, and how it names the person.

use super::*;
use crate::config::settings::{Log, LogFormat, SubjectInLog};
use crate::flows::testing::lines::Lines;

impl Scene {
    /// As after a reload by which the log names people in this way.
    fn naming_people(mut self, subject: SubjectInLog) -> Self {
        let before = &self.live.settings;
        let log = Log { format: LogFormat::Json, level: tracing::Level::INFO, subject };
        let (issuers, clients) = (before.issuers.clone(), before.clients.clone());
        self.live = Arc::new(Live {
            issuers: Issuers::new(&issuers, Some(&self.live.issuers)),
            settings: Arc::new(Settings { issuers, clients, log, ..testing::settings(OWN) }),
            routes: RouteTable::build(&[]).unwrap(),
            transmitters: Transmitters::default(),
            cookie_keys: Arc::clone(&self.live.cookie_keys),
            assertions: None,
        });
        self.gate.live.store(self.live.clone());
        self
    }
}

#[tokio::test]
async fn who_was_signed_out_is_named_as_the_access_log_names_people() {
    for (subject, is_named) in
        [(SubjectInLog::Plain, true), (SubjectInLog::Hash, false), (SubjectInLog::None, false)]
    {
        let scene = Scene::strict().naming_people(subject);
        let lines = Lines::listen();
        scene.is_told(&logout_token(&scene, json!({ "sub": "alice" }))).await.unwrap();
        scene.is_told(&logout_token(&scene, json!({ "sid": "sid-1", "jti": "logout-2" }))).await.unwrap();
        let text = lines.text();
        assert_eq!(text.contains("alice"), is_named, "{subject:?}: {text}");
        assert_eq!(lines.count("event=\"audit\""), 2, "{text}");
        assert!(text.contains("sid-1"), "a session is nobody's name: {text}");
    }
}
