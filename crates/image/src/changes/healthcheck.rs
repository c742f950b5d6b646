//! `HEALTHCHECK`.

use std::time::Duration;

use super::error::ChangeError;
use super::json_words;
use crate::image::Healthcheck;

/// Docker's.
const LEAST: Duration = Duration::from_millis(1);

pub(super) fn parse(text: &str) -> Result<Healthcheck, ChangeError> {
    let mut check = Healthcheck::default();
    let mut rest = text;
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        let (name, value) = flag.split_once('=').unwrap_or((flag, ""));
        match name {
            "interval" => check.interval = interval("interval", value)?,
            "timeout" => check.timeout = interval("timeout", value)?,
            "start-period" => check.start_period = interval("start-period", value)?,
            "start-interval" => check.start_interval = interval("start-interval", value)?,
            "retries" => check.retries = retries(value)?,
            _ => return Err(ChangeError::HealthcheckFlag { flag: name.to_owned() }),
        }
        rest = after.trim_start();
    }
    let (kind, command) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let command = command.trim();
    check.test = match kind.to_ascii_uppercase().as_str() {
        "" => return Err(ChangeError::NoArgument { instruction: "HEALTHCHECK" }),
        "NONE" if command.is_empty() => return Ok(Healthcheck { test: vec!["NONE".into()], ..Healthcheck::default() }),
        "NONE" => return Err(ChangeError::HealthcheckNone),
        "CMD" => match json_words(command) {
            Some(words) if !words.is_empty() => ["CMD".to_owned()].into_iter().chain(words).collect(),
            None if !command.is_empty() => vec!["CMD-SHELL".into(), command.to_owned()],
            _ => return Err(ChangeError::HealthcheckCommand),
        },
        kind => return Err(ChangeError::HealthcheckType { kind: kind.to_owned() }),
    };
    Ok(check)
}

/// 0 is the engine's default.
fn interval(flag: &'static str, text: &str) -> Result<Option<Duration>, ChangeError> {
    if text.is_empty() {
        return Ok(None);
    }
    let duration = duration(text).ok_or_else(|| ChangeError::Duration { flag, text: text.to_owned() })?;
    match duration {
        Duration::ZERO => Ok(None),
        short if short < LEAST => Err(ChangeError::ShortInterval { flag }),
        duration => Ok(Some(duration)),
    }
}

fn retries(text: &str) -> Result<Option<u32>, ChangeError> {
    match text.parse::<i64>() {
        Ok(0) => Ok(None),
        Ok(retries) if retries < 0 => Err(ChangeError::NegativeRetries { retries }),
        Ok(retries) => u32::try_from(retries).map(Some).map_err(|_| ChangeError::Retries { text: text.to_owned() }),
        Err(_) if text.is_empty() => Ok(None),
        Err(_) => Err(ChangeError::Retries { text: text.to_owned() }),
    }
}

/// As Go writes one: `1h30m`, `1.5s`, `100ms`, `0`.
fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        let after = &rest[digits..];
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let seconds = match &after[..unit_end] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = &after[unit_end..];
    }
    // What Go holds in 64 bits of nanoseconds.
    (!text.is_empty() && i64::try_from(total.as_nanos()).is_ok()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for (text, expected) in [
            ("0", Some(0)),
            ("90s", Some(90_000)),
            ("1h30m", Some(5_400_000)),
            ("1.5s", Some(1_500)),
            ("250ms", Some(250)),
            ("1m0s", Some(60_000)),
            ("", None),
            ("5", None),
            ("s", None),
            ("1d", None),
            ("-1s", None),
            ("1..5s", None),
            ("99999999999h", None),
        ] {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
