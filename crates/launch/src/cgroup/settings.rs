//! What of a container's limits changes, so that each version of control
//! groups has only to say where it is written.

use casemate_model::{Bytes, CpuQuota, Limits, MemorySwap};

/// From the limits in force to others. `Some` values are to be written.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) to: &'a Limits,
    from: &'a Limits,
}

/// A limit to be set, or to be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting<T> {
    To(T),
    None,
}

impl<T> Setting<T> {
    pub(crate) fn text(self, write: impl FnOnce(T) -> String, none: &str) -> String {
        match self {
            Self::To(value) => write(value),
            Self::None => none.to_owned(),
        }
    }
}

impl<'a> Change<'a> {
    pub(crate) fn new(from: &'a Limits, to: &'a Limits) -> Self {
        Self { to, from }
    }

    /// Where nothing was and nothing is asked for, nothing is written: another
    /// may have set what is there.
    pub(crate) fn of<T: Clone + PartialEq>(&self, field: impl Fn(&Limits) -> Option<T>) -> Option<Setting<T>> {
        match (field(self.from), field(self.to)) {
            (None, None) => None,
            (from, to) if from == to && self.from != self.to => None,
            (_, Some(value)) => Some(Setting::To(value)),
            (Some(_), None) => Some(Setting::None),
        }
    }

    pub(crate) fn memory(&self) -> Option<Setting<u64>> {
        self.of(|limits| limits.memory.map(|Bytes(bytes)| bytes))
    }

    /// Memory and swap together.
    pub(crate) fn memory_and_swap(&self) -> Option<Setting<u64>> {
        self.of(memory_and_swap).map(|setting| match setting {
            Setting::To(MemorySwap::Total(Bytes(total))) => Setting::To(total),
            Setting::To(MemorySwap::Unlimited) | Setting::None => Setting::None,
        })
    }

    /// Swap alone.
    pub(crate) fn swap(&self) -> Option<Setting<u64>> {
        let swap = |limits: &Limits| match (memory_and_swap(limits)?, limits.memory) {
            (MemorySwap::Total(Bytes(total)), Some(Bytes(memory))) => Some(Some(total.saturating_sub(memory))),
            _ => Some(None),
        };
        self.of(swap).map(|setting| match setting {
            Setting::To(Some(bytes)) => Setting::To(bytes),
            Setting::To(None) | Setting::None => Setting::None,
        })
    }

    pub(crate) fn reservation(&self) -> Option<Setting<u64>> {
        self.of(|limits| limits.memory_reservation.map(|Bytes(bytes)| bytes))
    }

    pub(crate) fn oom_kill_disable(&self) -> Option<bool> {
        self.of(|limits| limits.oom_kill_disable.then_some(())).map(|setting| setting == Setting::To(()))
    }

    pub(crate) fn cpu_quota(&self) -> Option<Setting<CpuQuota>> {
        self.of(|limits| limits.cpu_quota)
    }
}

/// Docker allows as much swap as memory where nothing else is said.
fn memory_and_swap(limits: &Limits) -> Option<MemorySwap> {
    match (limits.memory_swap, limits.memory) {
        (Some(swap), _) => Some(swap),
        (None, Some(Bytes(memory))) => Some(MemorySwap::Total(Bytes(memory.saturating_mul(2)))),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_is_written() {
        let none = Limits::default();
        let some = Limits { memory: Some(Bytes(100)), pids: Some(7), ..Limits::default() };
        let more =
            Limits { memory: Some(Bytes(300)), memory_swap: Some(MemorySwap::Total(Bytes(400))), ..some.clone() };
        let pids = |limits: &Limits| limits.pids;
        let first = Change::new(&none, &some);
        assert_eq!((first.memory(), first.of(pids)), (Some(Setting::To(100)), Some(Setting::To(7))));
        assert_eq!((first.memory_and_swap(), first.swap()), (Some(Setting::To(200)), Some(Setting::To(100))));
        assert_eq!((first.reservation(), first.oom_kill_disable(), first.cpu_quota()), (None, None, None));
        let second = Change::new(&some, &more);
        assert_eq!((second.memory(), second.of(pids)), (Some(Setting::To(300)), None));
        assert_eq!((second.memory_and_swap(), second.swap()), (Some(Setting::To(400)), None));
        let last = Change::new(&more, &none);
        assert_eq!(
            (last.memory(), last.memory_and_swap(), last.swap()),
            (Some(Setting::None), Some(Setting::None), Some(Setting::None))
        );
        assert_eq!(last.of(pids), Some(Setting::None));
        // Said again, it is set again.
        assert_eq!(Change::new(&some, &some).memory(), Some(Setting::To(100)));
    }
}
