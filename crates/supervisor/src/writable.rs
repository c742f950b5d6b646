//! The writable part of a container's root.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

/// Makes the two directories that overlayfs writes to, unless a start before
/// this one has. The root directory of the whole has the mode and owner of
/// `upper`'s, so these are taken over from the topmost layer.
pub fn make_writable_layer(upper: &Path, work: &Path, topmost: &Path) -> io::Result<()> {
    if !upper.try_exists()? {
        let root = fs::metadata(topmost)?;
        fs::create_dir(upper)?;
        chown(upper, Some(root.uid()), Some(root.gid()))?;
        fs::set_permissions(upper, Permissions::from_mode(root.mode() & 0o7777))?;
    }
    fs::create_dir_all(work)
}
