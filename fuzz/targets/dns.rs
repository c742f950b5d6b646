//! The oracles are [`casemate_dns`]'s own, and a limit on memory.
//!
//! The first byte chooses whose message the others are: `0` a container's
//! query, anything else a server's answer.
#![no_main]

use casemate_fuzz::memory;
use libfuzzer_sys::fuzz_target;

/// The largest answer, once encoded and once on its way there.
const FLAT: usize = 1 << 20;
/// A record of twelve bytes may have a name of 254, by a pointer, and becomes a
/// structure of some hundreds, in a vector that doubles.
const PER_BYTE: usize = 256;

fuzz_target!(|data: &[u8]| {
    if let Some((selector, message)) = data.split_first() {
        memory::bounded(FLAT + PER_BYTE * message.len(), || match selector {
            b'0' => casemate_dns::fuzz_query(message),
            _ => drop(casemate_dns::fuzz_answer(message)),
        });
    }
});
