//! What a flight brought, as the store keeps it and as browsers get it.

use std::time::Duration;

use super::{Flight, UnderWay};
use crate::core::denial::Denial;
use crate::core::secret::SecretString;
use crate::core::session::exchange::answer::ExchangeAnswer;
use crate::core::session::exchange::seal::{Content, Holder};
use crate::core::session::exchange::{Arrival, Successor};
use crate::core::session::grant::Grant;
use crate::core::session::oauth::answer::{PageTokens, TokenAnswer};
use crate::core::time::Timestamp;
use crate::flows::exchange::judge::{JudgedTokens, is_our_outage};
use crate::flows::exchange::windows;
use crate::flows::family::session_cookie;
use crate::flows::ports::random;

/// What a flight brought, judged.
pub(super) struct NewTokens {
    pub(super) answer: TokenAnswer,
    pub(super) judged: JudgedTokens,
    /// The session's newest: an AS need not give another.
    pub(super) refresh_token: SecretString,
    /// The seed of the next grant.
    pub(super) seed: [u8; 32],
}

impl NewTokens {
    pub(super) fn is_usable(&self) -> bool {
        self.judged.unusable.as_ref().is_none_or(is_our_outage)
    }

    /// How long the access token lives, where anybody said it.
    pub(super) fn life(&self, now: Timestamp) -> Option<Duration> {
        self.answer.expires_in.or_else(|| self.judged.expires_at.map(|end| end.since(now)))
    }
}

impl UnderWay {
    /// Makes the record for the store, and the answer that browsers get once it is there. `grant`: what was
    /// exchanged, as late as it was used.
    pub(super) fn make_arrival(
        &self,
        grant: &Grant,
        new: &NewTokens,
        used: bool,
    ) -> Result<(Arrival, ExchangeAnswer), Denial> {
        let Flight { id, presented, shape, recovers, .. } = &self.flight;
        let now = self.gate.clock.now();
        let successor = self.make_successor(grant, new, used, now)?;
        let given = self.make_answer(&successor, new, used, now)?;
        let holder = Holder::of(grant);
        let nonce = || random(&*self.gate.random);
        let sealed =
            |content, plain: &[u8]| holder.seal(content, plain, nonce()).map_err(|_| Denial::Internal);
        let mut links = vec![holder.link_to(&successor, nonce()).map_err(|_| Denial::Internal)?];
        if presented.generation() < grant.generation {
            links.push(presented.link_to(grant, nonce()).map_err(|_| Denial::Internal)?);
        }
        let arrival = Arrival {
            flight: *id,
            from: presented.generation(),
            of: grant.generation,
            shape: shape.clone(),
            recovers: *recovers,
            is_awaited: self.watch.is_awaited(),
            answer: sealed(Content::Answer, given.to_bytes().expose())?,
            successor: Successor {
                generation: successor.generation,
                last_used_at: successor.last_used_at,
                used,
                grant: sealed(Content::Grant, successor.to_bytes().expose())?,
            },
            links,
            worth_for: Some(given.worth_for(now, windows(&self.live, &self.client).grace)),
            issued: new.judged.issued(successor.generation, given.page.as_ref(), now, self.timeouts),
        };
        Ok((arrival, given))
    }

    /// # Errors
    /// [`Denial::SessionEnded`] when its time ran out while the AS was asked.
    fn make_successor(
        &self,
        grant: &Grant,
        new: &NewTokens,
        used: bool,
        now: Timestamp,
    ) -> Result<Grant, Denial> {
        let mut successor = grant.successor(Some(new.refresh_token.clone()), new.seed, now, used);
        if let Some(end) = successor.ended(self.timeouts, now) {
            return Err(Denial::SessionEnded(end));
        }
        if successor.scope.is_none() && self.flight.shape.scope.is_none() {
            successor.scope = new.answer.scope.clone().or_else(|| new.judged.scope.clone());
        }
        Ok(successor)
    }

    fn make_answer(
        &self,
        successor: &Grant,
        new: &NewTokens,
        used: bool,
        now: Timestamp,
    ) -> Result<ExchangeAnswer, Denial> {
        Ok(ExchangeAnswer {
            page: new.is_usable().then(|| PageTokens {
                access_token: new.answer.access_token.clone(),
                token_type: new.answer.token_type.clone(),
                expires_in: new.life(now),
                scope: new.answer.scope.clone(),
                id_token: None,
                dpop_nonce: new.answer.dpop_nonce.clone(),
            }),
            used,
            cookie: session_cookie::seal(&self.gate, &self.live, &self.client, successor)?,
            session_ends_at: successor.ends_at(self.timeouts),
            subject: successor.subject.as_ref().map(|subject| subject.sub.clone()),
        })
    }
}
