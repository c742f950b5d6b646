//! Trees of files that a stranger made, and tar streams of them: what layers of
//! images and copies into and out of containers have in common.
//!
//! Nothing here leaves the directory it was given: names are resolved by the
//! kernel beneath it (`openat2` with `RESOLVE_IN_ROOT`), symbolic links lead
//! nowhere else, and what was found is acted on by its descriptor, not by its
//! name. So it does not matter that somebody else changes the tree meanwhile:
//! the result may then be anything that the other could have made alone, and
//! nothing outside is read or changed. What is neither a file nor a directory
//! is never opened. Everything is synchronous.

pub mod beneath;
mod compare;
mod error;
#[cfg(any(test, feature = "fixture"))]
pub mod fixture;
mod node;
mod pack;
mod pack_layer;
mod remove;
mod size;
mod tarball;
mod unpack;
mod walk;
mod xattr;

pub use compare::{ChangeKind, Layers, MountPoint, list_changes};
pub use pack::{PackError, pack, pack_below};
pub use pack_layer::pack_layer;
pub use remove::{remove, remove_tree};
pub use size::size;
pub use tarball::{Entry, EntryKind, Mtime, Segment, SparseMap, TarError, TarReader, TarWriter, Xattr};
pub use unpack::{CopyRules, Limits, UnpackError, Unpacked, unpack_copy, unpack_layer};
