//! `WWW-Authenticate`: what a registry wants to see before it answers.

use hyper::HeaderMap;
use hyper::header::WWW_AUTHENTICATE;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// In lower case.
    pub(crate) scheme: String,
    /// Names in lower case.
    parameters: Vec<(String, String)>,
}

impl Challenge {
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// All that are well-formed; one header line may hold several.
pub(crate) fn challenges(headers: &HeaderMap) -> Vec<Challenge> {
    let lines = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(parse).collect()
}

fn parse(line: &str) -> Vec<Challenge> {
    let mut found: Vec<Challenge> = Vec::new();
    let mut rest = line;
    while !skip_separators(&mut rest).is_empty() {
        let word = take_token(&mut rest);
        if word.is_empty() {
            break;
        }
        let name = word.to_ascii_lowercase();
        let after = rest.trim_start();
        match (after.strip_prefix('='), found.last_mut()) {
            (Some(value), Some(challenge)) => {
                rest = value.trim_start();
                match take_value(&mut rest) {
                    Some(value) => challenge.parameters.push((name, value)),
                    None => break,
                }
            }
            (Some(_), None) => break,
            (None, _) => found.push(Challenge { scheme: name, parameters: Vec::new() }),
        }
    }
    found
}

fn skip_separators<'a>(rest: &mut &'a str) -> &'a str {
    *rest = rest.trim_start_matches([' ', '\t', ',']);
    rest
}

fn take_token<'a>(rest: &mut &'a str) -> &'a str {
    let is_token = |c: char| c.is_ascii_graphic() && !"()<>@,;:\\\"/[]?={}".contains(c);
    let end = rest.find(|c| !is_token(c)).unwrap_or(rest.len());
    let (token, after) = rest.split_at(end);
    *rest = after;
    token
}

/// A token or a quoted string; none if the quotes do not end.
fn take_value(rest: &mut &str) -> Option<String> {
    let Some(quoted) = rest.strip_prefix('"') else {
        // Some servers forget the quotes around what is no token.
        let end = rest.find([',', ' ', '\t']).unwrap_or(rest.len());
        let (value, after) = rest.split_at(end);
        *rest = after;
        return Some(value.to_owned());
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                *rest = &quoted[at + 1..];
                return Some(value);
            }
            '\\' => value.push(characters.next()?.1),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_registries_send_is_understood() {
        let hub = parse(r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",error="x\"y""#);
        assert_eq!(hub.len(), 1);
        assert_eq!(hub[0].scheme, "bearer");
        assert_eq!(hub[0].parameter("realm"), Some("https://auth.docker.io/token"));
        assert_eq!(hub[0].parameter("service"), Some("registry.docker.io"));
        assert_eq!(hub[0].parameter("error"), Some("x\"y"));
        let two = parse(r#"Basic realm="a, b", BEARER  Realm = "c" , scope=repository:x:pull"#);
        assert_eq!(two.iter().map(|c| c.scheme.as_str()).collect::<Vec<_>>(), ["basic", "bearer"]);
        assert_eq!(two[1].parameter("realm"), Some("c"));
        assert_eq!(two[1].parameter("scope"), Some("repository:x:pull"));
        assert_eq!(parse("Negotiate").len(), 1);
    }

    #[test]
    fn malformed_ones_end_where_they_go_wrong() {
        for (line, count) in [("", 0), ("=x", 0), ("a=b", 0), ("Basic realm=\"x", 1), ("\"", 0), (",,,", 0), ("é", 0)]
        {
            assert_eq!(parse(line).len(), count, "{line}");
        }
    }

    proptest! {
        #[test]
        fn any_line_does_no_harm(line in "\\PC{0,200}") {
            parse(&line);
        }
    }
}
