//! A layer as a list of what it holds: written out as a tar stream, and laid
//! over others as the image specification says. The second does not read the
//! first, so that one can be held against the other.

use std::collections::BTreeMap;

use tar::{EntryType, Header};

use crate::archive::sha256;
use crate::listing::{Entry, Listing};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File(Vec<u8>),
    Dir,
    Symlink(String),
    /// To a file of the same layer.
    HardLink(String),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
}

#[derive(Clone, Debug)]
pub struct Node {
    /// Relative to the root, without a slash or dot in front.
    pub path: String,
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: u64,
    pub xattrs: Vec<(String, Vec<u8>)>,
}

impl Node {
    fn new(path: &str, kind: Kind, mode: u32) -> Self {
        Self { path: path.to_owned(), kind, mode, uid: 0, gid: 0, mtime: 1_600_000_000, xattrs: Vec::new() }
    }

    pub fn file(path: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(path, Kind::File(bytes.into()), 0o644)
    }

    pub fn dir(path: &str) -> Self {
        Self::new(path, Kind::Dir, 0o755)
    }

    pub fn symlink(path: &str, target: &str) -> Self {
        Self::new(path, Kind::Symlink(target.to_owned()), 0o777)
    }

    pub fn hard_link(path: &str, target: &str) -> Self {
        Self::new(path, Kind::HardLink(target.to_owned()), 0o644)
    }

    pub fn char_device(path: &str, major: u32, minor: u32) -> Self {
        Self::new(path, Kind::Char(major, minor), 0o666)
    }

    pub fn block_device(path: &str, major: u32, minor: u32) -> Self {
        Self::new(path, Kind::Block(major, minor), 0o660)
    }

    pub fn fifo(path: &str) -> Self {
        Self::new(path, Kind::Fifo, 0o600)
    }

    /// What takes this name away from the layers below.
    pub fn whiteout(path: &str) -> Self {
        let (dir, name) = split(path);
        Self::file(&join(dir, &format!(".wh.{name}")), "")
    }

    /// What takes away all that the layers below have in this directory.
    pub fn opaque(dir: &str) -> Self {
        Self::file(&join(dir, ".wh..wh..opq"), "")
    }

    pub fn mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    pub fn owner(self, uid: u32, gid: u32) -> Self {
        Self { uid, gid, ..self }
    }

    pub fn mtime(self, mtime: u64) -> Self {
        Self { mtime, ..self }
    }

    pub fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        self.xattrs.push((name.to_owned(), value.to_owned()));
        self
    }
}

fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// How a name that the header has no room for is written.
#[derive(Clone, Copy, Debug)]
pub enum LongNames {
    Gnu,
    Pax,
}

/// The nodes as a tar stream, names as they are.
pub fn tar(nodes: &[Node], long_names: LongNames) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for node in nodes {
        append(&mut builder, node, long_names);
    }
    builder.into_inner().expect("a tar stream in memory")
}

fn append(builder: &mut tar::Builder<Vec<u8>>, node: &Node, long_names: LongNames) {
    let mut header = Header::new_gnu();
    let (kind, link, data): (EntryType, &str, &[u8]) = match &node.kind {
        Kind::File(bytes) => (EntryType::Regular, "", bytes),
        Kind::Dir => (EntryType::Directory, "", b""),
        Kind::Symlink(target) => (EntryType::Symlink, target, b""),
        Kind::HardLink(target) => (EntryType::Link, target, b""),
        Kind::Char(..) => (EntryType::Char, "", b""),
        Kind::Block(..) => (EntryType::Block, "", b""),
        Kind::Fifo => (EntryType::Fifo, "", b""),
    };
    if let Kind::Char(major, minor) | Kind::Block(major, minor) = node.kind {
        header.set_device_major(major).and_then(|()| header.set_device_minor(minor)).expect("room for a device");
    }
    header.set_entry_type(kind);
    header.set_mode(node.mode);
    header.set_uid(node.uid.into());
    header.set_gid(node.gid.into());
    header.set_mtime(node.mtime);
    header.set_size(data.len() as u64);
    let mut pax: Vec<(String, Vec<u8>)> =
        node.xattrs.iter().map(|(name, value)| (format!("SCHILY.xattr.{name}"), value.clone())).collect();
    let mut field = |bytes: &mut [u8], text: &str, key: &str, typeflag: u8| {
        let fits = text.len().min(bytes.len());
        bytes[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        if text.len() > fits {
            match long_names {
                LongNames::Pax => pax.push((key.to_owned(), text.as_bytes().to_owned())),
                LongNames::Gnu => append_long_name(builder, text, typeflag),
            }
        }
    };
    let fields = header.as_old_mut();
    field(&mut fields.name, &node.path, "path", b'L');
    field(&mut fields.linkname, link, "linkpath", b'K');
    if !pax.is_empty() {
        let pairs = pax.iter().map(|(key, value)| (key.as_str(), value.as_slice()));
        builder.append_pax_extensions(pairs).expect("a tar stream in memory");
    }
    header.set_cksum();
    builder.append(&header, data).expect("a tar stream in memory");
}

/// GNU's way: an entry that holds nothing but the next one's name.
fn append_long_name(builder: &mut tar::Builder<Vec<u8>>, text: &str, typeflag: u8) {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..13].copy_from_slice(b"././@LongLink");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(EntryType::new(typeflag));
    header.set_size(text.len() as u64 + 1);
    header.set_cksum();
    let bytes = [text.as_bytes(), b"\0"].concat();
    builder.append(&header, bytes.as_slice()).expect("a tar stream in memory");
}

/// What a container sees of these layers, lowest first, below `top`.
pub fn laid_over(layers: &[&[Node]], top: &str) -> Listing {
    let mut seen: BTreeMap<String, (Node, String)> = BTreeMap::new();
    for (number, layer) in layers.iter().enumerate() {
        for node in *layer {
            let (dir, name) = split(&node.path);
            if name == ".wh..wh..opq" {
                remove_below(&mut seen, dir);
            } else if let Some(hidden) = name.strip_prefix(".wh.") {
                let hidden = join(dir, hidden);
                remove_below(&mut seen, &hidden);
                seen.remove(&hidden);
            }
        }
        for node in layer.iter().filter(|node| !split(&node.path).1.starts_with(".wh.")) {
            if node.kind != Kind::Dir {
                remove_below(&mut seen, &node.path);
            }
            let entry = match &node.kind {
                Kind::HardLink(target) => {
                    let (linked, group) = seen[target].clone();
                    (Node { path: node.path.clone(), ..linked }, group)
                }
                _ => (node.clone(), format!("{number}:{}", node.path)),
            };
            seen.insert(node.path.clone(), entry);
        }
    }
    let groups: Vec<(String, String)> = seen.iter().map(|(path, (_, group))| (path.clone(), group.clone())).collect();
    let below = |path: &str| path == top || path.strip_prefix(top).is_some_and(|rest| rest.starts_with('/'));
    let within = |path: &str| path.strip_prefix(top).map(|rest| format!(".{rest}")).unwrap_or_default();
    seen.iter()
        .filter(|(path, _)| below(path))
        .map(|(path, (node, group))| {
            let same = groups.iter().filter(|(other, other_group)| other != path && other_group == group);
            let links = same.map(|(other, _)| within(other)).collect();
            (within(path), entry(node, links))
        })
        .collect()
}

fn remove_below(seen: &mut BTreeMap<String, (Node, String)>, dir: &str) {
    seen.retain(|path, _| path.strip_prefix(dir).is_none_or(|rest| !rest.starts_with('/')));
}

fn entry(node: &Node, links: Vec<String>) -> Entry {
    let (type_bits, content, size, device) = match &node.kind {
        Kind::File(bytes) => (0o100_000, sha256(bytes), Some(bytes.len() as u64), None),
        Kind::Dir => (0o040_000, String::new(), None, None),
        Kind::Symlink(target) => (0o120_000, target.clone(), None, None),
        Kind::Char(major, minor) => (0o020_000, String::new(), None, Some((*major, *minor))),
        Kind::Block(major, minor) => (0o060_000, String::new(), None, Some((*major, *minor))),
        Kind::Fifo => (0o010_000, String::new(), None, None),
        Kind::HardLink(_) => unreachable!("links are resolved when they are laid over"),
    };
    Entry {
        mode: type_bits | node.mode,
        uid: node.uid,
        gid: node.gid,
        mtime: node.mtime,
        size,
        device,
        content,
        links,
        xattrs: node.xattrs.iter().cloned().collect(),
    }
}
