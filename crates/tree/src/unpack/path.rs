//! Names in a layer, checked: where an entry goes and what its name means.

use super::UnpackError;
use crate::error::lossy;

/// The longest path the kernel takes, without its NUL.
const PATH_MAX: usize = 4095;

const WHITEOUT: &[u8] = b".wh.";
/// Names that aufs kept for itself, among them the mark of an opaque directory.
const WHITEOUT_META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Components from the layer's root, none of them empty, `.` or `..`, none
/// with a NUL. The root itself has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LayerPath {
    joined: Vec<u8>,
}

/// What an entry of that name is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Entry(LayerPath),
    /// Nothing of that name shines through from the layers below.
    Whiteout(LayerPath),
    /// Nothing shines through into that directory.
    Opaque(LayerPath),
    /// Of aufs; no other file system has a use for it.
    Ignored,
}

impl LayerPath {
    /// A leading slash means the layer's root; `..` is taken off by name, as
    /// Docker does before it looks at the file system.
    pub(super) fn parse(raw: &[u8]) -> Result<Self, UnpackError> {
        let mut components: Vec<&[u8]> = Vec::new();
        if raw.contains(&0) {
            return Err(UnpackError::Name { path: lossy(raw) });
        }
        for component in raw.split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    components.pop().ok_or_else(|| UnpackError::Escape { path: lossy(raw) })?;
                }
                name => components.push(name),
            }
        }
        let joined = components.join(&b'/');
        if joined.len() > PATH_MAX {
            return Err(UnpackError::Name { path: lossy(raw) });
        }
        Ok(Self { joined })
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.joined
    }

    pub(super) fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.joined.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// The parent and the last component; none for the root.
    pub(super) fn split(&self) -> Option<(Self, &[u8])> {
        if self.joined.is_empty() {
            return None;
        }
        let start = self.joined.iter().rposition(|byte| *byte == b'/');
        let (parent, name) = match start {
            Some(slash) => (&self.joined[..slash], &self.joined[slash + 1..]),
            None => (&[][..], &self.joined[..]),
        };
        Some((Self { joined: parent.to_owned() }, name))
    }

    pub(super) fn child(&self, name: &[u8]) -> Self {
        let separator: &[u8] = if self.joined.is_empty() { b"" } else { b"/" };
        Self { joined: [&self.joined, separator, name].concat() }
    }

    pub(super) fn meaning(self) -> Result<Meaning, UnpackError> {
        let Some((parent, name)) = self.split() else {
            return Ok(Meaning::Entry(self));
        };
        if parent.components().any(|component| component.starts_with(WHITEOUT_META)) {
            return Ok(Meaning::Ignored);
        }
        if name == OPAQUE {
            return Ok(Meaning::Opaque(parent));
        }
        if name.starts_with(WHITEOUT_META) {
            return Ok(Meaning::Ignored);
        }
        match name.strip_prefix(WHITEOUT) {
            Some(b"" | b"." | b"..") => Err(UnpackError::Whiteout { path: lossy(&self.joined) }),
            Some(hidden) => Ok(Meaning::Whiteout(parent.child(hidden))),
            None => Ok(Meaning::Entry(self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> LayerPath {
        LayerPath::parse(raw.as_bytes()).unwrap()
    }

    #[test]
    fn names_are_cleaned_like_dockers() {
        for (raw, clean) in [
            ("a/b", "a/b"),
            ("./a//b/", "a/b"),
            ("/etc/passwd", "etc/passwd"),
            ("a/../b", "b"),
            ("a/b/../../c", "c"),
            ("./", ""),
            ("/", ""),
        ] {
            assert_eq!(parse(raw).as_bytes(), clean.as_bytes(), "{raw}");
        }
        for escape in ["..", "../a", "a/../../b", "/../etc", "./.."] {
            assert!(matches!(LayerPath::parse(escape.as_bytes()), Err(UnpackError::Escape { .. })), "{escape}");
        }
        assert!(matches!(LayerPath::parse(b"a\0b"), Err(UnpackError::Name { .. })));
        assert!(matches!(LayerPath::parse(&b"a/".repeat(3000)), Err(UnpackError::Name { .. })));
    }

    #[test]
    fn whiteouts_are_told_by_their_names() {
        let meaning = |raw: &str| parse(raw).meaning().unwrap();
        assert_eq!(meaning("a/.wh.b"), Meaning::Whiteout(parse("a/b")));
        assert_eq!(meaning(".wh.b"), Meaning::Whiteout(parse("b")));
        assert_eq!(meaning("a/.wh..wh..opq"), Meaning::Opaque(parse("a")));
        assert_eq!(meaning(".wh..wh..opq"), Meaning::Opaque(parse("")));
        assert_eq!(meaning(".wh..wh.plnk/1.2"), Meaning::Ignored);
        assert_eq!(meaning("a/.wh..wh.aufs"), Meaning::Ignored);
        assert_eq!(meaning("a/.whale"), Meaning::Entry(parse("a/.whale")));
        assert_eq!(meaning("."), Meaning::Entry(parse("")));
        for bad in [".wh.", "a/.wh..", "a/.wh..."] {
            assert!(matches!(parse(bad).meaning(), Err(UnpackError::Whiteout { .. })), "{bad}");
        }
    }
}
