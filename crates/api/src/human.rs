//! Times and sizes as Docker writes them.

use jiff::Timestamp;

/// `About a minute`, `3 hours` (docker/go-units `HumanDuration`).
pub fn duration(seconds: i64) -> String {
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        i64::MIN..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// How long ago a time of RFC 3339 was.
pub fn since(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => duration(Timestamp::now().as_second() - time.as_second()),
        Err(_) => "Unknown".to_owned(),
    }
}

/// `4.26MB`: decimal, three digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "kB", "MB", "GB", "TB", "PB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = if unit == 0 || value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_as_docker_writes_them() {
        for (seconds, text) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (150, "2 minutes"),
            (3600, "About an hour"),
            (3600 * 30, "30 hours"),
            (86400 * 3, "3 days"),
            (86400 * 20, "2 weeks"),
            (86400 * 90, "3 months"),
            (86400 * 365 * 3, "3 years"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        for (bytes, text) in [(0, "0B"), (999, "999B"), (4_264_000, "4.26MB"), (1_500, "1.5kB"), (123_456_789, "123MB")]
        {
            assert_eq!(size(bytes), text);
        }
    }
}
