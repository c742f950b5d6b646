//! The query of a request's address, read as dockerd reads it.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::error::ApiError;

#[derive(Clone, Debug, Default)]
pub(crate) struct Query(HashMap<String, Vec<String>>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        for (name, value) in form_urlencoded::parse(text.as_bytes()) {
            values.entry(name.into_owned()).or_default().push(value.into_owned());
        }
        Self(values)
    }

    /// The first of several, as with Go's `Form.Get`.
    fn first(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.first().map(String::as_str)
    }

    /// A value that is there and not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|value| !value.is_empty())
    }

    /// Of a name that may come several times.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        self.0.get(name).cloned().unwrap_or_default()
    }

    /// False is absent, empty, `0`, `no`, `false`, `none`; anything else is
    /// true (moby `httputils.BoolValue`).
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.flag_or(name, false)
    }

    pub(crate) fn flag_or(&self, name: &str, default: bool) -> bool {
        match self.first(name).map(|value| value.trim().to_ascii_lowercase()) {
            None => default,
            Some(value) => !matches!(value.as_str(), "" | "0" | "no" | "false" | "none"),
        }
    }

    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let invalid = |_| ApiError::bad_request(format!("strconv.Atoi: parsing \"{text}\": invalid syntax"));
        text.parse().map(Some).map_err(invalid)
    }

    /// Seconds since 1970 with an optional fraction, or a date.
    pub(crate) fn time(&self, name: &str) -> Result<Option<Timestamp>, ApiError> {
        match self.get(name) {
            None | Some("0") => Ok(None),
            Some(text) => time(text).map(Some).ok_or_else(|| {
                ApiError::bad_request(format!(
                    "invalid value for \"{name}\": failed to parse \"{text}\" as a timestamp"
                ))
            }),
        }
    }
}

pub(crate) fn time(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let nanos = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(seconds.parse().ok()?, nanos).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_as_dockerd_reads_them() {
        let query = Query::parse("all=1&size=false&limit=&name=a%2Fb&name=c&t=-1&since=1700000000.5&x=maybe");
        assert!(query.flag("all") && !query.flag("size") && !query.flag("limit") && query.flag("x"));
        assert_eq!(query.get("name"), Some("a/b"));
        assert_eq!(query.all("name"), ["a/b", "c"]);
        assert_eq!(query.get("limit"), None);
        assert_eq!(query.number("t").unwrap(), Some(-1));
        assert_eq!(query.number("limit").unwrap(), None);
        assert!(query.number("x").unwrap_err().message.contains("invalid syntax"));
        assert_eq!(query.time("since").unwrap().unwrap().as_millisecond(), 1_700_000_000_500);
        assert!(query.time("x").is_err());
    }
}
