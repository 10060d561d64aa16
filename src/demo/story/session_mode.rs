//! A page that holds no token at all (`mode: session`): its cookie stands for it on every request.

use http::{StatusCode, header};
use serde_json::Value;

use super::{SESSION_CLIENT, Story, Surprise, Told, expect, expect_status, text};
use crate::demo::browser::{Answer, Browser, SetCookie};
use crate::demo::sign_in::{GatewaySignIn, through_the_gateway};

const SAME_ORIGIN: (&str, &str) = ("Sec-Fetch-Site", "same-origin");
const CSRF: (&str, &str) = ("X-CSRF", "1");

impl Story<'_> {
    pub(super) async fn hold_no_token(&mut self) -> Told {
        self.terminal.step("Another page of hers holds no token at all: GET /portal/");
        let browser = Browser::new();
        let navigation = [SAME_ORIGIN, ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
        let answer = browser.get(&self.url("/portal/"), &navigation).await?;
        expect_status(&answer, StatusCode::SEE_OTHER)?;
        let to = answer.header(&header::LOCATION);
        expect(to.contains("/oauth/login?"), format!("it leads to {to:?}"))?;
        self.terminal.came("303 to sign-in: nobody is signed in there");

        self.terminal.step("She signs in there; the cookie is all that comes");
        let (gateway, issuer) = (&self.places.gateway, &self.places.authorization_server);
        let request = GatewaySignIn {
            gateway,
            issuer,
            client_id: SESSION_CLIENT,
            user: "alice",
            an_hour_ago: false,
            max_age: None,
        };
        let visited = through_the_gateway(&browser, &request).await?;
        expect_status(&visited.callback, StatusCode::OK)?;
        let cookie = session_cookie(&visited.callback)?;
        self.terminal.came(format!("Set-Cookie: {}=… (sealed)", cookie.name));
        self.terminal.detail(format!("            {}", cookie.attributes.join("; ")));
        expect_status(&browser.get(&self.url("/portal/"), &navigation).await?, StatusCode::OK)?;
        self.terminal.came("200 for /portal/");

        self.terminal.step("Its script calls the API: GET /api/hello with the cookie and X-CSRF: 1");
        let answer = browser.get(&self.url("/api/hello"), &[SAME_ORIGIN, CSRF]).await?;
        expect_status(&answer, StatusCode::OK)?;
        let saw = answer.json();
        let arrived = saw.get("headers").unwrap_or(&Value::Null);
        for (name, right) in [("x-auth-subject", "alice"), ("x-auth-client", SESSION_CLIENT)] {
            let value = text(arrived, name);
            expect(value == right, format!("the upstream saw {name}: {value:?} instead of {right:?}"))?;
        }
        expect(arrived.get("cookie").is_none(), "the cookie reached the upstream")?;
        self.terminal.came("200; the upstream saw X-Auth-Subject: alice, and no cookie");

        self.terminal.step("A page of another site tries the same in her browser");
        let theirs = [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), CSRF];
        expect_status(&browser.get(&self.url("/api/hello"), &theirs).await?, StatusCode::FORBIDDEN)?;
        self.terminal.came("403");

        self.terminal.step("She signs out there: POST /oauth/logout");
        let own = self.places.gateway.clone();
        let url = self.url(&format!("/oauth/logout?client_id={SESSION_CLIENT}"));
        let answer = browser.post(&url, &[SAME_ORIGIN, ("Origin", &own)], &[]).await?;
        expect_status(&answer, StatusCode::OK)?;
        expect(browser.cookie(&cookie.name).is_none(), "the cookie was not cleared")?;
        let copy = format!("{}={}", cookie.name, cookie.value);
        let answer = browser.get(&self.url("/api/hello"), &[SAME_ORIGIN, CSRF, ("Cookie", &copy)]).await?;
        expect_status(&answer, StatusCode::UNAUTHORIZED)?;
        self.terminal.came("200, the cookie is cleared; and 401 for whoever kept a copy of it");
        Ok(())
    }
}

/// The session cookie of an answer, with the attributes that keep it from scripts and from other sites.
fn session_cookie(answer: &Answer) -> Result<SetCookie, Surprise> {
    let set = answer.headers.get_all(header::SET_COOKIE).iter().filter_map(SetCookie::read);
    let cookie = set.into_iter().find(|cookie| cookie.attribute("SameSite") == Some("Strict"));
    let cookie = cookie.ok_or(Surprise("no session cookie came".into()))?;
    expect(cookie.name.starts_with("__Host-Http-"), format!("its name is {}", cookie.name))?;
    for (name, right) in [("HttpOnly", ""), ("Secure", ""), ("Path", "/")] {
        let value = cookie.attribute(name);
        expect(value == Some(right), format!("the cookie's {name} is {value:?}"))?;
    }
    Ok(cookie)
}
