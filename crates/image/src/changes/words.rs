//! Words and variables, as instructions have them: a shell's, without most of
//! a shell.

use super::error::ChangeError;

/// The words of a line, with their quotes and backslashes still in them.
pub(super) fn split(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut begin = None;
    let mut quote = None;
    let mut escaped = false;
    for (at, character) in text.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        match (character, quote) {
            ('\\', None | Some('"')) => escaped = true,
            ('"' | '\'', None) => quote = Some(character),
            (_, Some(open)) if character == open => quote = None,
            (_, None) if character.is_whitespace() => {
                words.extend(begin.take().map(|begin| &text[begin..at]));
                continue;
            }
            _ => {}
        }
        begin = begin.or(Some(at));
    }
    words.extend(begin.map(|begin| &text[begin..]));
    words
}

/// The text without its quotes and backslashes, and with the values of its
/// variables.
pub(super) fn expand(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, ChangeError> {
    let mut out = String::new();
    let mut rest = text;
    let mut quoted = false;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        match character {
            '\'' if !quoted => {
                let (literal, after) = rest.split_once('\'').ok_or(ChangeError::OpenQuote { quote: "single" })?;
                out.push_str(literal);
                rest = after;
            }
            '"' => quoted = !quoted,
            '\\' => {
                if let Some(next) = rest.chars().next() {
                    if quoted && !matches!(next, '"' | '$' | '\\') {
                        out.push('\\');
                    }
                    out.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
            '$' => {
                let (value, after) = substitute(rest, variable)?;
                out.push_str(&value);
                rest = after;
            }
            other => out.push(other),
        }
    }
    if quoted { Err(ChangeError::OpenQuote { quote: "double" }) } else { Ok(out) }
}

/// What follows a dollar: its value, and what comes after it.
fn substitute<'a>(text: &'a str, variable: &dyn Fn(&str) -> Option<String>) -> Result<(String, &'a str), ChangeError> {
    let Some(braced) = text.strip_prefix('{') else {
        let end = name_end(text);
        let (name, after) = text.split_at(end);
        return Ok(match name {
            "" => ("$".to_owned(), after),
            name => (variable(name).unwrap_or_default(), after),
        });
    };
    let close = closing_brace(braced).ok_or(ChangeError::OpenBrace)?;
    let (inside, after) = (&braced[..close], &braced[close + 1..]);
    let (name, modifier) = inside.split_at(name_end(inside));
    let value = variable(name);
    let set = value.as_deref().is_some_and(|value| !value.is_empty());
    let value = match modifier.char_indices().nth(2).map_or((modifier, ""), |(at, _)| modifier.split_at(at)) {
        ("", _) => value.unwrap_or_default(),
        (":-", word) if !set => expand(word, variable)?,
        (":+", word) if set => expand(word, variable)?,
        (":-", _) => value.unwrap_or_default(),
        (":+", _) => String::new(),
        (other, _) => return Err(ChangeError::Modifier { modifier: other.to_owned() }),
    };
    Ok((value, after))
}

fn name_end(text: &str) -> usize {
    let is_name = |(at, c): (usize, char)| c.is_ascii_alphabetic() || c == '_' || (at > 0 && c.is_ascii_digit());
    text.char_indices().find(|found| !is_name(*found)).map_or(text.len(), |(at, _)| at)
}

/// Braces may be nested: `${A:-${B}}`.
fn closing_brace(text: &str) -> Option<usize> {
    let mut depth = 0;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_keep_their_quotes() {
        assert_eq!(split("a  b\tc"), ["a", "b", "c"]);
        assert_eq!(split(r#"k="a b" j='c "d' e\ f"#), [r#"k="a b""#, r#"j='c "d'"#, r"e\ f"]);
        assert_eq!(split(r#""a\" b" c"#), [r#""a\" b""#, "c"]);
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn variables_have_values_and_quotes_go() {
        let variable = |name: &str| match name {
            "A" => Some("one".to_owned()),
            "E" => Some(String::new()),
            _ => None,
        };
        for (text, expected) in [
            ("$A/${A}x$Ax", "one/onex"),
            (r#""a $A" '$A' \$A"#, "a one $A $A"),
            (r#""\n \" \$""#, r#"\n " $"#),
            ("${E:-d}${N:-${A}}${A:+s}${N:+s}", "dones"),
            ("a$", "a$"),
            ("$1", "$1"),
            ("é$A", "éone"),
        ] {
            assert_eq!(expand(text, &variable).as_deref(), Ok(expected), "{text}");
        }
        assert_eq!(expand("${A:?x}", &variable), Err(ChangeError::Modifier { modifier: ":?".into() }));
    }
}
