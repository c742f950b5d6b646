//! Small frames become larger ones before the multiplexer has them.
//!
//! yamux keeps each frame apart until it is read, which takes some sixty bytes
//! besides the frame's own: with frames of one byte, a stream that nobody reads
//! would cost sixty times its window. So what comes in small frames is gathered,
//! stream by stream ([`Streams`]), and given on as one frame when somebody waits
//! for it, when there is a [`PIECE`] of it, or when the other side has something
//! to say that must not overtake it. Large frames pass as they are.
//!
//! Only frames' headers are looked at. Whatever is wrong with one is the
//! multiplexer's to find, which gets it unchanged.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::header::{ACK, DATA, FIN, GO_AWAY, Header, RST, SYN, WINDOW_UPDATE};
use super::held::Streams;

/// A frame's data is small below this length, in bytes. With twice as much
/// gathered for each stream at most, and the multiplexer's sixty bytes for each
/// of these, both are next to nothing beside a window.
pub(super) const PIECE: usize = 4 << 10;

/// What the pipe's next bytes are.
#[derive(Debug)]
enum Next {
    Header {
        bytes: [u8; Header::LENGTH],
        length: usize,
    },
    /// Data to gather. The flags count when all of it has come.
    Small {
        stream: u32,
        left: usize,
        flags: u16,
    },
    /// Data for the multiplexer as it is.
    Straight {
        left: usize,
    },
    /// Data of a stream that nobody holds any more.
    Unread {
        left: usize,
    },
    /// There are none: all gathered bytes go first.
    Goodbye([u8; Header::LENGTH]),
    End(Option<io::Error>),
}

const NEW_HEADER: Next = Next::Header { bytes: [0; Header::LENGTH], length: 0 };

/// The pipe, as the multiplexer reads and writes it.
#[derive(Debug)]
pub(super) struct Gather<T> {
    pipe: T,
    streams: Streams,
    next: Next,
    /// To be read before anything else, from this offset on.
    ready: Vec<u8>,
    offset: usize,
}

impl<T> Gather<T> {
    pub(super) fn new(pipe: T, streams: Streams) -> Self {
        Self { pipe, streams, next: NEW_HEADER, ready: Vec::new(), offset: 0 }
    }

    /// Decides what becomes of a frame; its data is still to come.
    fn begin(&mut self, bytes: [u8; Header::LENGTH]) {
        self.next = NEW_HEADER;
        let mut table = self.streams.table();
        let Some(Header { kind, flags, stream, length }) = Header::decode(&bytes) else {
            self.ready.extend_from_slice(&bytes);
            return;
        };
        let left = length as usize;
        let is_read = table.is_read(stream);
        match kind {
            DATA | WINDOW_UPDATE if flags & (SYN | RST) != 0 => {
                table.frame_of(stream, &mut self.ready);
                if flags & RST != 0 {
                    table.give_up(stream);
                }
                self.ready.extend_from_slice(&bytes);
                if kind == DATA {
                    self.next = Next::Straight { left };
                }
            }
            DATA if !is_read || left < PIECE => {
                // Whoever opens streams waits for this, read or not.
                if flags & ACK != 0 {
                    let header = Header { kind, flags: ACK, stream, length: 0 };
                    self.ready.extend_from_slice(&header.encoded());
                }
                self.next = match is_read {
                    true => Next::Small { stream, left, flags: flags & !ACK },
                    false => Next::Unread { left },
                };
            }
            DATA => {
                table.frame_of(stream, &mut self.ready);
                self.ready.extend_from_slice(&bytes);
                self.next = Next::Straight { left };
            }
            WINDOW_UPDATE => {
                // The end of what is read comes after what is gathered.
                table.add(stream, flags & FIN);
                let header = Header { kind, flags: flags & !FIN, stream, length };
                self.ready.extend_from_slice(&header.encoded());
            }
            GO_AWAY => {
                table.all_due();
                self.next = Next::Goodbye(bytes);
            }
            _ => self.ready.extend_from_slice(&bytes),
        }
    }
}

/// Reads into the buffer, which has room; the pipe's end is an error without one.
fn poll_pipe(
    pipe: &mut (impl AsyncRead + Unpin),
    context: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<Result<usize, Option<io::Error>>> {
    let mut buffer = ReadBuf::new(buffer);
    Poll::Ready(match ready!(Pin::new(pipe).poll_read(context, &mut buffer)) {
        Ok(()) if buffer.filled().is_empty() => Err(None),
        Ok(()) => Ok(buffer.filled().len()),
        Err(error) => Err(Some(error)),
    })
}

impl<T: AsyncRead + Unpin> Gather<T> {
    /// Takes in what comes next. The pipe's end as an error.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Option<io::Error>>> {
        match &mut self.next {
            Next::Header { bytes, length } => {
                *length += ready!(poll_pipe(&mut self.pipe, context, &mut bytes[*length..]))?;
                if *length == Header::LENGTH {
                    let bytes = *bytes;
                    self.begin(bytes);
                }
            }
            Next::Small { stream: id, left, flags } => {
                let mut table = self.streams.table();
                let Some(gathered) = table.gathered(*id) else {
                    // Let go of in the middle of a frame.
                    self.next = Next::Unread { left: *left };
                    return Poll::Ready(Ok(()));
                };
                if *left > 0 {
                    let start = gathered.len();
                    gathered.resize(start + *left, 0);
                    let read = poll_pipe(&mut self.pipe, context, &mut gathered[start..]);
                    let length = if let Poll::Ready(Ok(length)) = &read { *length } else { 0 };
                    gathered.truncate(start + length);
                    *left -= ready!(read)?;
                }
                let is_whole = *left == 0;
                table.add(*id, if is_whole { *flags } else { 0 });
                if is_whole {
                    self.next = NEW_HEADER;
                }
            }
            Next::Unread { left: 0 } | Next::Straight { left: 0 } => self.next = NEW_HEADER,
            Next::Unread { left } => {
                let mut chunk = [0; PIECE];
                let length = chunk.len().min(*left);
                *left -= ready!(poll_pipe(&mut self.pipe, context, &mut chunk[..length]))?;
            }
            Next::Straight { .. } => unreachable!("read straight into the multiplexer's own buffer"),
            Next::Goodbye(bytes) => {
                self.ready.extend_from_slice(&*bytes);
                self.next = NEW_HEADER;
            }
            Next::End(error) => return Poll::Ready(Err(error.take())),
        }
        Poll::Ready(Ok(()))
    }

    fn give_ready(&mut self, buffer: &mut ReadBuf<'_>) {
        let rest = &self.ready[self.offset..];
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..length]);
        self.offset += length;
        if self.offset == self.ready.len() {
            self.ready.clear();
            self.offset = 0;
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Gather<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.ready.is_empty() {
                this.give_ready(buffer);
                return Poll::Ready(Ok(()));
            }
            // Not in the middle of a frame.
            if !matches!(this.next, Next::Straight { left: 1.. }) {
                let mut table = this.streams.table();
                if table.next_frame(&mut this.ready) {
                    continue;
                }
                table.wakes(context.waker());
            }
            if let Next::Straight { left: left @ 1.. } = &mut this.next {
                let length = buffer.remaining().min(*left);
                match ready!(poll_pipe(&mut this.pipe, context, buffer.initialize_unfilled_to(length))) {
                    Ok(length) => {
                        buffer.advance(length);
                        *left -= length;
                        return Poll::Ready(Ok(()));
                    }
                    Err(end) => return Poll::Ready(end.map_or(Ok(()), Err)),
                }
            }
            let was_at_end = matches!(this.next, Next::End(_));
            match ready!(this.poll_next(context)) {
                Ok(()) => {}
                Err(end) if was_at_end => return Poll::Ready(end.map_or(Ok(()), Err)),
                Err(end) => {
                    this.streams.table().all_due();
                    this.next = Next::End(end);
                }
            }
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Gather<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.pipe).poll_write(context, bytes);
        this.streams.table().pipe_is_full(written.is_pending());
        written
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().pipe).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
