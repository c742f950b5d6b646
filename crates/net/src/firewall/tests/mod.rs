//! With real packets. A `Bed` has the host, its containers and the outside, each a
//! network namespace. Without the rights to make those nothing is tested.

mod arbitrary;
mod bed;
mod calls;
mod frames;
mod sys;

mod bounded;
mod model;
mod nftables;
mod open;
mod published;
mod sealed;
mod spoofed;
mod tables;
mod watched;
