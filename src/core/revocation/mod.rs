//! What was taken back: which access tokens and which sessions are refused although everything else about
//! them is right. A list of [`Revocation`]s is the truth; [`Revocation::refuses_token`] and
//! [`Revocation::refuses_grant`] say what each means. Requests do not call these two: they look into tables
//! that are made of the list ([`marks`], [`standing`]), and tests compare both.
//!
//! Whoever holds a stolen key writes any `iat`, so `jti`, `sid`, `family`, `kid` and `issuer` refuse
//! outright. `sub`, `client`, `issuer` where asked, and a `sid` of which its issuer says that somebody signed
//! out, refuse what is not younger than a moment: whole seconds, so that nothing issued in the same second
//! escapes (RFC 7519 section 2, `NumericDate`). A block refuses whatever the `iat`.
//!
//! A token is known by `iss` and `jti`, never by its text (see [`TokenId`]).
//!
//! - `holders`: who holds a block
//! - `marks`: what a token or a grant is looked up by; `standing`: what the list says of one mark
//! - `wanted`: what somebody asks to take back; `record`: the form in which a revocation is kept and sent

pub mod holders;
pub mod marks;
mod record;
pub mod standing;
#[cfg(test)]
pub(crate) mod testing;
pub mod wanted;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::digest::of_parts;
use crate::core::hex;
use crate::core::ids::FamilyId;
use crate::core::time::Timestamp;
use crate::core::token::id::TokenId;
use crate::core::token::verified::VerifiedToken;
use holders::Holder;

/// What a revocation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One access token, by its own id.
    Jti,
    /// One access token that this gateway handed out, by its [`TokenId`]; made for a family, never asked for.
    Token,
    /// A session at the issuer.
    Sid,
    Sub,
    Client,
    /// A key that signs tokens.
    Kid,
    /// A session here: all generations of one sign-in.
    Family,
    Issuer,
}

impl Kind {
    pub const ALL: [Self; 8] =
        [Self::Jti, Self::Token, Self::Sid, Self::Sub, Self::Client, Self::Kid, Self::Family, Self::Issuer];

    /// Its name in the admin API and in metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Jti => "jti",
            Self::Token => "token",
            Self::Sid => "sid",
            Self::Sub => "sub",
            Self::Client => "client",
            Self::Kid => "kid",
            Self::Family => "family",
            Self::Issuer => "issuer",
        }
    }

    pub fn parse(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.label() == label)
    }

    /// Whether a value of it means something only together with an issuer.
    pub const fn is_of_an_issuer(self) -> bool {
        !matches!(self, Self::Token | Self::Family | Self::Issuer)
    }

    pub const fn takes_before(self) -> bool {
        matches!(self, Self::Sub | Self::Client | Self::Issuer)
    }

    pub const fn takes_block(self) -> bool {
        matches!(self, Self::Sub | Self::Client | Self::Sid)
    }
}

/// The issuers whose values are meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Whose {
    /// Those of the issuer with this `iss`.
    Of(String),
    /// Those of every issuer; also of what belongs to none.
    All,
}

/// What exactly is named.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    pub kind: Kind,
    pub whose: Whose,
    /// The `iss` of an issuer; the id of a token or family, in hexadecimal digits; else the name itself.
    pub value: String,
}

/// What is refused of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rule {
    Outright,
    /// What was issued, or signed in, in this second or earlier.
    Before(Timestamp),
    /// Everything, until it is lifted: a suspended account.
    Block,
}

/// One entry of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    pub target: Target,
    pub rule: Rule,
    /// When it ends by itself; `None`: it stays until it is lifted.
    pub until: Option<Timestamp>,
    pub made_at: Timestamp,
    /// Who asked for it, as far as that is known.
    pub made_by: Option<String>,
    pub reason: Option<String>,
    /// Who holds a block, where that is not an operator alone; see [`Revocation::holders`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<Holder>,
}

/// Names a revocation by what it says: one target has at most one of each rule, so that saying it twice
/// changes nothing, on any replica.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RevocationId([u8; 16]);

impl RevocationId {
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// 32 hexadecimal digits, as [`fmt::Display`] writes them.
    pub fn parse(text: &str) -> Option<Self> {
        hex::read(text).map(Self)
    }
}

impl fmt::Display for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex::write(f, &self.0)
    }
}

impl fmt::Debug for RevocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A change of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Adds it, or puts it in place of the one with its id. Of two moments the later counts.
    Add(Revocation),
    /// Takes it out.
    Lift(Revocation),
}

impl Change {
    pub const fn revocation(&self) -> &Revocation {
        match self {
            Self::Add(revocation) | Self::Lift(revocation) => revocation,
        }
    }

    pub fn id(&self) -> RevocationId {
        self.revocation().id()
    }
}

/// What a revocation is compared with, of a token.
#[derive(Clone, Debug)]
pub struct TokenIdentity<'t> {
    pub id: TokenId,
    pub iss: &'t str,
    pub jti: Option<&'t str>,
    pub sid: Option<&'t str>,
    pub sub: Option<&'t str>,
    pub client: Option<&'t str>,
    pub kid: Option<&'t str>,
    pub issued_at: Timestamp,
}

impl<'t> TokenIdentity<'t> {
    /// `text`: the token as it came.
    pub fn of(token: &'t VerifiedToken, iss: &'t str, text: &str) -> Self {
        Self {
            id: TokenId::of(iss, token.id(), text),
            iss,
            jti: token.id(),
            sid: token.session(),
            sub: token.subject(),
            client: token.client(),
            kid: token.kid(),
            issued_at: token.issued_at(),
        }
    }
}

/// What a revocation is compared with, of the grant behind a session.
#[derive(Clone, Debug)]
pub struct GrantIdentity<'g> {
    pub family: FamilyId,
    pub iss: &'g str,
    pub sid: Option<&'g str>,
    pub sub: Option<&'g str>,
    pub client: &'g str,
    pub signed_in_at: Timestamp,
}

impl Target {
    pub fn token(id: TokenId) -> Self {
        Self { kind: Kind::Token, whose: Whose::All, value: id.to_string() }
    }

    pub fn family(id: FamilyId) -> Self {
        Self { kind: Kind::Family, whose: Whose::All, value: id.to_string() }
    }

    fn is_of(&self, iss: &str) -> bool {
        match &self.whose {
            Whose::Of(whose) => whose == iss,
            Whose::All => true,
        }
    }
}

impl Revocation {
    /// One that nobody in particular made, for no reason, and that stays until it is lifted.
    pub const fn new(target: Target, rule: Rule, made_at: Timestamp) -> Self {
        Self { target, rule, until: None, made_at, made_by: None, reason: None, held_by: Vec::new() }
    }

    pub fn id(&self) -> RevocationId {
        let Target { kind, whose, value } = &self.target;
        let whose = match whose {
            Whose::Of(iss) => iss.as_bytes(),
            Whose::All => b"*",
        };
        let rule: &[u8] = match self.rule {
            Rule::Outright => b"outright",
            Rule::Before(_) => b"before",
            Rule::Block => b"block",
        };
        let digest = of_parts(&[b"revocation", kind.label().as_bytes(), whose, value.as_bytes(), rule]);
        let [first @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = digest;
        RevocationId(first)
    }

    /// What counts when this is added while `old` has the same id: of two moments the later, else this.
    pub fn in_place_of(mut self, old: &Self) -> Self {
        if let (Rule::Before(new), Rule::Before(before)) = (self.rule, old.rule) {
            self.rule = Rule::Before(new.max(before));
            // `None` is the latest.
            self.until = self.until.zip(old.until).map(|(new, old)| new.max(old));
        }
        self
    }

    /// Whether it is a watermark that reaches to the moment in which it was made: nothing that there was then
    /// is left out.
    pub fn is_up_to_when_it_was_made(&self) -> bool {
        matches!(self.rule, Rule::Before(before) if before.as_secs() >= self.made_at.as_secs())
    }

    /// Whether this token is refused because of it.
    pub fn refuses_token(&self, token: &TokenIdentity<'_>, now: Timestamp) -> bool {
        let Target { kind, value, .. } = &self.target;
        let named = match kind {
            Kind::Jti => token.jti,
            Kind::Token => return self.is_in_force(now) && *value == token.id.to_string(),
            Kind::Sid => token.sid,
            Kind::Sub => token.sub,
            Kind::Client => token.client,
            Kind::Kid => token.kid,
            Kind::Family => None,
            Kind::Issuer => Some(token.iss),
        };
        named == Some(value) && self.target.is_of(token.iss) && self.reaches(token.issued_at, now)
    }

    /// Whether this grant is refused because of it.
    pub fn refuses_grant(&self, grant: &GrantIdentity<'_>, now: Timestamp) -> bool {
        let Target { kind, value, .. } = &self.target;
        let named = match kind {
            Kind::Family => return self.is_in_force(now) && *value == grant.family.to_string(),
            Kind::Sid => grant.sid,
            Kind::Sub => grant.sub,
            Kind::Client => Some(grant.client),
            Kind::Issuer => Some(grant.iss),
            Kind::Jti | Kind::Token | Kind::Kid => None,
        };
        named == Some(value) && self.target.is_of(grant.iss) && self.reaches(grant.signed_in_at, now)
    }

    /// Whether nothing that this key of this issuer signs is to be believed, whenever it did. A watermark
    /// dates what was issued, and says nothing of who signs.
    pub fn refuses_signer(&self, iss: &str, kid: Option<&str>, now: Timestamp) -> bool {
        let Target { kind, value, .. } = &self.target;
        let named = match kind {
            Kind::Kid => kid,
            Kind::Issuer => Some(iss),
            _ => None,
        };
        named == Some(value)
            && self.target.is_of(iss)
            && !matches!(self.rule, Rule::Before(_))
            && self.is_in_force(now)
    }

    /// Whether something of what it names, of `since`, is refused because of it.
    pub fn reaches(&self, since: Timestamp, now: Timestamp) -> bool {
        let reaches = match self.rule {
            Rule::Outright | Rule::Block => true,
            Rule::Before(before) => since.as_secs() <= before.as_secs(),
        };
        reaches && self.is_in_force(now)
    }

    fn is_in_force(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// How long what a revocation refuses could live without it: then it need not be known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold(Duration);

impl Hold {
    /// Makes the hold for the issuers that it concerns and their clients: the longest token, the longest
    /// session, and how far clocks may differ: twice, because a token may be dated so far ahead, and pass for
    /// so long after its end.
    pub fn new(max_token_lifetime: Duration, absolute_timeout: Duration, clock_skew: Duration) -> Self {
        Self(max_token_lifetime.max(absolute_timeout).saturating_add(clock_skew.saturating_mul(2)))
    }

    pub fn ends(self, made_at: Timestamp) -> Timestamp {
        made_at.plus(self.0)
    }
}
