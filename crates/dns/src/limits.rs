//! How much of its callers one container's resolver holds at a time.

use std::time::Duration;

/// Queries that wait for servers upstream; one more is refused. As many as
/// Docker has. Each costs less than two kilobytes.
pub const UNANSWERED: usize = 1024;

/// Of those, how many are being asked; the others wait for their turn. Each
/// costs a descriptor of this process, what the kernel buffers for it, and by
/// TCP its answer (64 KiB), and a hostile container takes all it can. With a
/// quarter of Docker's number, a server that takes 50 ms to answer can still be
/// asked 5,000 questions a second.
pub const ASKING: usize = 256;

/// How long a query waits for its turn before it is refused; Docker's.
pub(crate) const TURN: Duration = Duration::from_secs(4);

/// Connections by TCP, of which each holds a query or an answer (64 KiB). More
/// wait to be accepted. What a client of libc needs is one.
pub const CONNECTIONS: usize = 64;

/// A connection that neither asks nor takes its answer for this long is closed,
/// so that the next is accepted (RFC 7766, section 6.2.3: a few seconds).
pub(crate) const IDLE: Duration = Duration::from_secs(10);

/// Octets of a query; a longer one is none. A question takes 271 at most; what
/// else there may be is padding.
pub const QUERY: usize = 4096;

/// After a socket failed, which a lack of descriptors or memory makes it do.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);
