//! Bodies of answers: none, whole, or a stream that comes as it is made.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Bytes, Frame, SizeHint};
use tokio::sync::mpsc;

/// Pieces that may wait for a client which reads slowly.
const BACKLOG: usize = 4;

#[derive(Debug)]
pub(crate) enum Body {
    Empty,
    Whole(Option<Bytes>),
    Stream {
        pieces: mpsc::Receiver<Bytes>,
        endless: bool,
    },
    /// One that may fail half-way: then the connection is broken off, so that
    /// nobody takes a part for the whole.
    Archive(mpsc::Receiver<io::Result<Bytes>>),
}

impl Body {
    /// A body and where to write it. Sending fails when the client has gone.
    pub(crate) fn stream() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (sender, Self::Stream { pieces: receiver, endless: false })
    }

    /// One that goes on until a container or its client ends: the daemon's own
    /// end does not wait for it.
    pub(crate) fn endless() -> (mpsc::Sender<Bytes>, Self) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (sender, Self::Stream { pieces: receiver, endless: true })
    }

    pub(crate) fn archive() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (sender, receiver) = mpsc::channel(BACKLOG);
        (sender, Self::Archive(receiver))
    }

    pub(crate) fn is_endless(&self) -> bool {
        matches!(self, Self::Stream { endless: true, .. })
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Whole(Some(bytes.into()))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Archive(pieces) => pieces.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data))),
            Self::Stream { pieces, .. } => {
                pieces.poll_recv(context).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Empty | Self::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Whole(None) => SizeHint::with_exact(0),
            Self::Whole(Some(bytes)) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream { .. } | Self::Archive(_) => SizeHint::default(),
        }
    }
}
