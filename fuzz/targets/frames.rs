#![no_main]

use casemate_fuzz::{frames, mutate, seeds};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

fuzz_target!(init: seeds::assert_fresh(), |data: &[u8]| frames::check(data));

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
