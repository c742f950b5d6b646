//! The embedded resolver: what a container of a user network, or of `sealed`,
//! has at [`ADDRESS`].
//!
//! One [`Resolver`] per container. It answers what its [`Names`] know, and has
//! everything else answered by servers upstream. Both sides are hostile: a
//! query is any process's in the container, an answer any server's. So each is
//! taken apart and made anew, and of both only so much is held at a time
//! ([`UNANSWERED`], [`ASKING`], [`CONNECTIONS`]).
//!
//! ```text
//! query ─▶ refused as no query │ answered from Names │ asked upstream ─▶ filtered ─▶ cut to size
//! ```
//!
//! What is answered follows Docker's resolver (moby, `libnetwork/resolver.go`).
//! Every socket is the caller's, who decides in which network namespace it is.
//! Everything is single-threaded, and stops when its future is dropped.

mod fuzz;
mod limits;
mod local;
mod message;
mod names;
mod policy;
mod query;
mod resolver;
mod serve;
mod upstream;

use std::net::Ipv4Addr;

#[doc(hidden)]
pub use fuzz::{fuzz_answer, fuzz_query};
pub use limits::{ASKING, CONNECTIONS, QUERY, UNANSWERED};
pub use names::Names;
pub use policy::AnswerPolicy;
pub use query::Transport;
pub use resolver::{Resolver, Settings};
pub use upstream::{Connector, MAX_UPSTREAMS, Namespace, SERVER_TIMEOUT, Upstream};

/// Where a container's `/etc/resolv.conf` says that its resolver is; Docker's.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
