//! Times, sizes and ids as Docker shows them.

use jiff::Timestamp;

pub(crate) use casemate_api::human::size;

pub(crate) fn since(time: Timestamp) -> String {
    casemate_api::human::duration(Timestamp::now().as_second() - time.as_second())
}

/// The first twelve digits, without an algorithm's name.
pub(crate) fn short_id(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}
