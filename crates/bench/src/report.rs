//! All figures of one run, for a reader or for a program.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::memory::Idle;
use crate::series::{Comparison, Summary};
use crate::timeline::{Span, Timeline};

#[derive(Debug)]
pub(crate) struct Report {
    /// From [`host::describe`](crate::host::describe).
    pub(crate) host: Value,
    pub(crate) load_after: String,
    pub(crate) runs: usize,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) docker_missing: Option<String>,
    pub(crate) timelines: Vec<Timeline>,
    pub(crate) memory: Vec<Idle>,
}

/// Of the first column.
const LABEL: usize = 66;
/// Of the longest bar.
const BAR: usize = 40;

impl Report {
    pub(crate) fn text(&self) -> String {
        let mut text = format!("Casemate's starts and idle containers; {} rounds each, in turn\n", self.runs);
        for (name, value) in self.host.as_object().into_iter().flatten() {
            if let Some(value) = shown(value) {
                line(&mut text, &format!("  {name:<12} {value}"));
            }
        }
        line(&mut text, &format!("  {:<12} {}", "load after", self.load_after));
        for comparison in &self.comparisons {
            line(&mut text, &comparison_text(comparison));
        }
        if let Some(reason) = &self.docker_missing {
            line(&mut text, &format!("\nNot compared with Docker: {reason}"));
        }
        for timeline in &self.timelines {
            line(&mut text, &timeline_text(timeline));
        }
        line(&mut text, &memory_text(&self.memory));
        text
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "host": self.host,
            "loadAfter": self.load_after,
            "runs": self.runs,
            "comparisons": self.comparisons.iter().map(comparison_json).collect::<Vec<_>>(),
            "dockerMissing": self.docker_missing,
            "timelines": self.timelines.iter().map(timeline_json).collect::<Vec<_>>(),
            "memory": self.memory.iter().map(memory_json).collect::<Vec<_>>(),
        })
    }
}

fn line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

fn shown(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn comparison_text(comparison: &Comparison) -> String {
    let mut text = format!("\n{:<LABEL$} {:>9}   {}\n", comparison.title, "median", "least – most");
    for series in &comparison.series {
        if let Some(Summary { median, least, most }) = series.summary() {
            line(&mut text, &format!("  {:<64} {median:>6.1} ms   {least:.1} – {most:.1}", series.label));
        }
    }
    for ratio in &comparison.ratios {
        let Some((of, to, values)) = comparison.ratio(*ratio) else { continue };
        if let Some(Summary { median, least, most }) = Summary::of(&values) {
            let aim = if ratio.aim.is_empty() { String::new() } else { format!("   aim: {}", ratio.aim) };
            line(
                &mut text,
                &format!("  {of}\n    {:<62} {median:>6.2} ×    {least:.2} – {most:.2}{aim}", format!("÷ {to}")),
            );
        }
    }
    text.trim_end().to_owned()
}

fn comparison_json(comparison: &Comparison) -> Value {
    let ratios = comparison.ratios.iter().filter_map(|ratio| {
        let (of, to, values) = comparison.ratio(*ratio)?;
        Some(json!({ "of": of, "to": to, "aim": ratio.aim, "summary": summary_json(Summary::of(&values)), "rounds": values }))
    });
    let series = comparison.series.iter().map(
        |series| json!({ "label": series.label, "summary": summary_json(series.summary()), "ms": series.samples }),
    );
    json!({
        "title": comparison.title,
        "series": series.collect::<Vec<_>>(),
        "ratios": ratios.collect::<Vec<_>>(),
    })
}

fn summary_json(summary: Option<Summary>) -> Value {
    summary.map_or(
        Value::Null,
        |Summary { median, least, most }| json!({ "median": median, "least": least, "most": most }),
    )
}

fn timeline_text(timeline: &Timeline) -> String {
    let whole = timeline.length();
    let mut text = format!(
        "\nOne start, {} mode: the keeper's part of {:.1} ms (`casemate run -d` took {:.1} ms in all)\n",
        timeline.isolation,
        ms(whole),
        ms(timeline.command)
    );
    for span in &timeline.spans {
        let (name, block) = match &span.within {
            Some(_) => (format!("  {}", span.name), '░'),
            None => (span.name.clone(), '█'),
        };
        line(&mut text, &format!("  {name:<24} {:>8.1} ms  {}", ms(span.length), bar(span, whole, block)));
    }
    text.trim_end().to_owned()
}

/// The span's place in the whole.
fn bar(span: &Span, whole: Duration, block: char) -> String {
    let place =
        |at: Duration| (at.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE) * BAR as f64).round() as usize;
    let (from, to) = (place(span.start).min(BAR - 1), place(span.start + span.length).min(BAR));
    format!("{}{}", " ".repeat(from), block.to_string().repeat(to.saturating_sub(from).max(1)))
}

fn timeline_json(timeline: &Timeline) -> Value {
    let spans = timeline.spans.iter();
    json!({
        "isolation": timeline.isolation,
        "commandMs": ms(timeline.command),
        "spans": spans.map(|span| json!({
            "name": span.name, "startMs": ms(span.start), "ms": ms(span.length), "within": span.within,
        })).collect::<Vec<_>>(),
    })
}

fn memory_text(memory: &[Idle]) -> String {
    let mut text = String::from("\nIdle containers, host memory in MiB (PSS), each and of all\n");
    for idle in memory {
        let each = |bytes: u64| mib(bytes) / f64::from(idle.containers);
        let mut row = format!(
            "  {:>3} {:<8} each {:>6.1}, in all {:>7.1}; each:",
            idle.containers,
            idle.isolation,
            each(idle.total()),
            mib(idle.total())
        );
        for (role, bytes) in &idle.own {
            // Writing to a string cannot fail.
            let _ = write!(row, " {role} alone {:.1},", each(*bytes));
        }
        line(&mut text, &format!("{row} shared {:.1}", each(idle.shared)));
    }
    text.trim_end().to_owned()
}

fn memory_json(idle: &Idle) -> Value {
    let own: serde_json::Map<String, Value> =
        idle.own.iter().map(|(role, bytes)| (role.clone(), json!(bytes))).collect();
    json!({
        "isolation": idle.isolation, "containers": idle.containers, "own": own, "shared": idle.shared,
        "total": idle.total(),
    })
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Ratio, Series};

    #[test]
    fn the_comparison_as_a_reader_sees_it() {
        let series = |label: &str, samples: &[f64]| Series { label: label.to_owned(), samples: samples.to_vec() };
        let comparison = Comparison {
            title: "Process mode, the whole command",
            series: vec![series("casemate run", &[30.0, 33.0, 36.0]), series("runc run", &[20.0, 20.0, 24.0])],
            ratios: vec![Ratio { of: 0, to: 1, aim: "under 2" }],
        };
        let text = comparison_text(&comparison);
        let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
        let lines: Vec<String> = text.lines().map(words).collect();
        assert_eq!(
            lines,
            [
                "",
                "Process mode, the whole command median least – most",
                "casemate run 33.0 ms 30.0 – 36.0",
                "runc run 20.0 ms 20.0 – 24.0",
                "casemate run",
                "÷ runc run 1.50 × 1.50 – 1.65 aim: under 2",
            ]
        );
        let json = comparison_json(&comparison);
        assert_eq!(json["ratios"][0]["rounds"], json!([1.5, 1.65, 1.5]));
    }

    #[test]
    fn steps_within_others_are_told_apart() {
        let span = |name: &str, start, length, within: Option<&str>| Span {
            name: name.to_owned(),
            start: Duration::from_millis(start),
            length: Duration::from_millis(length),
            within: within.map(str::to_owned),
        };
        let spans = vec![span("boot", 0, 60, None), span("start", 60, 40, None), span("disks", 60, 20, Some("start"))];
        let timeline = Timeline { isolation: "hyperv", command: Duration::from_millis(120), spans };
        let text = timeline_text(&timeline);
        let lines: Vec<String> =
            text.lines().skip(2).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let (boot, start, disks) = ("█".repeat(24), "█".repeat(16), "░".repeat(8));
        let expected =
            [format!("boot 60.0 ms {boot}"), format!("start 40.0 ms {start}"), format!("disks 20.0 ms {disks}")];
        assert_eq!(lines, expected);
        let indent = |word: &str| text.lines().find(|line| line.contains(word)).map(|line| line.find(word));
        assert_eq!((indent("boot"), indent("disks")), (Some(Some(2)), Some(Some(4))));
    }

    #[test]
    fn bars_lie_where_their_spans_do() {
        let span = |start, length| Span {
            name: String::new(),
            start: Duration::from_millis(start),
            length: Duration::from_millis(length),
            within: None,
        };
        let whole = Duration::from_millis(100);
        assert_eq!(bar(&span(0, 100), whole, '█'), "█".repeat(BAR));
        assert_eq!(bar(&span(50, 50), whole, '█'), format!("{}{}", " ".repeat(BAR / 2), "█".repeat(BAR / 2)));
        // Too short to be seen is seen all the same.
        assert_eq!(bar(&span(100, 0), whole, '█'), format!("{}█", " ".repeat(BAR - 1)));
        assert_eq!(bar(&span(0, 0), Duration::ZERO, '█'), "█");
    }

    #[test]
    fn idle_memory_is_divided_among_the_containers() {
        let mib = |n: u64| n << 20;
        let idle = Idle {
            isolation: "hyperv",
            containers: 10,
            own: vec![("keeper".to_owned(), mib(20)), ("vm".to_owned(), mib(300))],
            shared: mib(80),
        };
        let text = memory_text(&[idle]);
        assert!(
            text.ends_with(
                "10 hyperv   each   40.0, in all   400.0; each: keeper alone 2.0, vm alone 30.0, shared 8.0"
            ),
            "{text}"
        );
    }
}
