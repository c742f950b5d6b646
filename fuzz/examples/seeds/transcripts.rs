//! What both sides of a real connection say.

use std::cell::RefCell;
use std::rc::Rc;

use casemate_fuzz::connection::{calls, play};
use casemate_fuzz::double::{Answers, Double};
use casemate_fuzz::{peer, run};
use casemate_wire::{Client, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

/// Bytes of input and output in a transcript.
const SOME: usize = 60;

pub(crate) fn all() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    let (asked, answered) = record(&calls());
    // The manners: see `casemate_fuzz::connection`.
    for manners in [0, 2, 4, 6, 8, 8 + 16, 16] {
        for closing in [0, 12] {
            seeds.push([&[manners, closing], &asked[..]].concat());
        }
        seeds.push([&[manners + 1], &answered[..]].concat());
    }
    for call in calls() {
        let (asked, answered) = record(&[call]);
        seeds.push([&[0, 0], &asked[..]].concat());
        seeds.push([&[1], &answered[..]].concat());
    }
    seeds
}

/// Headers of yamux frames: type, flags, stream, length.
pub(crate) fn headers() -> Vec<Vec<u8>> {
    const FLAGS: [u8; 5] = [0, 1, 2, 4, 8];
    let header =
        |kind, flags, stream, length: u32| [&[0, kind, 0, flags, 0, 0, 0, stream][..], &length.to_be_bytes()].concat();
    let mut headers = vec![header(2, 1, 0, 0), header(2, 2, 0, 0), header(3, 0, 0, 0), header(3, 0, 0, 1)];
    for kind in [0, 1] {
        headers.extend(FLAGS.map(|flags| header(kind, flags, 1, 0)));
        headers.extend([2, 3].map(|stream| header(kind, 1, stream, 256 << 10)));
        headers.extend([0, 1].map(|flags| header(kind, flags, 1, u32::MAX)));
    }
    headers
}

type Tape = Rc<RefCell<Vec<u8>>>;

/// What a client and a service say to each other over these calls.
fn record(calls: &[casemate_fuzz::double::Call]) -> (Vec<u8>, Vec<u8>) {
    let (asked, answered) = (Tape::default(), Tape::default());
    run(async {
        let (near, near_far) = tokio::io::duplex(64 << 10);
        let (far, far_near) = tokio::io::duplex(64 << 10);
        let (from_client, to_client) = tokio::io::split(near_far);
        let (from_service, to_service) = tokio::io::split(far_near);
        tokio::task::spawn_local(relay(from_client, to_service, Rc::clone(&asked)));
        tokio::task::spawn_local(relay(from_service, to_client, Rc::clone(&answered)));
        let service = Rc::new(Double::new(Answers { output: SOME as u64, ..Answers::default() }));
        tokio::task::spawn_local(serve(service, far, std::future::pending::<()>()));
        let client = Client::connect(near).await.expect("both speak the same version");
        play(&client, calls, SOME).await;
    });
    (without_pings(&asked.borrow()), without_pings(&answered.borrow()))
}

async fn relay(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, tape: Tape) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        tape.borrow_mut().extend_from_slice(&buffer[..length]);
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// Pings carry a random number that their answer has to carry again: in a
/// transcript they are noise.
fn without_pings(transcript: &[u8]) -> Vec<u8> {
    const PING: u8 = 2;
    let (greeting, mut rest) = transcript.split_at(8);
    let mut kept = greeting.to_vec();
    while !rest.is_empty() {
        let (frame, after) = rest.split_at(peer::frame_length(rest).min(rest.len()));
        if frame[1] != PING {
            kept.extend_from_slice(frame);
        }
        rest = after;
    }
    kept
}
