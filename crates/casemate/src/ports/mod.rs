//! Ports on the command line: what `-p` and `--expose` ask for, and how what is
//! published is shown. No I/O.

mod asked;
mod shown;

pub(crate) use asked::{Exposed, Published, number};
pub(crate) use shown::{address, summary};

/// What has ports, if nothing is said.
const DEFAULT_PROTOCOL: &str = "tcp";

/// A container's port as it is written: its digits, and its protocol.
pub(crate) fn split_protocol(text: &str) -> (&str, String) {
    let (port, protocol) = text.split_once('/').unwrap_or((text, ""));
    let protocol = if protocol.is_empty() { DEFAULT_PROTOCOL } else { protocol };
    (port, protocol.to_ascii_lowercase())
}
