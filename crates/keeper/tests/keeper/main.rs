//! Keepers as their engine meets them, over the wire: the same bodies under
//! both isolations, with containers that ask for what the command line does
//! not offer yet.
//!
//! Needs what `make` builds (`CASEMATE_TEST_PREFIX`, or `out` in the checkout),
//! root, and for hyperv isolation QEMU.

mod bed;
mod files;
mod limits;
mod options;
mod pause;
mod restart;
