use proptest::prelude::*;
use tokio::io::AsyncReadExt;

use super::*;
use crate::connection::header::Header;

const PING: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u16,
    stream: u32,
    /// Of other frames than data, the length means something else.
    data: Vec<u8>,
}

fn frame(kind: u8, flags: u16, stream: u32, data: &[u8]) -> Frame {
    Frame { kind, flags, stream, data: data.to_vec() }
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let encode = |frame: &Frame| {
        let Frame { kind, flags, stream, ref data } = *frame;
        [&Header { kind, flags, stream, length: data.len() as u32 }.encoded(), &data[..]].concat()
    };
    frames.iter().flat_map(encode).collect()
}

/// What the multiplexer reads of these frames when nobody reads the streams.
fn gathered(frames: &[Frame], held: &[u32]) -> Vec<Frame> {
    let streams = Streams::default();
    let _held: Vec<_> = held.iter().map(|id| streams.hold(*id)).collect();
    let bytes = encoded(frames);
    let mut gather = Gather::new(&bytes[..], streams);
    let mut read = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(gather.read_to_end(&mut read)).unwrap();
    let mut frames = Vec::new();
    let mut rest = &read[..];
    while let Some((header, after)) = rest.split_first_chunk() {
        let Header { kind, flags, stream, length } = Header::decode(header).unwrap();
        let (data, after) = after.split_at(if kind == DATA { length as usize } else { 0 });
        frames.push(frame(kind, flags, stream, data));
        rest = after;
    }
    frames
}

fn data_of(frames: &[Frame], stream: u32) -> Vec<u8> {
    let own = frames.iter().filter(|frame| frame.stream == stream && frame.kind == DATA);
    own.flat_map(|frame| frame.data.clone()).collect()
}

/// Whatever comes in between.
#[test]
fn single_bytes_become_pieces() {
    let window = 256 << 10;
    let between: [&[Frame]; 6] = [
        &[],
        &[frame(WINDOW_UPDATE, 0, 1, b"")],
        &[frame(WINDOW_UPDATE, FIN, 1, b"")],
        &[frame(PING, 0, 0, b""), frame(DATA, 0, 3, b"y")],
        &[frame(DATA, 0, 7, b"of nobody"), frame(DATA, FIN, 1, b"")],
        &[frame(DATA, ACK, 1, b"z")],
    ];
    for between in between {
        let mut frames = Vec::new();
        for number in 0..window {
            frames.push(frame(DATA, 0, 1, &[number as u8]));
            frames.extend_from_slice(between);
        }
        let gathered = gathered(&frames, &[1, 3]);
        assert!(data_of(&gathered, 1) == data_of(&frames, 1), "{between:?}");
        let pieces = gathered.iter().filter(|frame| frame.stream == 1 && !frame.data.is_empty()).count();
        assert!(pieces <= 2 * window / PIECE + 1, "{pieces} frames with {between:?} in between");
        assert!(gathered.iter().all(|frame| frame.stream != 7));
    }
}

/// That a stream is known over there is heard at once, even if nobody has it.
#[test]
fn acknowledgements_pass() {
    let frames = [frame(DATA, ACK, 1, b"one"), frame(DATA, 0, 1, b" two"), frame(DATA, ACK, 3, b"of nobody")];
    let expected = [frame(DATA, ACK, 1, b""), frame(DATA, ACK, 3, b""), frame(DATA, 0, 1, b"one two")];
    assert_eq!(gathered(&frames, &[1]), expected);
}

/// After a reset nobody is there for what comes.
#[test]
fn a_stream_that_was_given_up_gathers_nothing() {
    let frames =
        [frame(DATA, 0, 1, b"before"), frame(DATA, RST, 1, b""), frame(DATA, 0, 1, b"after"), frame(DATA, RST, 1, b"")];
    assert_eq!(
        gathered(&frames, &[1]),
        [frame(DATA, 0, 1, b"before"), frame(DATA, RST, 1, b""), frame(DATA, RST, 1, b"")]
    );
}

/// What is said before goodbye is heard.
#[test]
fn goodbye_and_the_end_come_last() {
    let goodbye = frame(GO_AWAY, 0, 0, b"");
    let frames = [frame(DATA, 0, 1, b"one "), frame(DATA, 0, 3, b"three"), frame(DATA, FIN, 1, b"two"), goodbye];
    let gathered = gathered(&frames, &[1, 3]);
    assert_eq!(gathered.len(), 3);
    assert!(gathered.contains(&frame(DATA, FIN, 1, b"one two")));
    assert!(gathered.contains(&frame(DATA, 0, 3, b"three")));
    assert_eq!(gathered[2], frames[3]);
}

/// What it does not know it leaves as it is.
#[test]
fn other_versions_and_kinds_pass_unchanged() {
    for bytes in [*b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", *b"\0\x09\0\0\0\0\0\x01\0\0\0\x01"] {
        let mut gather = Gather::new(&bytes[..], Streams::default());
        let mut read = [0; 12];
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(gather.read_exact(&mut read)).unwrap();
        assert_eq!(read, bytes);
    }
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let data =
        prop_oneof![prop::collection::vec(any::<u8>(), 0..20), (0..3 * PIECE).prop_map(|length| vec![b'x'; length]),];
    let flags = prop_oneof![8 => Just(0), 1 => Just(FIN), 1 => Just(ACK)];
    (prop_oneof![4 => Just(DATA), 1 => Just(WINDOW_UPDATE)], flags, 1u32..4, data)
        .prop_map(|(kind, flags, stream, data)| frame(kind, flags, stream, if kind == DATA { &data } else { b"" }))
}

proptest! {
    /// Each stream's bytes come in their order, with its end after them, and
    /// its windows grow as often as before.
    #[test]
    fn streams_stay_what_they_are(frames in prop::collection::vec(any_frame(), 0..60)) {
        let held = [1, 2, 3];
        let gathered = gathered(&frames, &held);
        for stream in held {
            prop_assert_eq!(data_of(&gathered, stream), data_of(&frames, stream));
            let updates = |frames: &[Frame]| {
                frames.iter().filter(|frame| frame.kind == WINDOW_UPDATE && frame.stream == stream).count()
            };
            prop_assert_eq!(updates(&gathered), updates(&frames));
            let ends = |frames: &[Frame]| frames.iter().any(|frame| frame.stream == stream && frame.flags & FIN != 0);
            prop_assert_eq!(ends(&gathered), ends(&frames));
            // Nothing that was there before the first end comes after it.
            let before_end = |frames: &[Frame]| {
                let end = frames.iter().position(|frame| frame.stream == stream && frame.flags & FIN != 0);
                data_of(&frames[..end.map_or(frames.len(), |end| end + 1)], stream).len()
            };
            prop_assert!(before_end(&gathered) >= before_end(&frames));
        }
    }
}
