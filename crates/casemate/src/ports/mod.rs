//! Ports on the command line: what `-p` and `--expose` ask for. No I/O.

mod asked;

pub(crate) use asked::{Exposed, Published};

/// What has ports, if nothing is said.
const DEFAULT_PROTOCOL: &str = "tcp";

/// A container's port as it is written: its digits, and its protocol.
fn split_protocol(text: &str) -> (&str, String) {
    let (port, protocol) = text.split_once('/').unwrap_or((text, ""));
    let protocol = if protocol.is_empty() { DEFAULT_PROTOCOL } else { protocol };
    (port, protocol.to_ascii_lowercase())
}
