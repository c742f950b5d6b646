//! The resolver on real sockets of the loopback interface: with clients and
//! servers of the test's own.

mod client;
mod forwarding;
mod hostile;
mod limits;
mod local;
mod server;
mod serving;
mod setup;
