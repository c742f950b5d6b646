//! A container's own changes as a layer of an image.

use std::io::Write;

use crate::compare::{Change, ChangeKind, Layers, Purpose, compare};
use crate::pack::{Holes, PackError, Packer};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Packs what the container has of its own, and marks of what it deleted.
///
/// A name that begins with `.wh.` cannot be in a layer: it would delete another
/// file. Such files are left out.
pub fn pack_layer<W: Write>(layers: &Layers, out: W) -> Result<(), PackError> {
    let mut packer = Packer::new(out, Holes::Kept);
    compare(layers, Purpose::Layer, &mut |change| add(&mut packer, change))?;
    packer.finish()
}

fn add<W: Write>(packer: &mut Packer<W>, change: Change<'_>) -> Result<(), PackError> {
    let Change { kind, path, now, opaque } = change;
    if path.split(|byte| *byte == b'/').any(|name| name.starts_with(WHITEOUT)) {
        return Ok(());
    }
    let Some((node, stat)) = now else { return Ok(()) };
    if kind == ChangeKind::Deleted {
        let name = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
        return packer.add_mark([&path[..name], WHITEOUT, &path[name..]].concat(), stat.st_mtime);
    }
    packer.add(path.to_vec(), node, stat)?;
    if opaque {
        packer.add_mark([path, b"/", OPAQUE].concat(), stat.st_mtime)?;
    }
    Ok(())
}
