//! The time stamp counter.

/// The counter's value now, where the processor has one.
#[cfg(target_arch = "x86_64")]
pub(crate) fn read_tsc() -> Option<u64> {
    // SAFETY: `rdtsc` exists on every x86-64 processor and touches no memory.
    // A process that was denied it (prctl PR_SET_TSC) would be ended by a
    // signal; nothing here does that.
    Some(unsafe { core::arch::x86_64::_rdtsc() })
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn read_tsc() -> Option<u64> {
    None
}
