//! Classes of failures of the kernel's.

use std::io;

use casemate_model::ErrorClass;

/// The class of a failure on a filesystem of this kernel's.
pub(crate) fn class_of(error: &io::Error) -> ErrorClass {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
            ErrorClass::ResourceExhausted
        }
        _ => ErrorClass::Internal,
    }
}

pub(crate) fn lossy(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
