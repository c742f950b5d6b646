//! Streams that are not what they seem.

use std::io::Read;

use proptest::prelude::*;
use tar::EntryType;

use super::{EntryKind, TarError, TarReader};
use crate::fixture::{Item, file, hard_link, tar};

/// Path, kind, size, data.
type Found = (String, EntryKind, u64, Vec<u8>);

fn read(bytes: &[u8]) -> Result<Vec<Found>, TarError> {
    let mut reader = TarReader::new(bytes);
    let mut found = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).map_err(|e| reader.read_error(e))?;
        found.push((String::from_utf8_lossy(&entry.path).into_owned(), entry.kind, entry.size, data));
    }
    Ok(found)
}

#[test]
fn entries_and_their_data() {
    let linked = Item { data: b"ignored size", ..hard_link("l", "a") };
    let mut with_size = tar(&[linked, file("b", b"b")]);
    // A hard link has no data, whatever its header says of its size.
    with_size.drain(512..1024);
    let found = read(&[&tar(&[file("a", &[5; 513])])[..1536], &with_size].concat()).unwrap();
    assert_eq!(found[0], ("a".into(), EntryKind::File, 513, vec![5; 513]));
    assert_eq!(found[1], ("l".into(), EntryKind::HardLink { target: b"a".to_vec() }, 0, vec![]));
    assert_eq!(found[2], ("b".into(), EntryKind::File, 1, b"b".to_vec()));
}

#[test]
fn the_end_may_be_bare_or_padded() {
    let one = tar(&[file("a", b"a")]);
    for end in [&one[..1024], &one[..1536], &one, &[&one[..], &[0; 8192]].concat()] {
        assert_eq!(read(end).unwrap().len(), 1);
    }
    assert!(matches!(read(&[&one[..1536], &one[..1024]].concat()), Err(TarError::Header { position: 1024 })));
    assert_eq!(read(b"").unwrap().len(), 0);
}

#[test]
fn a_size_in_an_extended_header_counts() {
    let mut bytes = tar(&[Item { pax: &[("size", b"600")], ..file("a", &[1; 600]) }, file("b", b"b")]);
    // The header's own size is nonsense then.
    let header = 1024;
    bytes[header + 124..header + 136].copy_from_slice(b"00000000000\0");
    let sum: u32 = (0..512).map(|i| if (148..156).contains(&i) { 32 } else { u32::from(bytes[header + i]) }).sum();
    bytes[header + 148..header + 156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let found = read(&bytes).unwrap();
    assert_eq!((found[0].2, found[0].3.len(), found[1].0.as_str()), (600, 600, "b"));
}

#[test]
fn extensions_have_limits_and_need_an_entry() {
    let large = vec![b'x'; (1 << 20) + 1];
    let long = Item { kind: EntryType::GNULongName, ..file("././@LongLink", &large) };
    assert!(matches!(read(&tar(&[long])), Err(TarError::TooLarge { .. })));
    let alone = Item { kind: EntryType::GNULongName, ..file("././@LongLink", b"name\0") };
    assert!(matches!(read(&tar(&[alone])), Err(TarError::Truncated { .. })));
    let found = read(&tar(&[alone, file("short", b"x")])).unwrap();
    assert_eq!(found[0].0, "name");
    let malformed = Item { kind: EntryType::XHeader, ..file("x", b"12 path=x") };
    assert!(matches!(read(&tar(&[malformed, file("a", b"")])), Err(TarError::Extended { position: 0 })));
}

#[test]
fn sparse_maps_must_fit() {
    let one_zero = |map: &str, size: &str| {
        let mut data = map.as_bytes().to_vec();
        data.resize(512, 0);
        data.extend_from_slice(b"0123456789");
        let pax: [(&str, &[u8]); 4] = [
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"real"),
            ("GNU.sparse.realsize", size.as_bytes()),
        ];
        read(&tar(&[Item { pax: &pax, ..file("GNUSparseFile.0/real", &data) }]))
    };
    let found = one_zero("2\n0\n5\n1000\n5\n", "2000").unwrap();
    assert_eq!(found[0], ("real".into(), EntryKind::File, 2000, b"0123456789".to_vec()));
    for (map, size) in [
        ("2\n0\n5\n4\n5\n", "2000"),
        ("2\n1000\n5\n0\n5\n", "2000"),
        ("1\n0\n9\n", "2000"),
        ("1\n0\n11\n", "2000"),
        ("1\n0\n10\n", "9"),
        ("1\n18446744073709551615\n10\n", "18446744073709551615"),
        ("1\n0\n10\n", "9223372036854775808"),
        ("99999999\n", "2000"),
        ("123456789012345678901\n", "2000"),
        ("-1\n0\n10\n", "2000"),
        ("\n", "2000"),
        ("5\n0\n10\n", "2000"),
    ] {
        assert!(matches!(one_zero(map, size), Err(TarError::Sparse { .. })), "{map:?} {size}");
    }
    let zero_one = |map: &str| {
        let pax: [(&str, &[u8]); 2] = [("GNU.sparse.size", b"2000"), ("GNU.sparse.map", map.as_bytes())];
        read(&tar(&[Item { pax: &pax, ..file("a", b"0123456789") }]))
    };
    assert_eq!(zero_one("7,10").unwrap()[0].2, 2000);
    for map in ["", "7", "7,10,", "7,9", "1991,10", "a,b"] {
        assert!(matches!(zero_one(map), Err(TarError::Sparse { .. })), "{map:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        let _ = read(&bytes);
    }

    /// Changed where it hurts: in the headers, their checksums put right.
    #[test]
    fn changed_headers_do_no_harm(changes in prop::collection::vec((0..6_usize, 0..512_usize, any::<u8>()), 1..6)) {
        let pax: &[(&str, &[u8])] = &[("GNU.sparse.size", b"2000"), ("GNU.sparse.map", b"7,10"), ("uid", b"5")];
        let mut bytes = tar(&[Item { pax, ..file("a", b"0123456789") }, hard_link("l", "a"), file("b", b"b")]);
        for (block, offset, value) in changes {
            bytes[block * 512 + offset] = value;
        }
        for block in bytes.chunks_exact_mut(512) {
            let sum: u32 = block.iter().enumerate().map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) }).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
        let _ = read(&bytes);
    }
}
