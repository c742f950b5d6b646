use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use casemate_model::ErrorClass;
use tokio::io::DuplexStream;
use tokio::task::LocalSet;

use super::*;
use crate::connection::{Incoming as Streams, Opener, Side, multiplex};

fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let in_time = async { tokio::time::timeout(Duration::from_secs(60), test).await.expect("it hangs") };
    LocalSet::new().block_on(&runtime, in_time)
}

fn pair() -> (Opener, Streams) {
    let (left, right) = tokio::io::duplex(64 << 10);
    let (opener, _) = multiplex(left, Side::Caller);
    let (_, incoming) = multiplex(right, Side::Answerer);
    (opener, incoming)
}

/// A caller's and an answerer's end. A byte has been each way: the answerer
/// knows of a stream once something was said on it.
async fn streams(opener: &Opener, incoming: &mut Streams) -> (Stream, Stream) {
    let mut caller = opener.open(crate::Room::Process).await.unwrap();
    caller.write_all(b"?").await.unwrap();
    let mut answerer = incoming.next().await.unwrap();
    answerer.read_exact(&mut [0]).await.unwrap();
    (caller, answerer)
}

fn some_bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

/// What was poured out, and whether it was complete.
#[derive(Default)]
struct Poured {
    bytes: Vec<u8>,
    finished: bool,
}

/// Takes bytes up to a limit; then it has had enough.
struct Bucket {
    poured: Rc<RefCell<Poured>>,
    limit: usize,
}

impl AsyncWrite for Bucket {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut poured = self.poured.borrow_mut();
        if poured.bytes.len() + bytes.len() > self.limit {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        poured.bytes.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl Unpacking for Bucket {
    async fn finish(self) -> Result<(), Failure> {
        let mut poured = self.poured.borrow_mut();
        poured.finished = true;
        if self.limit == usize::MAX { Ok(()) } else { Err(Failure::new(ErrorClass::Conflict, "enough")) }
    }
}

#[test]
fn downloads_come_byte_for_byte_and_say_how_they_ended() {
    run(async {
        let (opener, mut incoming) = pair();
        let bytes = some_bytes(3_000_001);
        for failing in [false, true] {
            let (caller, answerer) = streams(&opener, &mut incoming).await;
            let (mut writer, reader) = tokio::io::duplex(10_000);
            let source = Source { reader, failing };
            let sent = bytes.clone();
            tokio::task::spawn_local(async move { writer.write_all(&sent).await });
            tokio::task::spawn_local(send(source, answerer));
            let mut download = Download::new(caller);
            let mut received = Vec::new();
            let result = download.read_to_end(&mut received).await;
            assert!(received == bytes, "{} bytes came of {}", received.len(), bytes.len());
            match failing {
                false => assert_eq!(result.unwrap(), bytes.len()),
                true => {
                    let failure = failure_of(result.unwrap_err());
                    assert_eq!((failure.class, failure.message.as_str()), (ErrorClass::Timeout, "no more"));
                }
            }
            assert_eq!(download.read(&mut [0]).await.unwrap(), 0, "an end is an end");
        }
    });
}

struct Source {
    reader: DuplexStream,
    failing: bool,
}

impl AsyncRead for Source {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.reader).poll_read(cx, buf))?;
        if self.failing && buf.filled().len() == before {
            return Poll::Ready(Err(io::Error::other(Failure::new(ErrorClass::Timeout, "no more"))));
        }
        Poll::Ready(Ok(()))
    }
}

/// The answerer goes away: between pieces, within one, before its verdict.
#[test]
fn what_is_broken_off_is_no_end() {
    run(async {
        let (opener, mut incoming) = pair();
        for said in [&[][..], &[5, 0], &[2, 0, 0, 0, b'a', b'b'], &[9, 0, 0, 0, b'a', b'b'], &[0, 0, 0, 0], &[0; 9]] {
            let (caller, mut answerer) = streams(&opener, &mut incoming).await;
            answerer.write_all(said).await.unwrap();
            drop(answerer);
            let error = Download::new(caller).read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(
                failure_of(error).class,
                if said.len() == 9 { ErrorClass::Protocol } else { ErrorClass::Unavailable }
            );
        }
    });
}

#[test]
fn a_caller_that_goes_away_ends_the_sending() {
    run(async {
        let (opener, mut incoming) = pair();
        let (caller, answerer) = streams(&opener, &mut incoming).await;
        // Nothing will ever come of this.
        let (writer, reader) = tokio::io::duplex(10);
        let sending = tokio::task::spawn_local(send(reader, answerer));
        drop(Download::new(caller));
        sending.await.unwrap();
        drop(writer);
    });
}

#[test]
fn uploads_come_byte_for_byte_and_complete() {
    run(async {
        let (opener, mut incoming) = pair();
        let bytes = some_bytes(3_000_001);
        let (caller, answerer) = streams(&opener, &mut incoming).await;
        let poured = Rc::new(RefCell::new(Poured::default()));
        let bucket = Bucket { poured: Rc::clone(&poured), limit: usize::MAX };
        tokio::task::spawn_local(receive(bucket, answerer));
        let mut upload = Upload::new(caller);
        for piece in bytes.chunks(70_000) {
            upload.write_all(piece).await.unwrap();
        }
        upload.finish().await.unwrap();
        assert!(poured.borrow().bytes == bytes && poured.borrow().finished);
    });
}

/// The writer has more to say than anybody takes, and is told why not.
#[test]
fn a_refused_upload_ends_its_writer() {
    run(async {
        let (opener, mut incoming) = pair();
        let (caller, answerer) = streams(&opener, &mut incoming).await;
        let bucket = Bucket { poured: Rc::default(), limit: 1_000_000 };
        tokio::task::spawn_local(receive(bucket, answerer));
        let mut upload = Upload::new(caller);
        let piece = [1; 50_000];
        let mut written = 0_u64;
        while upload.write_all(&piece).await.is_ok() {
            written += 50_000;
            assert!(written < 1 << 30, "it is never told");
        }
        let failure = Failure::from(upload.finish().await.unwrap_err());
        assert_eq!((failure.class, failure.message.as_str()), (ErrorClass::Conflict, "enough"));
    });
}

#[test]
fn an_upload_that_is_given_up_is_not_complete() {
    run(async {
        let (opener, mut incoming) = pair();
        let (caller, answerer) = streams(&opener, &mut incoming).await;
        let poured = Rc::new(RefCell::new(Poured::default()));
        let bucket = Bucket { poured: Rc::clone(&poured), limit: usize::MAX };
        let receiving = tokio::task::spawn_local(receive(bucket, answerer));
        let mut upload = Upload::new(caller);
        upload.write_all(&[7; 100_000]).await.unwrap();
        upload.shutdown().await.unwrap();
        drop(upload);
        receiving.await.unwrap();
        assert!(!poured.borrow().finished);
    });
}
