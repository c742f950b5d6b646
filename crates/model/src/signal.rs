//! Signals by number or by name, as `docker kill -s` takes them.

use std::fmt;
use std::str::FromStr;

/// A signal of Linux: 1 to 64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signal(u8);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid signal: {0}")]
pub struct UnknownSignal(pub String);

/// Linux's numbers on all architectures that Casemate runs on (not those of
/// alpha, mips and sparc); a number with two names has its usual one first.
const NAMES: [(&str, u8); 34] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const QUIT: Self = Self(3);
    pub const KILL: Self = Self(9);
    pub const TERM: Self = Self(15);

    pub fn from_number(number: i64) -> Result<Self, UnknownSignal> {
        match u8::try_from(number) {
            Ok(n @ 1..=RTMAX) => Ok(Self(n)),
            _ => Err(UnknownSignal(number.to_string())),
        }
    }

    pub fn number(self) -> u8 {
        self.0
    }
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    /// `9`, `KILL`, `SIGKILL`, `sigkill`, `RTMIN+3`, `SIGRTMAX-2`.
    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        let unknown = || UnknownSignal(text.to_owned());
        if let Ok(number) = text.parse::<i64>() {
            return Self::from_number(number).map_err(|_| unknown());
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
            return Ok(Self(*number));
        }
        let real_time = if let Some(offset) = name.strip_prefix("RTMIN") {
            parse_offset(offset, '+').and_then(|n| RTMIN.checked_add(n))
        } else if let Some(offset) = name.strip_prefix("RTMAX") {
            parse_offset(offset, '-').and_then(|n| RTMAX.checked_sub(n))
        } else {
            None
        };
        match real_time {
            Some(number @ RTMIN..=RTMAX) => Ok(Self(number)),
            _ => Err(unknown()),
        }
    }
}

fn parse_offset(text: &str, sign: char) -> Option<u8> {
    if text.is_empty() { Some(0) } else { text.strip_prefix(sign)?.parse().ok() }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_number_and_name() {
        for (text, number) in
            [("9", 9), ("kill", 9), ("SIGTERM", 15), ("RTMIN", 34), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)]
        {
            assert_eq!(text.parse::<Signal>().map(Signal::number), Ok(number), "{text}");
        }
        for bad in ["", "0", "65", "-9", "SIGNOPE", "RTMIN-1", "RTMIN+99", "RTMAX+1", "SIG"] {
            assert!(bad.parse::<Signal>().is_err(), "{bad}");
        }
        for number in 1..=64 {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string().parse(), Ok(signal));
        }
    }
}
