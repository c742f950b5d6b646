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
        fs::create_dir(upper)?;
        look_like(upper, topmost)?;
    }
    fs::create_dir_all(work)
}

/// Gives `upper` the mode and owner of `topmost`, if it has others.
pub fn look_like(upper: &Path, topmost: &Path) -> io::Result<()> {
    let (has, wanted) = (fs::metadata(upper)?, fs::metadata(topmost)?);
    if (has.uid(), has.gid()) != (wanted.uid(), wanted.gid()) {
        chown(upper, Some(wanted.uid()), Some(wanted.gid()))?;
    }
    if has.mode() != wanted.mode() {
        fs::set_permissions(upper, Permissions::from_mode(wanted.mode() & 0o7777))?;
    }
    Ok(())
}
