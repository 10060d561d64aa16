//! The grants that `/oauth/token` knows (RFC 6749 sections 4 and 6, RFC 7523, RFC 8628, RFC 8693). Never
//! `password`: RFC 9700 section 2.4 forbids it.

/// What is exchanged for tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantType {
    AuthorizationCode,
    RefreshToken,
    ClientCredentials,
    /// RFC 8628.
    DeviceCode,
    /// RFC 8693.
    TokenExchange,
    /// RFC 7523 section 2.1.
    JwtBearer,
}

impl GrantType {
    /// Each with its name on the wire.
    pub const NAMES: [(&str, Self); 6] = [
        ("authorization_code", Self::AuthorizationCode),
        ("refresh_token", Self::RefreshToken),
        ("client_credentials", Self::ClientCredentials),
        ("urn:ietf:params:oauth:grant-type:device_code", Self::DeviceCode),
        ("urn:ietf:params:oauth:grant-type:token-exchange", Self::TokenExchange),
        ("urn:ietf:params:oauth:grant-type:jwt-bearer", Self::JwtBearer),
    ];

    /// The grant of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(known, _)| *known == name).map(|(_, grant)| *grant)
    }

    /// Its name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AuthorizationCode => "authorization_code",
            Self::RefreshToken => "refresh_token",
            Self::ClientCredentials => "client_credentials",
            Self::DeviceCode => "urn:ietf:params:oauth:grant-type:device_code",
            Self::TokenExchange => "urn:ietf:params:oauth:grant-type:token-exchange",
            Self::JwtBearer => "urn:ietf:params:oauth:grant-type:jwt-bearer",
        }
    }

    /// Whether a gateway may prove for somebody else that it is the client: only where a code that is bound
    /// to its verifier, or a refresh token, says who the somebody is.
    pub const fn may_borrow_the_secret(self) -> bool {
        matches!(self, Self::AuthorizationCode | Self::RefreshToken)
    }

    /// Whether one asks for a scope with it at the token endpoint. A code, a refresh token and a device code
    /// have theirs: a refresh that names none asks for just what was granted, and must not ask for more (RFC
    /// 6749 section 6).
    pub const fn asks_for_scope(self) -> bool {
        matches!(self, Self::ClientCredentials | Self::TokenExchange | Self::JwtBearer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_grant_is_found_by_its_name() {
        for (name, grant) in GrantType::NAMES {
            assert_eq!((GrantType::named(name), grant.name()), (Some(grant), name));
        }
        assert_eq!(GrantType::named("password"), None);
    }
}
