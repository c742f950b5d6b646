//! `filters`: a JSON object of lists, in two spellings (moby `filters.FromJSON`).

use std::collections::BTreeMap;

use serde_json::Value;

use crate::error::ApiError;
use crate::query::{Query, time};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters(BTreeMap<String, Vec<String>>);

impl Filters {
    /// Those of a query, of which only the known ones are allowed.
    pub(crate) fn of(query: &Query, known: &[&str]) -> Result<Self, ApiError> {
        let Some(text) = query.get("filters") else {
            return Ok(Self::default());
        };
        let filters = Self::parse(text)?;
        match filters.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(unknown) => Err(ApiError::bad_request(format!("invalid filter '{unknown}'"))),
            None => Ok(filters),
        }
    }

    fn parse(text: &str) -> Result<Self, ApiError> {
        let malformed = || ApiError::bad_request(format!("invalid filters: {text}"));
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            return Err(malformed());
        };
        let mut filters = BTreeMap::new();
        for (name, values) in object {
            let values: Vec<String> = match values {
                Value::Array(values) => values
                    .iter()
                    .map(|value| value.as_str().map(str::to_owned))
                    .collect::<Option<_>>()
                    .ok_or_else(malformed)?,
                Value::Object(values) => {
                    values.into_iter().filter(|(_, set)| *set == Value::Bool(true)).map(|(value, _)| value).collect()
                }
                _ => return Err(malformed()),
            };
            filters.insert(name, values);
        }
        Ok(Self(filters))
    }

    pub(crate) fn get(&self, name: &str) -> &[String] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        !self.get(name).is_empty()
    }

    /// Whether there is no such filter, or one of its values fits.
    pub(crate) fn any(&self, name: &str, fits: impl Fn(&str) -> bool) -> bool {
        let values = self.get(name);
        values.is_empty() || values.iter().any(|value| fits(value))
    }

    /// Every `label` filter (`key` or `key=value`) must fit, and no `label!`.
    pub(crate) fn labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.labels_by(|name| labels.get(name).map(String::as_str))
    }

    /// The same of labels that are asked for by name.
    pub(crate) fn labels_by<'l>(&self, label: impl Fn(&str) -> Option<&'l str>) -> bool {
        let has = |filter: &String| match filter.split_once('=') {
            Some((key, value)) => label(key) == Some(value),
            None => label(filter).is_some(),
        };
        self.get("label").iter().all(has) && !self.get("label!").iter().any(has)
    }

    /// A filter that holds one truth, `true` or `1`, `false` or `0`.
    pub(crate) fn truth(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            [] => Ok(None),
            [value] => match value.as_str() {
                "1" | "true" => Ok(Some(true)),
                "0" | "false" => Ok(Some(false)),
                _ => Err(ApiError::bad_request(format!("invalid filter '{name}={value}'"))),
            },
            values => Err(ApiError::bad_request(format!("invalid filter '{name}={values:?}'"))),
        }
    }

    /// `until`: a date, or so long ago (`10m`, `1h30m`).
    pub(crate) fn until(&self) -> Result<Option<jiff::Timestamp>, ApiError> {
        match self.get("until") {
            [] => Ok(None),
            [text] => {
                let ago = || jiff::Timestamp::now().checked_sub(text.parse::<jiff::SignedDuration>().ok()?).ok();
                let found = time(text).or_else(ago);
                found.map(Some).ok_or_else(|| ApiError::bad_request(format!("invalid value for \"until\": {text}")))
            }
            _ => Err(ApiError::bad_request("more than one until filter specified")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Result<Filters, ApiError> {
        let text: String = form_urlencoded::byte_serialize(json.as_bytes()).collect();
        Filters::of(&Query::parse(&format!("filters={text}")), &["label", "status", "dangling", "until"])
    }

    #[test]
    fn both_spellings_are_read_and_unknown_names_refused() {
        let listed = of(r#"{"status":["created","exited"]}"#).unwrap();
        let mapped = of(r#"{"status":{"created":true,"exited":true,"x":false}}"#).unwrap();
        assert_eq!(listed, mapped);
        assert!(listed.any("status", |s| s == "exited") && !listed.any("status", |s| s == "running"));
        assert!(listed.any("label", |_| false), "no such filter lets all pass");
        assert_eq!(of(r#"{"colour":["red"]}"#).unwrap_err().message, "invalid filter 'colour'");
        assert!(of("[]").is_err() && of("{").is_err() && of(r#"{"status":3}"#).is_err());
    }

    #[test]
    fn labels_by_key_or_value_and_all_of_them() {
        let labels: BTreeMap<String, String> = [("a".to_owned(), "1".to_owned())].into();
        assert!(of(r#"{"label":["a"]}"#).unwrap().labels(&labels));
        assert!(of(r#"{"label":["a=1"]}"#).unwrap().labels(&labels));
        assert!(!of(r#"{"label":["a=1","b"]}"#).unwrap().labels(&labels));
        assert!(of(r#"{"dangling":["true"]}"#).unwrap().truth("dangling").unwrap().unwrap());
        assert!(of(r#"{"dangling":["x"]}"#).unwrap().truth("dangling").is_err());
        assert!(of(r#"{"until":["1h30m"]}"#).unwrap().until().unwrap().unwrap() < jiff::Timestamp::now());
        assert!(of(r#"{"until":["99999999999h"]}"#).unwrap().until().is_err(), "before the first year");
    }
}
