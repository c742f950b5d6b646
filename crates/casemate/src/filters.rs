//! `--filter NAME=VALUE`: what a list is to have. The daemon knows which there are.

use std::collections::BTreeMap;
use std::str::FromStr;

use casemate_client::Call;
use serde_json::json;

/// One `--filter`; an empty one says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Filter(Option<(String, String)>);

/// In Docker's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad format of filter (expected name=value)")]
pub(crate) struct FilterError;

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        match text.split_once('=') {
            Some((name, value)) => Ok(Self(Some((name.trim().to_lowercase(), value.trim().to_owned())))),
            None if text.is_empty() => Ok(Self(None)),
            None => Err(FilterError),
        }
    }
}

/// Those that say something, in the API's form.
fn parameter(filters: &[Filter]) -> Option<String> {
    let mut names: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    for (name, value) in filters.iter().filter_map(|filter| filter.0.as_ref()) {
        names.entry(name).or_default().insert(value, true);
    }
    (!names.is_empty()).then(|| json!(names).to_string())
}

pub(crate) fn apply<'a>(filters: &[Filter], call: Call<'a>) -> Call<'a> {
    match parameter(filters) {
        Some(parameter) => call.query("filters", parameter),
        None => call,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_the_apis_form() {
        let sent =
            |filters: &[&str]| parameter(&filters.iter().map(|filter| filter.parse().unwrap()).collect::<Vec<_>>());
        assert_eq!(sent(&[]), None);
        assert_eq!(sent(&[""]), None);
        assert_eq!(
            sent(&["network=web", "publish=80/tcp", " Network = db ", "label=a=b", "network=web"]).unwrap(),
            r#"{"label":{"a=b":true},"network":{"db":true,"web":true},"publish":{"80/tcp":true}}"#
        );
        let error = "web".parse::<Filter>().unwrap_err();
        assert_eq!(error.to_string(), "bad format of filter (expected name=value)");
    }
}
