//! `/containers`: one file for each group of verbs.

mod attach;
mod commit;
mod config;
mod create;
mod files;
mod host_config;
mod inspect;
mod lifecycle;
mod list;
mod logs;
mod networking;
mod resources;
mod stats;
mod top;
mod wait;

pub(crate) use attach::{attach, attach_websocket};
pub(crate) use commit::commit;
pub(crate) use create::{create, request};
pub(crate) use files::{changes, copy_in, copy_out, export, stat};
pub use inspect::casemate;
pub(crate) use inspect::inspect;
pub(crate) use lifecycle::{kill, prune, remove, rename, resize, restart, size, start, stop};
use list::disk_usage;
pub(crate) use list::{list, rows_with_size};
pub(crate) use logs::logs;
pub(crate) use networking::EndpointSettings;
pub(crate) use resources::{pause, unpause, update};
pub(crate) use stats::stats;
pub(crate) use top::top;
pub(crate) use wait::wait;

/// Go's zero time, which Docker shows for what has not happened.
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";
