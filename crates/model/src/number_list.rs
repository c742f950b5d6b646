//! Numbers of processors and memory nodes, in the kernel's list format.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A set of numbers, as `0-2,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumberList {
    /// In order, neither overlapping nor touching.
    ranges: Vec<RangeInclusive<u32>>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid format: {0}")]
pub struct InvalidNumberList(pub String);

/// No kernel has as many processors (moby `parseUintList`).
const LARGEST: u32 = 8191;

impl NumberList {
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// How many numbers there are.
    pub fn count(&self) -> u32 {
        self.ranges.iter().map(|range| range.end() - range.start() + 1).sum()
    }

    pub fn is_subset_of(&self, other: &Self) -> bool {
        let within = |range: &RangeInclusive<u32>, wide: &RangeInclusive<u32>| {
            wide.contains(range.start()) && wide.contains(range.end())
        };
        self.ranges.iter().all(|range| other.ranges.iter().any(|wide| within(range, wide)))
    }
}

impl FromStr for NumberList {
    type Err = InvalidNumberList;

    /// Numbers and ranges in any order; an empty text is an empty set.
    fn from_str(text: &str) -> Result<Self, InvalidNumberList> {
        let bad = || InvalidNumberList(text.to_owned());
        let number = |digits: &str| match digits.parse::<u32>() {
            Ok(number) if number <= LARGEST && digits.bytes().all(|b| b.is_ascii_digit()) => Ok(number),
            _ => Err(bad()),
        };
        if text.is_empty() {
            return Ok(Self::default());
        }
        let mut given = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(bad());
            }
            given.push(first..=last);
        }
        given.sort_by_key(|range| *range.start());
        let mut ranges: Vec<RangeInclusive<u32>> = Vec::new();
        for range in given {
            match ranges.last_mut() {
                Some(last) if *range.start() <= last.end() + 1 => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => ranges.push(range),
            }
        }
        Ok(Self { ranges })
    }
}

impl fmt::Display for NumberList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            match (range.start(), range.end()) {
                (first, last) if first == last => write!(f, "{comma}{first}")?,
                (first, last) => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lists_as_the_kernel_writes_them() {
        let list = |text: &str| text.parse::<NumberList>();
        for (text, normal, count) in
            [("", "", 0), ("0", "0", 1), ("0-3", "0-3", 4), ("7,0-2,3", "0-3,7", 5), ("1,1,0-1", "0-1", 2)]
        {
            let parsed = list(text).unwrap();
            assert_eq!((parsed.to_string().as_str(), parsed.count()), (normal, count), "{text}");
        }
        for bad in [",", "1,", "-", "1-", "2-1", "a", "+1", " 1", "8192", "1-2-3", "99999999999"] {
            assert_eq!(list(bad), Err(InvalidNumberList(bad.to_owned())), "{bad}");
        }
        assert!(list("1,3").unwrap().is_subset_of(&list("0-3").unwrap()));
        assert!(!list("1-4").unwrap().is_subset_of(&list("0-3,5").unwrap()));
        assert!(list("").unwrap().is_subset_of(&list("").unwrap()));
    }

    proptest! {
        #[test]
        fn a_list_is_the_set_of_its_numbers(numbers in proptest::collection::vec(0u32..40, 0..20)) {
            let text = numbers.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let list: NumberList = text.parse().unwrap();
            let set: std::collections::BTreeSet<u32> = numbers.into_iter().collect();
            prop_assert_eq!(list.count() as usize, set.len());
            for number in 0..41 {
                let one: NumberList = number.to_string().parse().unwrap();
                prop_assert_eq!(one.is_subset_of(&list), set.contains(&number));
            }
            prop_assert_eq!(list.to_string().parse(), Ok(list));
        }
    }
}
