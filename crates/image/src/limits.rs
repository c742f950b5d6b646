//! How much of an archive or a layer is accepted. What a real image has is
//! orders of magnitude below each of these.

#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Bytes of one JSON document; registries refuse manifests above this.
    pub(crate) json: u64,
    /// Files, links and directories of an archive. An image has a few, a layer
    /// in the old layout has three.
    pub(crate) archive_entries: usize,
    /// Bytes of a name in an archive.
    pub(crate) archive_path: usize,
    /// Images of an archive, and names of one image.
    pub(crate) images: usize,
    /// Docker has its limit at 127, overlayfs at 500 lower directories.
    pub(crate) layers: usize,
    /// Entries of one layer. Each may become an inode of the host.
    pub(crate) layer_entries: u64,
    /// Bytes of one tar stream, uncompressed: what a small compressed file may
    /// make the host process.
    pub(crate) unpacked: u64,
    /// Bytes of directory names in a layer, held until their times are set.
    pub(crate) directory_names: usize,
}

impl Limits {
    /// Those of one layer's stream.
    pub(crate) fn layer(&self) -> casemate_tree::Limits {
        casemate_tree::Limits {
            entries: self.layer_entries,
            bytes: self.unpacked,
            directory_names: self.directory_names,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            json: 4 << 20,
            archive_entries: 1 << 16,
            archive_path: 1024,
            images: 1024,
            layers: 500,
            layer_entries: 1 << 23,
            unpacked: 1 << 40,
            directory_names: 64 << 20,
        }
    }
}
