//! Who asks, as the `docker` CLI says it in `X-Registry-Auth`.

use std::fmt;

/// Text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// For the one to whom it belongs.
    pub fn into_text(self) -> String {
        self.0
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Credentials {
    #[default]
    Anonymous,
    /// For the registry itself, or for its token server.
    Password { username: String, password: Secret },
    /// What a token server gave for a password earlier; good for tokens only.
    IdentityToken(Secret),
    /// Sent as it is.
    RegistryToken(Secret),
}
