//! Records of PAX extended headers: `LENGTH KEY=VALUE\n`, where the length
//! counts the whole record, so that a value may hold any bytes.

const XATTR: &[u8] = b"SCHILY.xattr.";

/// In the order they came; a later record of a key replaces an earlier one,
/// but for the keys of sparse format 0.0, which repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PaxRecords {
    records: Vec<(Vec<u8>, Vec<u8>)>,
}

impl PaxRecords {
    /// None if the bytes are not such records.
    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let mut records = Vec::new();
        while !bytes.is_empty() {
            // Some writers fill the block with zeros and count them in.
            if bytes.iter().all(|byte| *byte == 0) {
                break;
            }
            let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
            let length = usize::try_from(super::entry::parse_number(&bytes[..space])?).ok()?;
            let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
            let equals = record.iter().position(|byte| *byte == b'=')?;
            if equals == 0 {
                return None;
            }
            records.push((record[..equals].to_owned(), record[equals + 1..].to_owned()));
            bytes = &bytes[length..];
        }
        Some(Self { records })
    }

    /// The value in force. An empty one takes back what came before it.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let (_, value) = self.records.iter().rev().find(|(known, _)| known == key)?;
        (!value.is_empty()).then_some(value.as_slice())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.records.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }

    /// Names without their prefix, and values, which may well be empty.
    pub(super) fn xattrs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.iter().filter_map(|(key, value)| Some((key.strip_prefix(XATTR)?, value)))
    }

    /// Takes over from a global header what can hold for many entries: owner
    /// and time. A name, a size, a sparse map or an attribute's value for all
    /// entries that follow makes no sense, and Docker ignores it too.
    pub(super) fn merge_attributes(&mut self, other: Self) {
        for (key, value) in other.records {
            if matches!(key.as_slice(), b"uid" | b"gid" | b"mtime") {
                self.records.retain(|(known, _)| *known != key);
                self.records.push((key, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        [length.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
    }

    #[test]
    fn values_hold_any_bytes() {
        let value = b"a\n=\0 12 b=c\n\xff";
        let bytes = [record(b"SCHILY.xattr.user.x", value), record(b"path", b"p")].concat();
        let records = PaxRecords::parse(&bytes).unwrap();
        assert_eq!(records.xattrs().collect::<Vec<_>>(), [(&b"user.x"[..], &value[..])]);
        assert_eq!(records.get(b"path"), Some(&b"p"[..]));
        assert_eq!(records.get(b"none"), None);
    }

    #[test]
    fn an_empty_value_takes_back() {
        let bytes = [record(b"uid", b"5"), record(b"uid", b"")].concat();
        assert_eq!(PaxRecords::parse(&bytes).unwrap().get(b"uid"), None);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in
            ["5 a=b", "9 a=b\n", "x a=b\n", "6 ab\n\n", "4 =\n", "0 \n", "99999999999999999999999 a=b\n", " a=b\n"]
        {
            assert_eq!(PaxRecords::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn records_read_back(pairs in prop::collection::vec(("[a-zA-Z.]{1,20}", prop::collection::vec(any::<u8>(), 1..200)), 0..8)) {
            let bytes: Vec<u8> = pairs.iter().flat_map(|(key, value)| record(key.as_bytes(), value)).collect();
            let records = PaxRecords::parse(&bytes).unwrap();
            let read: Vec<_> = records.iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
            let written: Vec<_> = pairs.into_iter().map(|(k, v)| (k.into_bytes(), v)).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = PaxRecords::parse(&bytes);
        }
    }
}
