//! The engine's directories: made if missing, and root's alone.
//!
//! Whoever else could write in them could give the engine images, records and
//! compiled filters of his own. Where that may have happened the engine does not
//! start; closing the directory would not undo it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use casemate_record::Layout;

use crate::error::OpenError;
use crate::lock;

pub(crate) fn prepare(layout: &Layout) -> Result<(), OpenError> {
    // The user named these, and may have them read: what is in them is closed.
    for base in [layout.root(), layout.run()] {
        mode_of_own(base)?;
    }
    for dir in [
        layout.containers(),
        layout.images(),
        layout.networks(),
        layout.scratch_cache(),
        layout.running(),
        layout.networks_up(),
    ] {
        if mode_of_own(&dir)? & 0o077 != 0 {
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(&dir, private).map_err(|source| OpenError::Dir { path: dir, source })?;
        }
    }
    Ok(())
}

/// The directory's mode. It is this user's, and nobody else can write in it.
fn mode_of_own(dir: &Path) -> Result<u32, OpenError> {
    let unusable = |source| OpenError::Dir { path: dir.to_owned(), source };
    lock::make_private_dir(dir).map_err(unusable)?;
    let metadata = fs::metadata(dir).map_err(unusable)?;
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != rustix::process::geteuid().as_raw() {
        return Err(OpenError::Owner { path: dir.to_owned(), owner });
    }
    if mode & 0o022 != 0 {
        return Err(OpenError::Writable { path: dir.to_owned(), mode });
    }
    Ok(mode)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use casemate_model::Classify;

    use super::*;

    fn layout(base: &Path) -> Layout {
        Layout::new(base.join("root"), base.join("run"))
    }

    fn make(path: &Path, mode: u32) {
        fs::create_dir_all(path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: PathBuf) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn missing_directories_are_made_private_and_loose_ones_closed() {
        let base = tempfile::tempdir().unwrap();
        let layout = layout(base.path());
        make(layout.root(), 0o755);
        make(&layout.containers(), 0o755);
        prepare(&layout).unwrap();
        // What the user made stays as he made it.
        assert_eq!(mode(layout.root().to_owned()), 0o755);
        for dir in [layout.run().to_owned(), layout.containers(), layout.images(), layout.running()] {
            assert_eq!(mode(dir), 0o700);
        }
    }

    #[test]
    fn what_others_can_write_in_is_refused() {
        for of_others in [Layout::root, Layout::run].map(|dir| dir as fn(&Layout) -> &Path) {
            for mode in [0o777, 0o1777, 0o720] {
                let base = tempfile::tempdir().unwrap();
                let layout = layout(base.path());
                let dir = of_others(&layout);
                make(dir, mode);
                let error = prepare(&layout).unwrap_err();
                assert!(matches!(&error, OpenError::Writable { path, .. } if path == dir), "{error}");
                assert!(error.hint().unwrap().ends_with(&format!("chmod go-w {}", dir.display())));
            }
        }
        let base = tempfile::tempdir().unwrap();
        let layout = layout(base.path());
        make(&layout.images(), 0o770);
        assert!(matches!(prepare(&layout), Err(OpenError::Writable { .. })));
    }

    #[test]
    fn what_belongs_to_others_is_refused() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let base = tempfile::tempdir().unwrap();
        let layout = layout(base.path());
        make(layout.run(), 0o700);
        std::os::unix::fs::chown(layout.run(), Some(1000), None).unwrap();
        let error = prepare(&layout).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("{} belongs to user 1000: what is in it cannot be trusted", layout.run().display())
        );
        assert!(error.hint().unwrap().contains(&format!("chown root {}", layout.run().display())));
    }
}
