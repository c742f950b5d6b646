//! The oracles are [`casemate_image::fuzz_archive`]'s own, and a limit on
//! memory.
#![no_main]

use casemate_fuzz::memory;

/// What the target unpacks is limited to four MiB; files are held whole, in
/// vectors that double as they grow. (zstd's own window is not counted here.)
const LIMIT: usize = 64 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| memory::bounded(LIMIT, || casemate_image::fuzz_archive(data)));
