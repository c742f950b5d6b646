use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::LocalSet;

use super::*;

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test)
}

fn pair() -> (Opener, Incoming) {
    let (left, right) = tokio::io::duplex(64 << 10);
    let (opener, _) = multiplex(left, Side::Caller);
    let (_, incoming) = multiplex(right, Side::Answerer);
    (opener, incoming)
}

#[test]
fn half_closed_streams_still_carry_the_other_direction() {
    run(async {
        let (opener, mut incoming) = pair();
        let mut caller = opener.open(Room::Process).await.unwrap();
        caller.write_all(b"question").await.unwrap();
        caller.shutdown().await.unwrap();
        let mut answerer = incoming.next().await.unwrap();
        let mut question = Vec::new();
        answerer.read_to_end(&mut question).await.unwrap();
        assert_eq!(question, b"question");
        answerer.write_all(b"answer").await.unwrap();
        answerer.shutdown().await.unwrap();
        let mut answer = Vec::new();
        caller.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer, b"answer");
    });
}

/// Writers whose readers do not read stop at the window; a stream beside them
/// passes megabytes meanwhile.
#[test]
fn unread_streams_stall_neither_others_nor_memory() {
    run(async {
        let (opener, mut incoming) = pair();
        let written = std::rc::Rc::new(std::cell::Cell::new(0));
        let mut unread = Vec::new();
        for _ in 0..8 {
            let mut stream = opener.open(Room::Process).await.unwrap();
            let written = std::rc::Rc::clone(&written);
            tokio::task::spawn_local(async move {
                let block = [b'y'; 16 << 10];
                while stream.write_all(&block).await.is_ok() {
                    written.set(written.get() + block.len());
                }
            });
            unread.push(incoming.next().await.unwrap());
        }
        let mut busy = opener.open(Room::Process).await.unwrap();
        tokio::task::spawn_local(async move {
            busy.write_all(&vec![1; 8 << 20]).await.unwrap();
            busy.shutdown().await.unwrap();
        });
        let mut reader = incoming.next().await.unwrap();
        let mut passed = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), reader.read_to_end(&mut passed)).await;
        read.expect("the busy stream was stalled").unwrap();
        assert_eq!(passed.len(), 8 << 20);
        assert!(written.get() <= MAX_WINDOWS, "{} bytes are held for readers that do not read", written.get());
    });
}

#[test]
fn noise_instead_of_the_protocol_is_a_typed_end() {
    run(async {
        let (mut left, right) = tokio::io::duplex(1 << 10);
        let (opener, incoming) = multiplex(right, Side::Answerer);
        left.write_all(&[0xff; 64]).await.unwrap();
        assert!(matches!(incoming.lost().await, Lost::Protocol(_)));
        assert!(matches!(opener.open(Room::Control).await, Err(OpenError::Lost(Lost::Protocol(_)))));
    });
}

/// Streams of processes have an end, and take nothing from control calls.
#[test]
fn each_kind_of_stream_has_its_own_room() {
    run(async {
        let (opener, mut incoming) = pair();
        let answerer = tokio::task::spawn_local(async move {
            let mut streams = Vec::new();
            while let Some(mut stream) = incoming.next().await {
                stream.write_all(b"!").await.unwrap();
                streams.push(stream);
            }
        });
        let mut lasting = Vec::new();
        for _ in 0..PROCESS_STREAMS {
            let mut stream = opener.open(Room::Process).await.unwrap();
            stream.write_all(b"?").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            lasting.push(stream);
        }
        assert!(matches!(opener.open(Room::Process).await, Err(OpenError::Full)));
        for _ in 0..FILES_STREAMS {
            let mut stream = opener.open(Room::Files).await.unwrap();
            stream.write_all(b"?").await.unwrap();
            stream.read_exact(&mut [0]).await.unwrap();
            lasting.push(stream);
        }
        assert!(matches!(opener.open(Room::Files).await, Err(OpenError::Full)));

        let mut brief = Vec::new();
        for _ in 0..CONTROL_STREAMS {
            brief.push(opener.open(Room::Control).await.unwrap());
        }
        let mut another = Box::pin(opener.open(Room::Control));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut another).await;
        assert!(early.is_err(), "a stream was opened over the limit");
        brief.pop();
        another.await.unwrap();
        assert!(!answerer.is_finished(), "the connection was lost");
    });
}

/// Reads each stream to its end; how many there were.
async fn read_all(mut incoming: Incoming) -> usize {
    let mut count = 0;
    while let Some(mut stream) = incoming.next().await {
        count += 1;
        tokio::task::spawn_local(async move {
            let _ = stream.write_all(b"!").await;
            while let Ok(1..) = stream.read(&mut [0; 16]).await {}
        });
    }
    count
}

/// All that were let go of make room at once for as many others, again and
/// again.
#[test]
fn streams_that_are_given_up_make_room() {
    run(async {
        let (opener, incoming) = pair();
        tokio::task::spawn_local(read_all(incoming));
        for _ in 0..20 {
            let mut streams = Vec::new();
            while streams.len() < PROCESS_STREAMS {
                match opener.open(Room::Process).await {
                    Ok(mut stream) => {
                        stream.write_all(b"?").await.unwrap();
                        streams.push(stream);
                    }
                    // The multiplexer has its turn.
                    Err(OpenError::Full) => tokio::task::yield_now().await,
                    Err(OpenError::Lost(lost)) => panic!("{lost:?}"),
                }
            }
        }
    });
}

/// However many end and begin in one go, those that end do so first: else there
/// would be too many, and the connection would be over.
#[test]
fn streams_end_before_others_begin() {
    run(async {
        let header = |flags, number: usize| {
            let stream = 2 * number as u32 + 1;
            header::Header { kind: header::WINDOW_UPDATE, flags, stream, length: 0 }.encoded()
        };
        const ALL: usize = PROCESS_STREAMS + FILES_STREAMS + CONTROL_STREAMS;
        const TURNS: usize = 10;
        let mut bytes = Vec::new();
        for turn in 0..TURNS {
            let (before, now) = ((turn.max(1) - 1) * ALL, turn * ALL);
            bytes.extend((before..now).flat_map(|number| header(header::RST, number)));
            bytes.extend((now..now + ALL).flat_map(|number| header(header::SYN, number)));
        }
        let all_at_once = tokio::io::join(std::io::Cursor::new(bytes), tokio::io::sink());
        let (_, incoming) = multiplex(all_at_once, Side::Answerer);
        assert_eq!(read_all(incoming).await, TURNS * ALL);
    });
}

/// However little comes at once: it comes when it is waited for.
#[test]
fn single_bytes_come_one_by_one_and_all_together() {
    run(async {
        let (opener, mut incoming) = pair();
        let mut caller = opener.open(Room::Process).await.unwrap();
        caller.write_all(b"?").await.unwrap();
        let mut answerer = incoming.next().await.unwrap();
        answerer.read_exact(&mut [0]).await.unwrap();
        for byte in 0..100 {
            caller.write_all(&[byte]).await.unwrap();
            let mut read = [0];
            answerer.read_exact(&mut read).await.unwrap();
            assert_eq!(read, [byte]);
        }
        // And when nobody waited while they came.
        for byte in 0..100 {
            caller.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        caller.shutdown().await.unwrap();
        let mut read = Vec::new();
        answerer.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, (0..100).collect::<Vec<u8>>());
    });
}

/// A stream that is dropped is so for whoever has not read all of it.
#[test]
fn a_stream_that_was_given_up_tells_so_before_its_end() {
    run(async {
        let (opener, mut incoming) = pair();
        let mut caller = opener.open(Room::Process).await.unwrap();
        caller.write_all(&[7; 100_000]).await.unwrap();
        let answerer = incoming.next().await.unwrap();
        let early = tokio::time::timeout(Duration::from_millis(50), answerer.given_up()).await;
        assert!(early.is_err(), "nobody has dropped it");
        drop(caller);
        answerer.given_up().await;
    });
}

/// An agent does not ask its keeper anything. What waits for it ends, even if
/// nothing can be sent to it any more.
#[test]
fn an_answerer_that_opens_a_stream_loses_its_connection() {
    run(async {
        let (left, mut right) = tokio::io::duplex(16);
        let (opener, _incoming) = multiplex(left, Side::Caller);
        let mut waiting = opener.open(Room::Process).await.unwrap();
        waiting.write_all(&[0; 1000]).await.unwrap();
        let open = header::Header { kind: header::DATA, flags: header::SYN, stream: 2, length: 0 };
        right.write_all(&open.encoded()).await.unwrap();
        let lost = opener.lost().await;
        assert!(
            matches!(&lost, Lost::Protocol(violation) if matches!(**violation, Violation::OpenedStream)),
            "{lost:?}"
        );
        let read = tokio::time::timeout(Duration::from_secs(20), waiting.read(&mut [0])).await;
        assert_eq!(read.expect("somebody still waits").unwrap_or(0), 0);
    });
}

/// What was written before the close arrives, however late it is read.
#[test]
fn closing_sends_what_was_written() {
    run(async {
        let (opener, mut incoming) = pair();
        let mut caller = opener.open(Room::Process).await.unwrap();
        caller.write_all(b"?").await.unwrap();
        let mut answerer = incoming.next().await.unwrap();
        answerer.write_all(&[7; 40_000]).await.unwrap();
        answerer.shutdown().await.unwrap();
        assert!(matches!(incoming.close().await, Lost::Closed));
        assert!(matches!(opener.lost().await, Lost::Closed));
        let mut answer = Vec::new();
        caller.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer.len(), 40_000);
    });
}
