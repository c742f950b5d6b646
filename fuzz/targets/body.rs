//! The oracles are [`casemate_api::fuzz_body`]'s own, and a limit on memory.
#![no_main]

use casemate_fuzz::{memory, mutate};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// Words are copied into checked types, and into errors that repeat them.
const FLAT: usize = 1 << 20;
/// A list of empty words holds 24 bytes for each of two or three, while a
/// vector that grows holds its double and its half.
const PER_BYTE: usize = 64;

fuzz_target!(|data: &[u8]| memory::bounded(FLAT + PER_BYTE * data.len(), || casemate_api::fuzz_body(data)));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    // One in four is libFuzzer's own, which knows no JSON.
    let changed = if seed.is_multiple_of(4) { None } else { mutate::message(&data[..size], seed) };
    match changed {
        Some(message) if message.len() <= max_size => {
            data[..message.len()].copy_from_slice(&message);
            message.len()
        }
        _ => fuzzer_mutate(data, size, max_size),
    }
});
