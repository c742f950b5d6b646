//! The streams that somebody on this side holds: what has come for each that
//! the multiplexer does not have yet, and what must be known of it besides.

use std::cell::{RefCell, RefMut};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Poll, Waker};

use futures::future::poll_fn;
use tokio::sync::OwnedSemaphorePermit;

use super::gather::PIECE;
use super::header::{DATA, Header};

/// The streams that somebody on this side holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams(Rc<RefCell<Table>>);

#[derive(Debug, Default)]
pub(super) struct Table {
    streams: HashMap<u32, Gathered>,
    /// Those whose bytes are to be given on next.
    due: VecDeque<u32>,
    driver: Option<Waker>,
    /// Of streams that were let go of: see [`Streams::free_places`].
    places: Vec<OwnedSemaphorePermit>,
    /// The pipe takes no bytes for now.
    is_full: bool,
    has_ended: bool,
}

#[derive(Debug, Default)]
struct Gathered {
    bytes: Vec<u8>,
    /// Came with the bytes, or after them.
    flags: u16,
    /// Its reader has found nothing, and waits.
    wanted: bool,
    is_due: bool,
    given_up: bool,
    waits_for_end: Option<Waker>,
}

/// One stream in the table, for as long as it is held.
#[derive(Debug)]
pub(super) struct Held {
    id: u32,
    streams: Streams,
    place: Option<OwnedSemaphorePermit>,
}

impl Streams {
    pub(super) fn table(&self) -> RefMut<'_, Table> {
        self.0.borrow_mut()
    }

    /// To be called before the multiplexer reads on.
    pub(super) fn hold(&self, id: u32) -> Held {
        self.table().streams.insert(id, Gathered::default());
        Held { id, streams: self.clone(), place: None }
    }

    /// To be called when the multiplexer has nothing left to do: it has let go
    /// of all streams that this side has, unless it had to send something and
    /// could not. Their places are free now.
    pub(super) fn free_places(&self) {
        let mut table = self.table();
        if !table.is_full {
            table.places.clear();
        }
    }

    /// The connection has ended: there is no other side any more.
    pub(super) fn end(&self) {
        let mut table = self.table();
        let ids: Vec<u32> = table.streams.keys().copied().collect();
        ids.into_iter().for_each(|id| table.give_up(id));
        table.has_ended = true;
        table.places.clear();
    }
}

impl Held {
    /// It has this place for as long as the multiplexer has the stream.
    pub(super) fn at(mut self, place: Option<OwnedSemaphorePermit>) -> Self {
        self.place = place;
        self
    }

    /// Its reader waits for bytes.
    pub(super) fn want(&self) {
        let mut table = self.streams.table();
        if let Some(stream) = table.streams.get_mut(&self.id) {
            stream.wanted = true;
        }
        if table.make_due(self.id)
            && let Some(driver) = table.driver.take()
        {
            driver.wake();
        }
    }

    /// Returns when the other side has given the stream up, whatever is unread
    /// of it, or when it is held no more. For one at a time.
    pub(super) fn given_up(&self) -> impl Future<Output = ()> + use<> {
        let (id, streams) = (self.id, self.streams.clone());
        poll_fn(move |context| match streams.table().streams.get_mut(&id) {
            Some(stream) if !stream.given_up => {
                stream.waits_for_end = Some(context.waker().clone());
                Poll::Pending
            }
            _ => Poll::Ready(()),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut table = self.streams.table();
        table.streams.remove(&self.id);
        if !table.has_ended {
            table.places.extend(self.place.take());
        }
    }
}

impl Table {
    /// Somebody may read what comes for this stream.
    pub(super) fn is_read(&self, id: u32) -> bool {
        self.streams.get(&id).is_some_and(|stream| !stream.given_up)
    }

    /// What has been gathered of this stream, to add to.
    pub(super) fn gathered(&mut self, id: u32) -> Option<&mut Vec<u8>> {
        self.streams.get_mut(&id).map(|stream| &mut stream.bytes)
    }

    /// Whom to wake when something is due.
    pub(super) fn wakes(&mut self, driver: &Waker) {
        self.driver = Some(driver.clone());
    }

    pub(super) fn pipe_is_full(&mut self, is_full: bool) {
        self.is_full = is_full;
    }

    /// Whether it is, by now, among those that are given on next.
    fn make_due(&mut self, id: u32) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        let has_something = !stream.bytes.is_empty() || stream.flags != 0;
        if has_something && !stream.is_due && (stream.wanted || stream.bytes.len() >= PIECE) {
            stream.is_due = true;
            self.due.push_back(id);
        }
        stream.is_due
    }

    /// Something of this stream was gathered, and these flags with it.
    pub(super) fn add(&mut self, id: u32, flags: u16) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.flags |= flags;
            self.make_due(id);
        }
    }

    /// Writes what is due next as a frame. False if nothing is.
    pub(super) fn next_frame(&mut self, frame: &mut Vec<u8>) -> bool {
        while let Some(id) = self.due.pop_front() {
            // Those no longer held are left out.
            if self.frame_of(id, frame) {
                return true;
            }
        }
        false
    }

    /// Writes all that was gathered of this stream as a frame.
    pub(super) fn frame_of(&mut self, id: u32, frame: &mut Vec<u8>) -> bool {
        let Some(stream) = self.streams.get_mut(&id) else {
            return false;
        };
        stream.is_due = false;
        if stream.bytes.is_empty() && stream.flags == 0 {
            return false;
        }
        stream.wanted = false;
        let header = Header { kind: DATA, flags: stream.flags, stream: id, length: stream.bytes.len() as u32 };
        frame.extend_from_slice(&header.encoded());
        frame.append(&mut stream.bytes);
        stream.flags = 0;
        true
    }

    pub(super) fn all_due(&mut self) {
        let Self { streams, due, .. } = self;
        for (id, stream) in streams.iter_mut().filter(|(_, stream)| !stream.is_due) {
            stream.is_due = true;
            due.push_back(*id);
        }
    }

    pub(super) fn give_up(&mut self, id: u32) {
        if let Some(stream) = self.streams.get_mut(&id) {
            stream.given_up = true;
            if let Some(waker) = stream.waits_for_end.take() {
                waker.wake();
            }
        }
    }
}
