//! A layer on disk: its files as overlayfs wants to find them.
//!
//! A layer's tar stream is unpacked into a directory that nobody else uses yet.
//! Every name in it is resolved by the kernel beneath that directory
//! (`openat2` with `RESOLVE_IN_ROOT`), as Docker resolves it within a chroot:
//! symbolic links are followed, and lead nowhere else. Names are acted on by
//! their last component relative to their parent's descriptor.
//!
//! What is refused or left out: names above the root, hard links to what the
//! layer does not hold, types of entries that Docker does not know (errors);
//! extended attributes an image has no business with, first of all
//! `trusted.overlay.*` (dropped, so that no image can speak to overlayfs).

mod beneath;
mod error;
mod file;
mod path;
mod remove;
mod unpack;

pub use error::UnpackError;
pub(crate) use remove::remove_tree;
pub(crate) use unpack::unpack;

#[cfg(test)]
mod tests;
