//! Which signals are held back until they are asked for.

/// A set of signals, one bit each, the first for signal 1.
#[derive(Clone, Copy)]
pub(crate) struct Signals(pub(crate) u64);

pub(crate) const CHILD: i32 = 17;
const TERMINAL_INPUT: i32 = 21;
const TERMINAL_OUTPUT: i32 = 22;

/// What a fault of the program itself raises, at once: ILL, TRAP, ABRT, BUS,
/// FPE, SEGV and SYS.
const FAULTS: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];

/// All but those.
pub(crate) const HELD: Signals = {
    let mut held = u64::MAX;
    let mut index = 0;
    while index < FAULTS.len() {
        held &= !(1 << (FAULTS[index] - 1));
        index += 1;
    }
    Signals(held)
};

/// Told to whoever is not in the terminal's foreground, which is this process
/// and not the command.
pub(crate) fn is_terminals(signal: i32) -> bool {
    matches!(signal, TERMINAL_INPUT | TERMINAL_OUTPUT)
}
