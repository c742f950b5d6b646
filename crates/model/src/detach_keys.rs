//! The keys that part a user from a process and leave it running.

/// Docker's own: Ctrl-P, Ctrl-Q.
const DEFAULT: [u8; 2] = [0x10, 0x11];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid detach keys ({0}) provided: unknown character")]
pub struct InvalidDetachKeys(String);

impl Default for DetachKeys {
    fn default() -> Self {
        Self(DEFAULT.to_vec())
    }
}

/// `ctrl-a,b` (moby `term.ToBytes`).
impl std::str::FromStr for DetachKeys {
    type Err = InvalidDetachKeys;

    fn from_str(text: &str) -> Result<Self, InvalidDetachKeys> {
        let key = |key: &str| match key.strip_prefix("ctrl-").map(str::as_bytes) {
            Some([letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]) => Some(letter & 0x1f),
            Some(_) => None,
            None => match key.as_bytes() {
                [byte] => Some(*byte),
                _ => None,
            },
        };
        let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
        keys.map(Self).ok_or_else(|| InvalidDetachKeys(text.to_owned()))
    }
}

impl DetachKeys {
    pub fn matcher(&self) -> DetachKeyMatcher<'_> {
        DetachKeyMatcher { keys: &self.0, held: 0 }
    }
}

/// Finds the keys in what is typed, across reads; keys that could be their
/// beginning are held back until the next is known.
#[derive(Debug)]
pub struct DetachKeyMatcher<'a> {
    keys: &'a [u8],
    held: usize,
}

impl DetachKeyMatcher<'_> {
    /// The bytes to pass on, or `None` when the keys are complete.
    pub fn pass(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::with_capacity(bytes.len() + self.held);
        for byte in bytes {
            if self.keys.get(self.held) == Some(byte) {
                self.held += 1;
                if self.held == self.keys.len() {
                    return None;
                }
                continue;
            }
            passed.extend_from_slice(&self.keys[..self.held]);
            self.held = usize::from(self.keys.first() == Some(byte));
            if self.held == 0 {
                passed.push(*byte);
            }
        }
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn are_found_across_reads_and_other_keys_pass() {
        let keys = DetachKeys::default();
        let mut matcher = keys.matcher();
        assert_eq!(matcher.pass(b"ls\r"), Some(b"ls\r".to_vec()));
        assert_eq!(matcher.pass(b"\x10"), Some(Vec::new()));
        assert_eq!(matcher.pass(b"x"), Some(b"\x10x".to_vec()));
        assert_eq!(matcher.pass(b"\x10\x10"), Some(b"\x10".to_vec()));
        assert_eq!(matcher.pass(b"\x11"), None);
    }

    #[test]
    fn are_spelled_as_in_docker() {
        let keys = |text: &str| text.parse::<DetachKeys>();
        assert_eq!(keys("ctrl-a,b").unwrap().0, [1, b'b']);
        assert_eq!(keys("ctrl-@,ctrl-[,ctrl-_").unwrap().0, [0, 27, 31]);
        assert_eq!(keys("ctrl-1").unwrap_err().to_string(), "invalid detach keys (ctrl-1) provided: unknown character");
        assert!(keys("ab").is_err());
    }
}
