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
        let mut caller = opener.open().await.unwrap();
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
            let mut stream = opener.open().await.unwrap();
            let written = std::rc::Rc::clone(&written);
            tokio::task::spawn_local(async move {
                let block = [b'y'; 16 << 10];
                while stream.write_all(&block).await.is_ok() {
                    written.set(written.get() + block.len());
                }
            });
            unread.push(incoming.next().await.unwrap());
        }
        let mut busy = opener.open().await.unwrap();
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
        assert!(matches!(opener.open().await, Err(Lost::Protocol(_))));
    });
}

#[test]
fn more_streams_than_allowed_wait_for_a_place() {
    run(async {
        let (opener, mut incoming) = pair();
        tokio::task::spawn_local(async move { while incoming.next().await.is_some() {} });
        let mut open = Vec::new();
        for _ in 0..MAX_OPENED {
            open.push(opener.open().await.unwrap());
        }
        let another = tokio::time::timeout(Duration::from_millis(50), opener.open()).await;
        assert!(another.is_err(), "a stream was opened over the limit");
        open.pop();
        opener.open().await.unwrap();
    });
}

/// What was written before the close arrives, however late it is read.
#[test]
fn closing_sends_what_was_written() {
    run(async {
        let (opener, mut incoming) = pair();
        let mut caller = opener.open().await.unwrap();
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
