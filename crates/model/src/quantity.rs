//! Amounts of memory and processor time, in the spellings `docker run` takes.

use std::fmt;
use std::str::FromStr;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

/// Processor time per second in billionths of a CPU: 1.5 CPUs are 1 500 000 000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoCpus(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseQuantityError {
    #[error("invalid size: '{0}'")]
    Size(String),
    #[error("failed to parse {0} as a rational number")]
    Cpus(String),
}

impl Bytes {
    pub const KIB: u64 = 1 << 10;
    pub const MIB: u64 = 1 << 20;
    pub const GIB: u64 = 1 << 30;

    pub const fn mib(n: u64) -> Self {
        Self(n * Self::MIB)
    }
}

impl FromStr for Bytes {
    type Err = ParseQuantityError;

    /// `512m`, `1.5g`, `64MiB`, `4096`: binary units in either spelling, as
    /// Docker's `RAMInBytes` reads them.
    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        let bad = || ParseQuantityError::Size(text.to_owned());
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == ' ');
        let unit = text[digits.len()..].trim_start().to_ascii_lowercase();
        let shift = match unit.as_str() {
            "" | "b" => 0,
            "k" | "kb" | "kib" => 10,
            "m" | "mb" | "mib" => 20,
            "g" | "gb" | "gib" => 30,
            "t" | "tb" | "tib" => 40,
            "p" | "pb" | "pib" => 50,
            _ => return Err(bad()),
        };
        if let Ok(whole) = digits.parse::<u64>() {
            return whole.checked_mul(1 << shift).map(Self).ok_or_else(bad);
        }
        let value: f64 = digits.parse().map_err(|_| bad())?;
        let bytes = value * (1u64 << shift) as f64;
        if bytes.is_finite() && (0.0..9e18).contains(&bytes) { Ok(Self(bytes as u64)) } else { Err(bad()) }
    }
}

impl fmt::Display for Bytes {
    /// The largest binary unit that keeps the number readable: `512MiB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        if value.fract() == 0.0 { write!(f, "{value}{}", UNITS[unit]) } else { write!(f, "{value:.1}{}", UNITS[unit]) }
    }
}

impl NanoCpus {
    pub const ONE: Self = Self(1_000_000_000);

    /// How many whole processors are needed to provide this much.
    pub fn whole(self) -> u32 {
        u32::try_from(self.0.div_ceil(Self::ONE.0)).unwrap_or(u32::MAX).max(1)
    }
}

impl FromStr for NanoCpus {
    type Err = ParseQuantityError;

    /// A decimal number of CPUs, with at most nine decimals: `1.5`.
    fn from_str(text: &str) -> Result<Self, ParseQuantityError> {
        let bad = || ParseQuantityError::Cpus(text.to_owned());
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let is_number = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !is_number(whole) || !is_number(fraction) || fraction.len() > 9
        {
            return Err(bad());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| bad())? };
        let fraction: u64 = format!("{fraction:0<9}").parse().map_err(|_| bad())?;
        whole.checked_mul(Self::ONE.0).and_then(|n| n.checked_add(fraction)).map(Self).ok_or_else(bad)
    }
}

impl fmt::Display for NanoCpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / Self::ONE.0 as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_as_docker_reads_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("32b", 32),
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("64MiB", 64 << 20),
            ("64 MB", 64 << 20),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for bad in ["", "m", "-1m", "1x", "1mm", "99999999999999p", "1,5g", "é", "infg", "nan"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
    }

    #[test]
    fn cpus_as_docker_reads_them() {
        assert_eq!("1.5".parse(), Ok(NanoCpus(1_500_000_000)));
        assert_eq!(".5".parse(), Ok(NanoCpus(500_000_000)));
        assert_eq!("0.5".parse::<NanoCpus>().unwrap().whole(), 1);
        assert_eq!("2.1".parse::<NanoCpus>().unwrap().whole(), 3);
        for bad in ["", ".", "a", "-1", "1.0000000001", "99999999999999999999"] {
            assert!(bad.parse::<NanoCpus>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = text.parse::<Bytes>();
            let _ = text.parse::<NanoCpus>();
        }

        #[test]
        fn cpus_round_trip(n in 0u64..1_000_000_000_000) {
            let text = format!("{}.{:09}", n / 1_000_000_000, n % 1_000_000_000);
            prop_assert_eq!(text.parse::<NanoCpus>(), Ok(NanoCpus(n)));
        }
    }
}
