//! Names in the order that people expect: `web9` before `web10`.

use std::cmp::Ordering;

/// A number, or one character of what stands between numbers.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    /// Without the zeros before it, which decide between equal ones.
    Number {
        length: usize,
        digits: &'a str,
        zeros: usize,
    },
    Other(char),
}

/// As Docker's CLI sorts (fvbommel/sortorder `NaturalLess`).
pub(crate) fn compare(one: &str, other: &str) -> Ordering {
    parts(one).cmp(parts(other))
}

fn parts(mut rest: &str) -> impl Iterator<Item = Part<'_>> {
    std::iter::from_fn(move || {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if end > 0 {
            let (number, after) = rest.split_at(end);
            rest = after;
            let digits = number.trim_start_matches('0');
            return Some(Part::Number { length: digits.len(), digits, zeros: number.len() - digits.len() });
        }
        let mut characters = rest.chars();
        let other = characters.next()?;
        rest = characters.as_str();
        Some(Part::Other(other))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_their_size() {
        let sorted = ["", "7/tcp", "007/tcp", "53/udp", "80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080", "a", "a2"]
            .into_iter()
            .chain(["a2b", "a02", "a10", "ab", "web9", "web10", "web10a", "ä1"])
            .collect::<Vec<_>>();
        let mut shuffled: Vec<_> = sorted.iter().rev().copied().collect();
        shuffled.sort_by(|one, other| compare(one, other));
        assert_eq!(shuffled, sorted);
    }
}
