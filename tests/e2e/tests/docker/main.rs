//! The daemon through Docker's own clients: the stock command line, docker-py,
//! bollard, and bare HTTP.
//!
//! One file for each topic; `process::` and `hyperv::` in a test's name say
//! under which isolation it ran. Each test has a daemon of its own, and ends
//! with the check that nothing is left of it.

mod attach;
mod crash;
mod described;
mod events;
mod exec;
mod files;
mod firewall;
mod health;
mod images;
mod lifecycle;
mod listings;
mod load;
mod logs;
mod names;
mod networks;
mod python;
mod resources;
mod restart;
mod run;
mod rust_client;
mod statuses;
mod streams;
mod terminals;
