//! Where the time of a start goes, as the keeper recorded it.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::casemate::Casemate;
use crate::error::BenchError;
use crate::subject::{Rounds, Subject};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) name: String,
    pub(crate) start: Duration,
    pub(crate) length: Duration,
    /// The step that this one is part of; those without one add up to the whole.
    pub(crate) within: Option<String>,
}

/// One start.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    pub(crate) isolation: &'static str,
    /// The whole `casemate run -d`.
    pub(crate) command: Duration,
    /// Each followed by those within it.
    pub(crate) spans: Vec<Span>,
}

impl Timeline {
    /// From the keeper's first step to its last.
    pub(crate) fn length(&self) -> Duration {
        self.spans.iter().map(|span| span.start + span.length).max().unwrap_or_default()
    }
}

/// Starts whose middle one is shown.
const STARTS: usize = 5;

/// The start of median length in each mode.
pub(crate) fn of_both_modes(casemate: &Casemate, rounds: &Rounds<'_>) -> Result<Vec<Timeline>, BenchError> {
    let mut middle = Vec::new();
    for isolation in ["process", "hyperv"] {
        let mut starts = Vec::new();
        let take = || {
            let from = Instant::now();
            casemate.start_idle(isolation, NAME)?;
            let command = from.elapsed();
            let spans = spans(&casemate.inspect(NAME)?)?;
            casemate.remove(&[NAME.to_owned()])?;
            starts.push(Timeline { isolation, command, spans });
            Ok(vec![command])
        };
        let mut subject = Subject { labels: Vec::new(), take: Box::new(take) };
        for _ in 0..STARTS {
            rounds.once(&mut subject)?;
        }
        drop(subject);
        starts.sort_by_key(Timeline::length);
        middle.push(starts.swap_remove(STARTS / 2));
    }
    Ok(middle)
}

const NAME: &str = "bench-timeline";

fn spans(container: &Value) -> Result<Vec<Span>, BenchError> {
    let timeline = &container["Casemate"]["StartTimeline"];
    let unexpected = || BenchError::Format { what: "the start's timeline", found: timeline.to_string() };
    let span = |value: &Value| {
        let micros = |name: &str| value[name].as_u64().map(Duration::from_micros);
        Some(Span {
            name: value["Name"].as_str()?.to_owned(),
            start: micros("StartUs")?,
            length: micros("DurationUs")?,
            within: value["Within"].as_str().map(str::to_owned),
        })
    };
    let spans: Option<Vec<Span>> = timeline.as_array().ok_or_else(unexpected)?.iter().map(span).collect();
    spans.filter(|spans| !spans.is_empty()).ok_or_else(unexpected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn spans_as_inspect_prints_them() {
        let container = json!({ "Casemate": { "StartTimeline": [
            { "Name": "create", "StartUs": 10, "DurationUs": 2000 },
            { "Name": "start", "StartUs": 3000, "DurationUs": 500, "Within": null },
            { "Name": "disks", "StartUs": 3000, "DurationUs": 100, "Within": "start" },
        ] } });
        let spans = spans(&container).unwrap();
        assert_eq!((&spans[1].within, spans[2].within.as_deref()), (&None, Some("start")));
        let timeline = Timeline { isolation: "process", command: Duration::ZERO, spans };
        assert_eq!(timeline.length(), Duration::from_micros(3500));
        for damaged in [json!({}), json!({ "Casemate": { "StartTimeline": [] } })] {
            assert!(super::spans(&damaged).is_err());
        }
    }
}
