//! What a container sees of a directory, as a container says it.

use std::collections::BTreeMap;

/// Path within the directory (`./…`, or `.` for itself) to what is there.
pub type Listing = BTreeMap<String, Entry>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// With the type's bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u64,
    /// Of files.
    pub size: Option<u64>,
    pub device: Option<(u32, u32)>,
    /// Digest of a file, target of a link.
    pub content: String,
    /// Other names of the same file.
    pub links: Vec<String>,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

/// A script for a container with busybox and getfattr that tells all of the
/// directory, for [`parse`].
pub fn script(dir: &str) -> String {
    format!(
        r#"set -e
        cd {dir}
        echo '== stat'
        find . -exec stat -c '%f|%u|%g|%s|%Y|%t|%T|%d:%i|%n' {{}} +
        echo '== sha256'
        find . -type f -exec sha256sum {{}} +
        echo '== links'
        find . -type l -exec sh -c 'for f; do printf "%s|%s\n" "$f" "$(readlink "$f")"; done' sh {{}} +
        echo '== xattrs'
        getfattr --recursive --physical --no-dereference --dump --match=- --encoding=hex .
        "#
    )
}

const TYPE: u32 = 0o170_000;
const REGULAR: u32 = 0o100_000;

/// What the script printed.
pub fn parse(text: &str) -> Listing {
    let mut listing = Listing::new();
    let mut inodes: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut section = "";
    let mut described = String::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("== ") {
            section = name;
            continue;
        }
        match section {
            "stat" => {
                let (path, inode, entry) = parse_stat(line);
                if entry.mode & TYPE == REGULAR {
                    inodes.entry(inode).or_default().push(path.clone());
                }
                listing.insert(path, entry);
            }
            "sha256" => {
                let (digest, path) = line.split_once("  ").expect("a digest and a name");
                entry(&mut listing, path).content = digest.to_owned();
            }
            "links" => {
                let (path, target) = line.split_once('|').expect("a link and its target");
                entry(&mut listing, path).content = target.to_owned();
            }
            "xattrs" => match (line.strip_prefix("# file: "), line.split_once("=0x")) {
                (Some(path), _) => described = if path == "." { ".".to_owned() } else { format!("./{path}") },
                (None, Some((name, value))) => {
                    entry(&mut listing, &described).xattrs.insert(name.to_owned(), unhex(value));
                }
                (None, None) if line.is_empty() => {}
                // getfattr has no value to write for an empty one.
                (None, None) => {
                    entry(&mut listing, &described).xattrs.insert(line.to_owned(), Vec::new());
                }
            },
            _ => panic!("{line:?} is before the first section"),
        }
    }
    for mut same in inodes.into_values().filter(|paths| paths.len() > 1) {
        same.sort();
        for path in &same {
            let others = same.iter().filter(|other| *other != path).cloned().collect();
            entry(&mut listing, path).links = others;
        }
    }
    listing
}

fn entry<'a>(listing: &'a mut Listing, path: &str) -> &'a mut Entry {
    listing.get_mut(path).unwrap_or_else(|| panic!("{path:?} was not listed"))
}

fn parse_stat(line: &str) -> (String, String, Entry) {
    let fields: Vec<&str> = line.splitn(9, '|').collect();
    let [mode, uid, gid, size, mtime, major, minor, inode, path] = fields[..] else {
        panic!("{line:?} is no line of stat");
    };
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text:?} in {line:?}"));
    let hex = |text: &str| u32::from_str_radix(text, 16).unwrap_or_else(|_| panic!("{text:?} in {line:?}"));
    let mode = hex(mode);
    let is_device = matches!(mode & TYPE, 0o020_000 | 0o060_000);
    let entry = Entry {
        mode,
        uid: number(uid) as u32,
        gid: number(gid) as u32,
        mtime: number(mtime),
        size: (mode & TYPE == REGULAR).then(|| number(size)),
        device: is_device.then(|| (hex(major), hex(minor))),
        content: String::new(),
        links: Vec::new(),
        xattrs: BTreeMap::new(),
    };
    (path.to_owned(), inode.to_owned(), entry)
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("hexadecimal digits");
        u8::from_str_radix(pair, 16).expect("hexadecimal digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// Fails with the differences only: a listing is long.
#[track_caller]
pub fn assert_same(actual: &Listing, expected: &Listing) {
    let mut differences = Vec::new();
    for path in actual.keys().chain(expected.keys()) {
        let (is, should) = (actual.get(path), expected.get(path));
        let line = format!("{path}\n    is     {is:?}\n    should {should:?}");
        if is != should && !differences.contains(&line) {
            differences.push(line);
        }
    }
    assert!(differences.is_empty(), "{} paths differ:\n{}", differences.len(), differences.join("\n"));
}
