//! What the command line itself says, as against the environment and defaults:
//! the configuration file fills in what neither names, and must not repeat what
//! a flag says.

use std::collections::BTreeMap;

use clap::ArgMatches;
use clap::parser::ValueSource;

#[derive(Clone, Debug, Default)]
pub(crate) struct Given(BTreeMap<String, (ValueSource, Vec<String>)>);

impl Given {
    /// Of the daemon's command, with the options that all commands have.
    pub(crate) fn of(matches: &ArgMatches) -> Self {
        let named = |id: &clap::Id| {
            let source = matches.value_source(id.as_str())?;
            let values = matches.try_get_raw(id.as_str()).ok()??;
            let values = values.map(|value| value.to_string_lossy().into_owned()).collect();
            Some((id.to_string(), (source, values)))
        };
        Self(matches.ids().filter_map(named).collect())
    }

    /// What a flag says, as it was written.
    pub(super) fn flag(&self, id: &str) -> Option<&[String]> {
        match self.0.get(id)? {
            (ValueSource::CommandLine, values) => Some(values),
            _ => None,
        }
    }

    /// Whether neither a flag nor the environment says anything.
    pub(super) fn leaves(&self, id: &str) -> bool {
        self.0.get(id).is_none_or(|(source, _)| *source == ValueSource::DefaultValue)
    }
}
