//! Containers on this kernel, compared with what they should be and, where
//! runc is installed, with what runc makes of the same description.
//!
//! Each test runs in a process of its own (one thread, a deadline), one after
//! the other; after each, the host must be as it was before.

mod exec;
mod files;
mod harness;
mod hostile;
mod image;
mod lifecycle;
mod limits;
mod options;
mod oracle;
mod reaper;
mod start;
mod terminal;

use harness::Test;

fn main() -> std::process::ExitCode {
    let tests: Vec<Test> = [
        start::TESTS,
        options::TESTS,
        exec::TESTS,
        terminal::TESTS,
        limits::TESTS,
        lifecycle::TESTS,
        reaper::TESTS,
        files::TESTS,
        hostile::TESTS,
        oracle::TESTS,
    ]
    .concat();
    harness::main(&tests)
}
