//! `--log-driver` and `--log-opt`: how much of a container's output is kept, and
//! what each line carries.
//!
//! Docker's `json-file` and `local` differ in how they write and in what they
//! keep; here both are files of JSON.

mod attributes;

use casemate_model::Bytes;
use casemate_record::LogRecord;
use casemate_record::log::Retention;

pub(crate) use self::attributes::attributes;
use crate::options::InvalidOption;

/// What a container gets that asked for this, where there is a default (moby
/// `mergeAndVerifyLogConfig`).
pub(crate) fn with_defaults(asked: &LogRecord, default: &LogRecord) -> LogRecord {
    let mut log = asked.clone();
    if log.driver.is_empty() {
        log.driver = default.driver_name().to_owned();
    }
    if log.driver == default.driver_name() {
        for (name, value) in &default.options {
            log.options.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
    log
}

/// Whether there is such a driver with such options.
pub fn check_log_options(log: &LogRecord) -> Result<(), InvalidOption> {
    retention(log)?;
    attributes::check(log)
}

pub(crate) fn retention(log: &LogRecord) -> Result<Retention, InvalidOption> {
    let driver = match log.driver_name() {
        "json-file" => "json-file",
        "local" => "local",
        "none" => return Ok(Retention { files: 0, ..Retention::default() }),
        other => return Err(InvalidOption::LogDriver(other.to_owned())),
    };
    let option = |name: &'static str| log.options.get(name).map(|value| (name, value.as_str()));
    let mode = log.options.get("mode").map_or("", String::as_str);
    match mode {
        "" | "blocking" | "non-blocking" => {}
        other => return Err(InvalidOption::LogMode(other.to_owned())),
    }
    if let Some((option, value)) = option("max-buffer-size") {
        if mode != "non-blocking" {
            return Err(InvalidOption::LogBuffer);
        }
        value.parse::<Bytes>().map_err(|_| invalid(option, value))?;
    }
    const KNOWN: [&str; 5] = ["compress", "max-buffer-size", "max-file", "max-size", "mode"];
    let known = |name: &&String| KNOWN.iter().chain(&attributes::OPTIONS).any(|known| known == name);
    if let Some(unknown) = log.options.keys().find(|name| !known(name)) {
        return Err(InvalidOption::LogOption { driver, option: unknown.clone() });
    }
    if let Some((option, value)) = option("compress") {
        // Files are kept as they are: the bounds are those of what is in them.
        truth(value).ok_or_else(|| invalid(option, value))?;
    }

    let mut retention = Retention::default();
    if let Some((option, value)) = option("max-size") {
        retention.file_size = size(value).filter(|size| *size > 0).ok_or_else(|| invalid(option, value))?;
        if driver == "json-file" {
            // Docker's default, where a size is given.
            retention.files = 1;
        }
    }
    if let Some((option, value)) = option("max-file") {
        retention.files = value.parse().ok().filter(|files| *files > 0).ok_or_else(|| invalid(option, value))?;
    }
    Ok(retention)
}

fn invalid(option: &'static str, value: &str) -> InvalidOption {
    InvalidOption::LogValue { option, value: value.to_owned() }
}

/// As Go's `strconv.ParseBool` reads it.
fn truth(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Bytes, in powers of a thousand as Docker reads this option (go-units
/// `FromHumanSize`): `10m` is ten million.
fn size(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let number_length = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(number_length);
    let unit = unit.trim_start();
    let unit = unit.strip_suffix('b').unwrap_or(unit);
    let power = match unit.strip_suffix('i').unwrap_or(unit) {
        "" => 0,
        "k" => 1,
        "m" => 2,
        "g" => 3,
        "t" => 4,
        "p" => 5,
        _ => return None,
    };
    let bytes = number.parse::<f64>().ok()? * 1000_f64.powi(power);
    (bytes.is_finite() && bytes <= u64::MAX as f64).then_some(bytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(driver: &str, options: &[(&str, &str)]) -> Result<Retention, String> {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        retention(&LogRecord { driver: driver.to_owned(), options }).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_kept_follows_docker() {
        let default = Retention { file_size: 20 << 20, files: 5 };
        assert_eq!(of("", &[]), Ok(default));
        assert_eq!(of("local", &[("compress", "true"), ("mode", "blocking")]), Ok(default));
        assert_eq!(of("json-file", &[("max-size", "10m")]), Ok(Retention { file_size: 10_000_000, files: 1 }));
        assert_eq!(of("local", &[("max-size", "1.5 KiB")]), Ok(Retention { file_size: 1500, files: 5 }));
        let both = [("max-size", "64k"), ("max-file", "3")];
        assert_eq!(of("", &both), Ok(Retention { file_size: 64_000, files: 3 }));
        assert_eq!(of("none", &[("max-size", "nonsense")]).map(|kept| kept.files), Ok(0));
        let buffered = [("mode", "non-blocking"), ("max-buffer-size", "4m")];
        assert_eq!(of("json-file", &buffered), Ok(default));
    }

    #[test]
    fn defaults_are_of_their_driver() {
        let log = |driver: &str, options: &[&str]| LogRecord {
            driver: driver.to_owned(),
            options: options.iter().map(|name| ((*name).to_owned(), driver.to_owned())).collect(),
        };
        let default = log("local", &["max-file"]);
        assert_eq!(with_defaults(&log("", &[]), &default), default);
        assert_eq!(with_defaults(&log("json-file", &["mode"]), &default), log("json-file", &["mode"]));
        assert_eq!(with_defaults(&log("local", &["mode"]), &default), log("local", &["max-file", "mode"]));
        assert_eq!(with_defaults(&log("", &[]), &log("", &[])), log("json-file", &[]));
    }

    #[test]
    fn what_cannot_be_is_named() {
        let refused = |driver, options: &[_]| of(driver, options).unwrap_err();
        assert_eq!(refused("syslog", &[]), "logger: no log driver named 'syslog' is registered");
        assert_eq!(refused("", &[("colour", "red")]), "unknown log opt 'colour' for json-file log driver");
        assert_eq!(refused("", &[("mode", "fast")]), "logger: logging mode not supported: fast");
        assert_eq!(
            refused("", &[("max-buffer-size", "1m")]),
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
        );
        for (option, value) in [
            ("max-size", "0"),
            ("max-size", "-1"),
            ("max-size", "10q"),
            ("max-size", ""),
            ("max-file", "0"),
            ("compress", "maybe"),
        ] {
            assert_eq!(refused("local", &[(option, value)]), format!("invalid value for {option}: {value}"));
        }
    }
}
