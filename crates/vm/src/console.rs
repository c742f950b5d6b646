//! The last of what a guest wrote to its console, to quote when it fails.
//!
//! The bytes are the guest's, which may be hostile: the buffer has a fixed
//! size, and what comes out of it cannot move a terminal's cursor, change its
//! colours or its title.

use std::collections::VecDeque;

/// A ring of the last bytes.
#[derive(Debug)]
pub struct ConsoleTail {
    bytes: VecDeque<u8>,
    capacity: usize,
}

impl ConsoleTail {
    /// Keeps the last `capacity` bytes.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: VecDeque::with_capacity(capacity), capacity }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(self.capacity)..];
        let excess = (self.bytes.len() + bytes.len()).saturating_sub(self.capacity);
        self.bytes.drain(..excess);
        self.bytes.extend(bytes);
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The last `count` lines that are not empty, fit to print. The first may
    /// have lost its beginning.
    pub fn last_lines(&self, count: usize) -> String {
        let (front, back) = self.bytes.as_slices();
        last_lines(&[front, back].concat(), count)
    }
}

/// The last lines of foreign bytes, with everything but printable characters
/// and tabs replaced.
pub(crate) fn last_lines(bytes: &[u8], count: usize) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty());
    let mut last: Vec<&str> = lines.rev().take(count).collect();
    last.reverse();
    last.join("\n").chars().map(|c| if is_harmless(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

fn is_harmless(c: char) -> bool {
    // The directional marks can show a line in another order than it has.
    let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    matches!(c, '\n' | '\t') || !(c.is_control() || reorders)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_lines_in_order() {
        let mut tail = ConsoleTail::new(64);
        tail.push(b"one\r\ntwo\r\n\r\nthree\r\n");
        assert_eq!(tail.last_lines(2), "two\nthree");
        assert_eq!(tail.last_lines(9), "one\ntwo\nthree");
        assert_eq!(tail.last_lines(0), "");
    }

    #[test]
    fn escapes_do_not_come_through() {
        let mut tail = ConsoleTail::new(64);
        tail.push(b"\x1b[31mred\x1b]0;title\x07\x9b\xff\n");
        let text = tail.last_lines(5);
        assert!(text.contains("[31mred"), "{text:?}");
        assert!(!text.contains('\x1b') && !text.contains('\x07') && !text.contains('\u{9b}'), "{text:?}");
    }

    proptest! {
        #[test]
        fn it_is_the_end_of_all_that_came(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20), capacity in 0usize..80,
        ) {
            let mut tail = ConsoleTail::new(capacity);
            for piece in &pieces {
                tail.push(piece);
            }
            let all = pieces.concat();
            let expected = &all[all.len().saturating_sub(capacity)..];
            prop_assert!(tail.bytes.iter().eq(expected));
            prop_assert!(tail.last_lines(100).chars().all(is_harmless));
        }
    }
}
