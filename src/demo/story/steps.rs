//! The steps, in the order in which they are told.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::{Method, StatusCode, header};
use serde_json::Value;

use super::{
    CLIENT, Story, Surprise, Told, challenge_parameter, claims, expect, expect_status, one_bit_altered, text,
};
use crate::demo::browser::{Answer, Browser, SetCookie};
use crate::demo::sign_in::{GatewaySignIn, Visited, goes_on_to, through_the_gateway};
use crate::demo::terminal::shortened;

/// How long the story waits for what happens in the background.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
const AT_ONCE: usize = 50;

impl Story<'_> {
    /// The gateway listens and has the issuer's keys.
    pub(super) async fn wait_until_ready(&mut self) -> Told {
        let url = format!("{}/readyz", self.places.admin);
        let begun = Instant::now();
        loop {
            let came = match self.browser.get(&url, &[]).await {
                Ok(answer) if answer.status == StatusCode::OK => return Ok(()),
                Ok(answer) => format!("{url} answers {}", answer.status),
                Err(fault) => fault.to_string(),
            };
            expect(begun.elapsed() < PATIENCE, format!("the gateway is not ready: {came}"))?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(super) async fn sign_in(&mut self) -> Told {
        self.terminal.step("Alice signs in: GET /oauth/login sends her to the authorization server");
        let browser = Browser::new();
        let visited = self.sign_in_as(&browser, "alice", false, None).await?;
        self.terminal.came(format!(
            "{} with code_challenge, state and nonce; what belongs to them stays in the gateway",
            visited.login.status.as_u16(),
        ));
        for parameter in ["code_challenge=", "state=", "nonce="] {
            expect(visited.authorize.contains(parameter), format!("{parameter} is not in the request"))?;
        }

        self.terminal.step("She comes back with a code: GET /oauth/callback");
        let callback = &visited.callback;
        expect_status(callback, StatusCode::OK)?;
        let to = goes_on_to(callback).unwrap_or_default();
        expect(to.ends_with('/'), format!("the page goes on to {to:?}"))?;
        self.terminal.came("200, a page that goes on to where she was; no token is in it");
        let cookie = sealed_cookie(callback)?;
        self.terminal.detail(format!(
            "Set-Cookie: {}={} ({} characters, sealed)",
            cookie.name,
            shortened(&cookie.value, 12),
            cookie.value.len()
        ));
        self.terminal.detail(format!("            {}", cookie.attributes.join("; ")));
        self.cookie_name = cookie.name;
        self.browser = browser;

        self.terminal.step("Her page swaps the cookie for an access token: POST /oauth/token");
        let answer = self.refresh(&[]).await?;
        expect_status(&answer, StatusCode::OK)?;
        no_refresh_token(&answer)?;
        let body = answer.json();
        text(&body, "access_token").clone_into(&mut self.access_token);
        let claims = claims(&self.access_token);
        self.terminal.came(format!(
            "200, an access token for {}, scope {:?}, good for {} s",
            text(&claims, "sub"),
            text(&claims, "scope"),
            number(&body, "expires_in"),
        ));
        let names: Vec<&str> =
            body.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
        self.terminal.detail("no refresh token in the answer, which has");
        self.terminal.detail(format!("  {}", names.join(", ")));
        sealed_cookie(&answer)?;
        Ok(())
    }

    pub(super) async fn call_without_a_token(&mut self) -> Told {
        self.terminal.step("A call without a token: GET /api/hello");
        let answer = self.browser.get(&self.url("/api/hello"), &[]).await?;
        expect_status(&answer, StatusCode::UNAUTHORIZED)?;
        let challenge = answer.header(&header::WWW_AUTHENTICATE);
        expect(challenge.starts_with("Bearer"), format!("the challenge is {challenge:?}"))?;
        expect(!challenge.contains("error="), "the challenge names an error although no token came")?;
        self.terminal.came(format!("401, WWW-Authenticate: {}", shortened(challenge, 60)));
        Ok(())
    }

    pub(super) async fn call_with_the_token(&mut self) -> Told {
        self.terminal.step("With the token, a forged X-Auth-Subject and a copy of the cookie");
        let cookie = self.browser.cookie(&self.cookie_name).map(|cookie| cookie.value).unwrap_or_default();
        let cookies = format!("theme=dark; {}={cookie}", self.cookie_name);
        let bearer = self.bearer();
        let headers = [("Authorization", &*bearer), ("X-Auth-Subject", "root"), ("Cookie", &*cookies)];
        let answer = self.browser.get(&self.url("/api/hello?greet=world"), &headers).await?;
        expect_status(&answer, StatusCode::OK)?;
        let saw = answer.json();
        self.terminal.came("200 from the upstream, which saw:");
        let empty = Value::Null;
        let arrived = saw.get("headers").unwrap_or(&empty);
        for (name, right) in [("x-auth-subject", "alice"), ("x-auth-client", CLIENT)] {
            let value = text(arrived, name);
            expect(value == right, format!("the upstream saw {name}: {value:?} instead of {right:?}"))?;
        }
        for name in ["x-auth-subject", "x-auth-client", "x-auth-scope", "x-auth-issuer", "x-request-id"] {
            let value = text(arrived, name);
            expect(!value.is_empty(), format!("the upstream saw no {name}"))?;
            self.terminal.detail(format!("{name}: {value}"));
        }
        expect(arrived.get("authorization").is_none(), "Authorization reached the upstream")?;
        let cookies = text(arrived, "cookie");
        expect(cookies == "theme=dark", format!("the cookies at the upstream: {}", shortened(cookies, 40)))?;
        self.terminal.detail("cookie: theme=dark");
        self.terminal.detail("no Authorization, no session cookie, and \"root\" did not get through");
        Ok(())
    }

    pub(super) async fn alter_the_token(&mut self) -> Told {
        self.terminal.step("The same token with one bit of its signature altered");
        let altered = one_bit_altered(&self.access_token).ok_or(Surprise("the token is no JWT".into()))?;
        let bearer = format!("Bearer {altered}");
        let answer = self.browser.get(&self.url("/api/hello"), &[("Authorization", &bearer)]).await?;
        expect_status(&answer, StatusCode::UNAUTHORIZED)?;
        self.challenged(&answer, "invalid_token")
    }

    pub(super) async fn reach_for_more(&mut self) -> Told {
        self.terminal.step("Her own page, then Bob's: GET /api/users/{id}");
        let own = self.call("/api/users/alice").await?;
        expect_status(&own, StatusCode::OK)?;
        self.terminal.came("200 for /api/users/alice");
        let other = self.call("/api/users/bob").await?;
        expect_status(&other, StatusCode::FORBIDDEN)?;
        self.terminal.came("403 for /api/users/bob: the claim `sub` is not `bob`");

        self.terminal.step("Bob, who is no administrator: GET /api/admin/report");
        let bob = Browser::new();
        let token = self.token_in(&bob, "bob", false, None).await?;
        let answer = self.call_with(&bob, &token, "/api/admin/report").await?;
        expect_status(&answer, StatusCode::FORBIDDEN)?;
        self.challenged(&answer, "insufficient_scope")
    }

    pub(super) async fn step_up(&mut self) -> Told {
        self.terminal.step("Alice, who is one, but signed in an hour ago (in a browser of its own)");
        let browser = Browser::new();
        let token = self.token_in(&browser, "alice", true, None).await?;
        let answer = self.call_with(&browser, &token, "/api/admin/report").await?;
        expect_status(&answer, StatusCode::UNAUTHORIZED)?;
        self.challenged(&answer, "insufficient_user_authentication")?;
        let challenge = answer.header(&header::WWW_AUTHENTICATE);
        let max_age = challenge_parameter(challenge, "max_age").and_then(|age| age.parse().ok());
        let max_age: u32 = max_age.ok_or_else(|| Surprise(format!("no max_age in {challenge:?}")))?;

        self.terminal.step(&format!("So the page asks for a sign-in with max_age={max_age} (RFC 9470)"));
        let token = self.token_in(&browser, "alice", true, Some(max_age)).await?;
        let answer = self.call_with(&browser, &token, "/api/admin/report").await?;
        expect_status(&answer, StatusCode::OK)?;
        self.terminal.came("200 for /api/admin/report");
        Ok(())
    }

    pub(super) async fn swap_the_cookie(&mut self) -> Told {
        self.terminal.step("The page swaps the cookie for a new access token: POST /oauth/token");
        let before = self.browser.cookie(&self.cookie_name);
        let answer = self.refresh(&[]).await?;
        expect_status(&answer, StatusCode::OK)?;
        let body = answer.json();
        no_refresh_token(&answer)?;
        let token = text(&body, "access_token");
        expect(!token.is_empty() && token != self.access_token, "no new access token came")?;
        expect(before != self.browser.cookie(&self.cookie_name), "the cookie stayed as it was")?;
        sealed_cookie(&answer)?;
        token.clone_into(&mut self.access_token);
        self.terminal.came(format!(
            "200, a new access token and a new cookie; ask again after {} s of {} s",
            number(&body, "refresh_after"),
            number(&body, "expires_in")
        ));
        Ok(())
    }

    pub(super) async fn swap_from_another_site(&mut self) -> Told {
        self.terminal.step("A page of another site tries the same in her browser");
        let asked = self.counted("token_requests").await?;
        let theirs = [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site")];
        let form = [("grant_type", "refresh_token"), ("client_id", CLIENT)];
        let answer = self.browser.post(&self.url("/oauth/token"), &theirs, &form).await?;
        expect_status(&answer, StatusCode::FORBIDDEN)?;
        expect(!answer.headers.contains_key(header::SET_COOKIE), "the refusal sets a cookie")?;
        let asked = self.counted("token_requests").await? - asked;
        expect(asked == 0, format!("the authorization server was asked {asked} times"))?;
        self.terminal.came("403, and the authorization server was not asked");
        Ok(())
    }

    pub(super) async fn swap_fifty_times_at_once(&mut self) -> Told {
        self.terminal.step(&format!("{AT_ONCE} tabs swap the same cookie at once"));
        let asked = self.counted("token_requests").await?;
        // Taken once: who comes later than the first answer would bring its new cookie.
        let cookie = self.browser.cookie(&self.cookie_name).ok_or(Surprise("the cookie is gone".into()))?;
        let cookie = format!("{}={}", cookie.name, cookie.value);
        let cookie = [("Cookie", cookie.as_str())];
        let answers = join_all((0..AT_ONCE).map(|_| self.refresh(&cookie))).await;
        let mut tokens = BTreeSet::new();
        for answer in answers {
            let answer = answer?;
            expect_status(&answer, StatusCode::OK)?;
            tokens.insert(text(&answer.json(), "access_token").to_owned());
        }
        let asked = self.counted("token_requests").await? - asked;
        expect(asked == 1, format!("the authorization server was asked {asked} times"))?;
        expect(tokens.len() == 1, format!("{} different access tokens came", tokens.len()))?;
        self.access_token = tokens.pop_first().unwrap_or_default();
        self.terminal.came(format!("{AT_ONCE} times 200; the authorization server was asked once"));
        Ok(())
    }

    pub(super) async fn sign_out(&mut self) -> Told {
        self.terminal.step("Alice signs out: DELETE /oauth/token");
        let copy = self.browser.cookie(&self.cookie_name).ok_or(Surprise("the cookie is gone".into()))?;
        let revoked = self.counted("revocations").await?;
        let url = self.url(&format!("/oauth/token?client_id={CLIENT}"));
        let own = self.own_page();
        let headers = [("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")];
        let answer = self.browser.send(Method::DELETE, &url, &headers, None).await?;
        expect_status(&answer, StatusCode::NO_CONTENT)?;
        expect(self.browser.cookie(&self.cookie_name).is_none(), "the cookie was not cleared")?;
        self.terminal.came("204, the cookie is cleared");

        self.terminal.step("Somebody kept a copy of the cookie and tries to swap it");
        let cookie = format!("{}={}", copy.name, copy.value);
        let answer = self.refresh(&[("Cookie", &cookie)]).await?;
        expect_status(&answer, StatusCode::BAD_REQUEST)?;
        let error = answer.json();
        expect(text(&error, "error") == "invalid_grant", format!("the error is {error}"))?;
        self.terminal.came("400 invalid_grant");

        self.terminal.step("And the refresh token behind it?");
        self.wait_for_revocations(revoked + 1).await?;
        self.terminal.came("revoked: the authorization server has ended the grant (RFC 7009)");
        Ok(())
    }

    /// Until the authorization server has counted so many.
    pub(super) async fn wait_for_revocations(&self, wanted: u64) -> Told {
        let begun = Instant::now();
        while self.counted("revocations").await? < wanted {
            expect(begun.elapsed() < PATIENCE, "the authorization server was not told")?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// A sign-in, whatever comes of it.
    pub(super) async fn sign_in_as(
        &self,
        browser: &Browser,
        user: &str,
        an_hour_ago: bool,
        max_age: Option<u32>,
    ) -> Result<Visited, Surprise> {
        let (gateway, issuer) = (&self.places.gateway, &self.places.authorization_server);
        let request = GatewaySignIn { gateway, issuer, client_id: CLIENT, user, an_hour_ago, max_age };
        Ok(through_the_gateway(browser, &request).await?)
    }

    /// Signs in, and swaps the cookie for a first access token, as a page does.
    pub(super) async fn token_in(
        &self,
        browser: &Browser,
        user: &str,
        an_hour_ago: bool,
        max_age: Option<u32>,
    ) -> Result<String, Surprise> {
        let visited = self.sign_in_as(browser, user, an_hour_ago, max_age).await?;
        expect_status(&visited.callback, StatusCode::OK)?;
        let answer = self.refresh_in(browser, &[]).await?;
        expect_status(&answer, StatusCode::OK)?;
        no_refresh_token(&answer)?;
        Ok(text(&answer.json(), "access_token").to_owned())
    }

    async fn refresh(&self, more: &[(&str, &str)]) -> Result<Answer, Surprise> {
        self.refresh_in(&self.browser, more).await
    }

    pub(super) async fn refresh_in(
        &self,
        browser: &Browser,
        more: &[(&str, &str)],
    ) -> Result<Answer, Surprise> {
        let own = self.own_page();
        let mut headers = vec![("Origin", own.as_str()), ("Sec-Fetch-Site", "same-origin")];
        headers.extend_from_slice(more);
        let form = [("grant_type", "refresh_token"), ("client_id", CLIENT)];
        Ok(browser.post(&self.url("/oauth/token"), &headers, &form).await?)
    }

    pub(super) async fn call(&self, path: &str) -> Result<Answer, Surprise> {
        Ok(self.browser.get(&self.url(path), &[("Authorization", &self.bearer())]).await?)
    }

    async fn call_with(&self, browser: &Browser, token: &str, path: &str) -> Result<Answer, Surprise> {
        let bearer = format!("Bearer {token}");
        Ok(browser.get(&self.url(path), &[("Authorization", &bearer)]).await?)
    }

    /// Says which error a refusal names, when it is the right one.
    fn challenged(&mut self, answer: &Answer, error: &str) -> Told {
        let challenge = answer.header(&header::WWW_AUTHENTICATE);
        let named = challenge_parameter(challenge, "error").unwrap_or_default();
        expect(named == error, format!("the challenge names {named:?} instead of {error}"))?;
        let more = ["scope", "max_age", "acr_values"].iter().filter_map(|name| {
            challenge_parameter(challenge, name).map(|value| format!(", {name}=\"{value}\""))
        });
        self.terminal.came(format!("{} {error}{}", answer.status.as_u16(), more.collect::<String>()));
        Ok(())
    }

    /// What the authorization server counted.
    pub(super) async fn counted(&self, name: &str) -> Result<u64, Surprise> {
        let url = format!("{}/demo/counts", self.places.authorization_server);
        let counts = self.browser.get(&url, &[]).await?.json();
        counts
            .get(name)
            .and_then(Value::as_u64)
            .ok_or_else(|| Surprise(format!("{url} does not count {name}")))
    }

    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.places.gateway)
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.access_token)
    }

    fn own_page(&self) -> String {
        self.places.gateway.clone()
    }
}

fn number(value: &Value, name: &str) -> String {
    value.get(name).map_or_else(|| "?".to_owned(), Value::to_string)
}

fn no_refresh_token(answer: &Answer) -> Told {
    let body = String::from_utf8_lossy(&answer.body);
    expect(!body.contains("\"refresh_token\""), "a refresh token is in the answer")
}

/// The cookie of an answer, with the attributes that keep it from scripts and from other sites.
fn sealed_cookie(answer: &Answer) -> Result<SetCookie, Surprise> {
    let set = answer.headers.get_all(header::SET_COOKIE).iter().filter_map(SetCookie::read);
    let cookie = set.into_iter().find(|cookie| cookie.attribute("SameSite") == Some("Strict"));
    let cookie = cookie.ok_or(Surprise("no cookie came".into()))?;
    for (name, right) in [("HttpOnly", ""), ("Secure", ""), ("SameSite", "Strict"), ("Path", "/oauth/token")]
    {
        let value = cookie.attribute(name);
        expect(value == Some(right), format!("the cookie's {name} is {value:?}"))?;
    }
    expect(cookie.attribute("Domain").is_none(), "the cookie has a Domain")?;
    Ok(cookie)
}
