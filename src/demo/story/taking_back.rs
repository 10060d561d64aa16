//! How access is taken back: an account is suspended, a device is lost, a signing key is compromised.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use super::steps::PATIENCE;
use super::{Story, Surprise, Told, claims, expect, expect_status, text};
use crate::core::time::Timestamp;
use crate::demo::browser::{Answer, Browser};
use crate::demo::operator::{Done, Person, Taken};

/// One browser of Alice's, with the access token of its page.
struct Device {
    browser: Browser,
    access_token: String,
}

impl Story<'_> {
    pub(super) async fn suspend_the_account(&mut self) -> Told {
        self.terminal.step("Alice is suspended: POST /revocations on the admin listener, with `block`");
        let revoked = self.counted("revocations").await?;
        self.take_back(Taken::Account(Person::Alice)).await?;
        self.terminal.came("201: it is on the disk, and holds from now on");
        let device = self.current_device();
        self.expect_out(&device).await?;
        self.terminal.came("401 for her access token; 400 for her cookie, which is cleared");
        let elsewhere = Browser::new();
        let visited = self.sign_in_as(&elsewhere, "alice", false, None).await?;
        let status = visited.callback.status;
        expect(status.is_client_error(), format!("a new sign-in was answered {status}"))?;
        expect(elsewhere.cookie(&self.cookie_name).is_none(), "a new sign-in set a cookie")?;
        self.terminal.came(format!("{} for a new sign-in", status.as_u16()));
        // What both would have got is taken back at the authorization server, too.
        self.wait_for_revocations(revoked + 2).await?;

        self.terminal.step("The suspension is lifted: DELETE /revocations/{id}");
        self.lift(Taken::Account(Person::Alice)).await?;
        let device = self.new_device().await?;
        self.expect_in(&device).await?;
        self.terminal.came("200: she signs in again");
        self.now_on(device);
        Ok(())
    }

    pub(super) async fn lose_a_device(&mut self) -> Told {
        self.terminal.step("Her phone is lost: what she has had until now is taken back, on every device");
        let phone = self.new_device().await?;
        self.expect_in(&phone).await?;
        let revoked = self.counted("revocations").await?;
        let done = self.take_back(Taken::UntilNow(Person::Alice)).await?;
        self.expect_out(&phone).await?;
        let laptop = self.current_device();
        self.expect_out(&laptop).await?;
        self.wait_for_revocations(revoked + 2).await?;
        self.terminal.came("401 and 400 on the phone, and on the laptop too");
        let before = Timestamp::from_rfc3339(text(&done.answer, "before"));
        let before = before.ok_or_else(|| Surprise(format!("no moment in {}", done.answer)))?;
        after_the_second_of(before).await?;
        let device = self.new_device().await?;
        self.expect_in(&device).await?;
        self.terminal.came("200 for whoever signs in afterwards");
        self.now_on(device);
        Ok(())
    }

    pub(super) async fn distrust_a_key(&mut self) -> Told {
        self.terminal.step("The key that signs the tokens is compromised: its `kid` is revoked");
        self.take_back(Taken::Key).await?;
        let answer = self.call("/api/hello").await?;
        expect_status(&answer, StatusCode::UNAUTHORIZED)?;
        self.terminal.came("401 for what it signed, whatever it says");
        self.lift(Taken::Key).await?;
        expect_status(&self.call("/api/hello").await?, StatusCode::OK)?;
        self.terminal.came("200 for the same token when that is lifted");
        Ok(())
    }

    async fn take_back(&self, what: Taken) -> Result<Done, Surprise> {
        let done = self.operator.take_back(what).await.map_err(Surprise)?;
        let right = done.status == StatusCode::CREATED;
        expect(right, format!("{} instead of 201: {}", done.status, done.answer))?;
        Ok(done)
    }

    async fn lift(&self, what: Taken) -> Told {
        let done = self.operator.lift(what).await.map_err(Surprise)?;
        let done = done.ok_or_else(|| Surprise("it is not in the list of revocations".into()))?;
        expect(done.status == StatusCode::OK, format!("{} instead of 200: {}", done.status, done.answer))
    }

    /// Neither the access token nor the cookie is good for anything, and the cookie goes.
    async fn expect_out(&self, device: &Device) -> Told {
        expect_status(&self.hello(device).await?, StatusCode::UNAUTHORIZED)?;
        let answer = self.refresh_in(&device.browser, &[]).await?;
        expect_status(&answer, StatusCode::BAD_REQUEST)?;
        let error = answer.json();
        expect(text(&error, "error") == "invalid_grant", format!("the error is {error}"))?;
        expect(device.browser.cookie(&self.cookie_name).is_none(), "the cookie was not cleared")
    }

    async fn expect_in(&self, device: &Device) -> Told {
        let subject = claims(&device.access_token);
        expect(text(&subject, "sub") == "alice", format!("the token is of {subject}"))?;
        expect_status(&self.hello(device).await?, StatusCode::OK)
    }

    async fn hello(&self, device: &Device) -> Result<Answer, Surprise> {
        let bearer = format!("Bearer {}", device.access_token);
        Ok(device.browser.get(&self.url("/api/hello"), &[("Authorization", &bearer)]).await?)
    }

    /// Alice signs in there.
    async fn new_device(&self) -> Result<Device, Surprise> {
        let browser = Browser::new();
        let access_token = self.token_in(&browser, "alice", false, None).await?;
        Ok(Device { browser, access_token })
    }

    /// The one that the story goes on with; another is put in its place.
    fn current_device(&mut self) -> Device {
        let browser = std::mem::replace(&mut self.browser, Browser::new());
        Device { browser, access_token: std::mem::take(&mut self.access_token) }
    }

    fn now_on(&mut self, device: Device) {
        self.browser = device.browser;
        self.access_token = device.access_token;
    }
}

/// A moment of a revocation is compared in whole seconds.
async fn after_the_second_of(moment: Timestamp) -> Told {
    let begun = Instant::now();
    let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    while i64::try_from(second()).is_ok_and(|now| now <= moment.as_secs()) {
        expect(begun.elapsed() < PATIENCE, "the moment of the revocation lies ahead")?;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
