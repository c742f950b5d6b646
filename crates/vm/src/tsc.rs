//! The frequency of the host's time stamp counter, for guests that see the
//! counter itself (under TCG): told it, they need not measure it (100 ms).
//!
//! It is measured, not looked up: the processor's own statement (CPUID leaf
//! 0x15) is absent on many and wrong on guests with a scaled counter. What is
//! measured holds until the host boots again, and is kept in a file.

use std::fs;
use std::io::{self, Write as _};
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::sys;

/// In kHz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TscKhz(NonZeroU32);

/// Long enough for one part in a million: reading both clocks together is good
/// to some 20 ns.
const INTERVAL: Duration = Duration::from_millis(20);

/// Readings at each end, of which the tightest counts: one may be interrupted.
const READINGS: usize = 8;

impl TscKhz {
    pub fn new(khz: u32) -> Option<Self> {
        // No processor with this counter is slower, and a faster one would not
        // fit the guest's arithmetic.
        (100_000..=10_000_000).contains(&khz).then(|| NonZeroU32::new(khz).map(Self)).flatten()
    }

    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// The frequency, from `cache` if that was written since the host booted;
    /// otherwise measured, which takes 20 ms, and written there.
    ///
    /// `None` where the host itself does not trust the counter: it may then
    /// differ between processors or stop, and no guest should count on it.
    pub fn of_this_host(cache: &Path) -> Option<Self> {
        let clock = fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource").ok()?;
        if clock.trim() != "tsc" {
            return None;
        }
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        let boot = boot.trim();
        if let Some(known) = fs::read_to_string(cache).ok().and_then(|text| parse(&text, boot)) {
            return Some(known);
        }
        let measured = measure()?;
        // A cache that cannot be written costs the next start 20 ms.
        let _ = store(cache, &format!("{boot} {}\n", measured.get()));
        Some(measured)
    }
}

fn parse(text: &str, boot: &str) -> Option<TscKhz> {
    let (cached_boot, khz) = text.trim_end().split_once(' ')?;
    if cached_boot == boot { TscKhz::new(khz.parse().ok()?) } else { None }
}

fn store(cache: &Path, text: &str) -> io::Result<()> {
    let directory = cache.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.persist(cache)?;
    Ok(())
}

/// The counter and the clock at one moment.
#[derive(Clone, Copy)]
struct Reading {
    ticks: u64,
    nanoseconds: u64,
    /// Ticks between the two looks at the counter around the clock's.
    spread: u64,
}

fn measure() -> Option<TscKhz> {
    let start = tightest()?;
    std::thread::sleep(INTERVAL);
    let end = tightest()?;
    let ticks = u128::from(end.ticks.checked_sub(start.ticks)?);
    let nanoseconds = u128::from(end.nanoseconds.checked_sub(start.nanoseconds)?);
    let khz = (ticks * 1_000_000 + nanoseconds / 2).checked_div(nanoseconds)?;
    TscKhz::new(u32::try_from(khz).ok()?)
}

fn tightest() -> Option<Reading> {
    (0..READINGS).filter_map(|_| reading()).min_by_key(|reading| reading.spread)
}

fn reading() -> Option<Reading> {
    let before = sys::read_tsc()?;
    // Not slewed, so that it counts as the counter does.
    let clock = clock_gettime(ClockId::MonotonicRaw);
    let after = sys::read_tsc()?;
    let spread = after.checked_sub(before)?;
    let seconds = u64::try_from(clock.tv_sec).ok()?;
    let nanoseconds = seconds.checked_mul(1_000_000_000)?.checked_add(u64::try_from(clock.tv_nsec).ok()?)?;
    Some(Reading { ticks: before + spread / 2, nanoseconds, spread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_of_another_boot_does_not_count() {
        assert_eq!(parse("b00t 2596122\n", "b00t"), TscKhz::new(2_596_122));
        assert_eq!(parse("b00t 2596122\n", "other"), None);
        for damaged in ["", "b00t", "b00t x", "b00t 0", "b00t 99999999", "b00t 2596122 1"] {
            assert_eq!(parse(damaged, "b00t"), None, "{damaged}");
        }
    }

    #[test]
    fn two_measurements_agree() {
        let (Some(one), Some(two)) = (measure(), measure()) else {
            // Only where there is no counter to measure.
            assert_eq!(sys::read_tsc(), None);
            return;
        };
        let difference = one.get().abs_diff(two.get());
        assert!(u64::from(difference) * 1000 < u64::from(one.get()), "{one:?} {two:?}");
    }

    #[test]
    fn the_second_time_it_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let cache = directory.path().join("tsc");
        let Some(measured) = TscKhz::of_this_host(&cache) else {
            assert!(!cache.exists());
            return;
        };
        assert_eq!(TscKhz::of_this_host(&cache), Some(measured));
        let boot = fs::read_to_string(&cache).unwrap().split(' ').next().unwrap().to_owned();
        fs::write(&cache, format!("{boot} 1234567\n")).unwrap();
        assert_eq!(TscKhz::of_this_host(&cache), TscKhz::new(1_234_567));
    }
}
