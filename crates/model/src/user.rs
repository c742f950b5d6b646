//! `-u`: who a process runs as. Names are looked up in the image's own
//! `/etc/passwd` and `/etc/group` when the process starts.

use std::fmt;
use std::str::FromStr;

/// `user[:group]`, each a name or a number; empty means root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserSpec {
    pub user: Option<String>,
    pub group: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid user {0:?}: expected user[:group]")]
pub struct InvalidUser(pub String);

impl FromStr for UserSpec {
    type Err = InvalidUser;

    fn from_str(text: &str) -> Result<Self, InvalidUser> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let malformed = |part: &str| part.contains([':', '\n', '\0']);
        if malformed(user) || group.is_some_and(malformed) {
            return Err(InvalidUser(text.to_owned()));
        }
        let non_empty = |part: &str| (!part.is_empty()).then(|| part.to_owned());
        Ok(Self { user: non_empty(user), group: group.and_then(non_empty) })
    }
}

impl fmt::Display for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.user.as_deref().unwrap_or_default())?;
        match &self.group {
            Some(group) => write!(f, ":{group}"),
            None => Ok(()),
        }
    }
}
