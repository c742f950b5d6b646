//! Images: their names, the store that holds them, their layers on disk.
//!
//! A [`Store`] takes images from archives and gives each layer in two forms
//! made once: a directory in overlayfs form for containers on the host's kernel,
//! and an EROFS image of that directory for utility VMs. It is synchronous;
//! callers that must not wait use a thread. A [`Puller`] brings images from
//! registries; it is asynchronous and uses threads itself.
//!
//! Archives and registries are anyone's, so nothing in them is believed: every
//! digest is computed, every name is resolved beneath the directory it belongs
//! to, every quantity has a limit, and every failure is a typed error that
//! leaves the store as it was. The modules `archive`, `pull` and `store`,
//! and `casemate_tree`, say how.

mod archive;
mod changes;
mod compression;
mod configuration;
mod disk;
mod erofs;
#[cfg(test)]
mod fixture;
mod fuzz;
mod hash;
mod image;
mod limits;
mod manifest;
mod pattern;
mod platform;
mod pull;
mod reference;
mod store;

pub use archive::ArchiveError;
pub use casemate_tree::{TarError, UnpackError};
pub use changes::ChangeError;
pub use compression::{Compression, DecompressError, Decompressed, SIGNATURE, decompress};
pub use configuration::ConfigurationError;
pub use disk::DiskError;
pub use erofs::WriteError;
pub use fuzz::fuzz_archive;
pub use image::{Healthcheck, Image, ImageConfig, Step};
pub use platform::{ParsePlatformError, Platform};
pub use pull::{LayerProgress, PullError, PullProgress, PullRequest, Pulled, Puller};
pub use reference::{ParseReferenceError, Reference};
pub use store::{
    ErofsError, ErofsImage, HistoryRow, Hold, ImageRow, ImageSummary, ImportError, ImportRequest, LabelFilter,
    ListFilter, LoadError, LoadProgress, LoadedImage, MakeRequest, OpenError, PruneFilter, Pruned, RecordsError,
    RemoveError, Removed, ResolveError, SaveError, Store, TagError, User, Users,
};
