//! What the end-to-end tests stand on: the staged build, an engine of its own
//! and a network of its own for each test, programs that are waited for with
//! deadlines, and the check that nothing is left behind.
//!
//! A test is one body for both isolations ([`both_modes!`]); it talks to the
//! product by its command line, as a user does, and knows none of its crates.
//! Everything here fails by panicking with a sentence: it is only for tests.
#![allow(clippy::print_stderr, reason = "a test says why it was skipped, and what a failed engine wrote down")]

pub mod archive;
pub mod conformance;
pub mod deadline;
pub mod description;
pub mod docker;
pub mod engine;
pub mod host;
pub mod http;
pub mod leaks;
pub mod listing;
pub mod modes;
pub mod network;
pub mod prefix;
pub mod process;
pub mod recorder;
pub mod registry;
pub mod ruleset;
pub mod terminal;
pub mod tree;

pub use deadline::{PATIENCE, eventually};
pub use docker::Docker;
pub use engine::{Container, Engine};
pub use modes::Isolation;
pub use process::{Finished, Spawned, ended_within};

/// For whoever reads of a failure: shown with it, and not otherwise.
pub fn note(text: &str) {
    eprintln!("{text}");
}
