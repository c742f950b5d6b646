//! The wire: one vocabulary spoken twice, client to keeper over a Unix socket
//! and keeper to agent over a virtio-serial port.
//!
//! A connection begins with a version negotiation ([`hello`]), then carries
//! multiplexed streams with flow control ([`connection`]). Each stream opens
//! with one request and its answer ([`frame`], [`message`]); streams for
//! standard input and output then carry raw bytes until one side closes.
//!
//! Neither side trusts a byte of the other: lengths are limited before memory
//! is taken, unknown fields and values are errors, and every error ends the
//! connection (or the one stream) with a typed reason, never the process.

mod bulk;
mod client;
pub mod connection;
mod convert;
mod files;
pub mod frame;
pub mod hello;
pub mod message;
mod queries;
pub mod report;
mod server;
mod vocabulary;

pub use bulk::{Download, Upload};
pub use client::{CallError, Client};
pub use connection::{Incoming, Lost, MAX_EXECS, OpenError, Opener, Room, Side, Stream};
pub use files::{Change, ChangeKind, CopyIn, FileStream, Files, PathStat, Unpacking};
pub use hello::HelloError;
pub use queries::{DnsMessage, dns_messages};
pub use server::{Service, serve};
pub use vocabulary::{
    BlkioStats, ContainerProcess, CpuStats, Create, ExecStarted, Extent, GuestFacts, GuestPlace, HostPlace, Link,
    MAX_SOCKETS, MemoryStats, Network, NetworkNamespace, PidsStats, Place, Reconfigured, Resolver, Rewired, Socket,
    SocketOwner, Sockets, Span, Started, Stats, VmCost, VmPlace,
};
