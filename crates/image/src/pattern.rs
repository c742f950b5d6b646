//! Patterns for names, as Go's `path.Match` has them: `*` and `?` stand for
//! anything but a slash.

/// None if the pattern is malformed.
pub(crate) fn matches(pattern: &str, text: &str) -> Option<bool> {
    let pattern = parse(pattern)?;
    Some(is_match(&pattern, &text.chars().collect::<Vec<_>>()))
}

enum Part {
    One(char),
    Any,
    Many,
    Class { negated: bool, ranges: Vec<(char, char)> },
}

fn parse(pattern: &str) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut characters = pattern.chars().peekable();
    while let Some(character) = characters.next() {
        parts.push(match character {
            '*' => Part::Many,
            '?' => Part::Any,
            '\\' => Part::One(characters.next()?),
            '[' => {
                let negated = characters.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let first = match characters.next()? {
                        ']' if !ranges.is_empty() => break,
                        ']' | '-' => return None,
                        '\\' => characters.next()?,
                        other => other,
                    };
                    let last = match characters.next_if_eq(&'-') {
                        None => first,
                        Some(_) => match characters.next()? {
                            ']' | '-' => return None,
                            '\\' => characters.next()?,
                            other => other,
                        },
                    };
                    ranges.push((first, last));
                }
                Part::Class { negated, ranges }
            }
            other => Part::One(other),
        });
    }
    Some(parts)
}

/// Goes back to the last star only, so the time is the product of the lengths.
fn is_match(pattern: &[Part], text: &[char]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while from < text.len() {
        let character = text[from];
        let fits = match pattern.get(at) {
            Some(Part::Many) => {
                star = Some((at, from));
                at += 1;
                continue;
            }
            Some(Part::One(wanted)) => *wanted == character,
            Some(Part::Any) => character != '/',
            Some(Part::Class { negated, ranges }) => {
                character != '/' && ranges.iter().any(|(a, b)| (*a..=*b).contains(&character)) != *negated
            }
            None => false,
        };
        if fits {
            at += 1;
            from += 1;
            continue;
        }
        match star {
            Some((star_at, star_from)) if text[star_from] != '/' => {
                star = Some((star_at, star_from + 1));
                at = star_at + 1;
                from = star_from + 1;
            }
            _ => return false,
        }
    }
    pattern[at..].iter().all(|part| matches!(part, Part::Many))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn patterns_are_gos() {
        for (pattern, text, expected) in [
            ("busybox*", "busybox:latest", true),
            ("*box:*", "busybox:latest", true),
            ("busybox*", "a/busybox", false),
            ("*/busybox", "a/busybox", true),
            ("*", "a/b", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("a/*/c", "a/b/c", true),
            ("a/*c", "a/b/c", false),
            ("?usy[a-c]ox", "busybox", true),
            ("?", "/", false),
            ("[^a]", "b", true),
            ("[^a]", "a", false),
            ("\\*", "*", true),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, text), Some(expected), "{pattern} {text}");
        }
        for malformed in ["[", "[]", "[a-]", "[a", "\\", "[-a]"] {
            assert_eq!(matches(malformed, "a"), None, "{malformed}");
        }
    }

    proptest! {
        #[test]
        fn a_text_matches_itself_and_what_it_begins_with(text in "[a-z:/.]{0,20}", cut in 0..20_usize) {
            prop_assert_eq!(matches(&text, &text), Some(true));
            let cut = cut.min(text.len());
            prop_assert_eq!(matches(&format!("{}*", &text[..cut]), &text), Some(!text[cut..].contains('/')));
        }

        #[test]
        fn any_pattern_does_no_harm(pattern in "[*?\\[\\]^a\\\\-]{0,20}", text in "[a/]{0,20}") {
            let _ = matches(&pattern, &text);
        }
    }
}
