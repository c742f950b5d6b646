//! The product as a user has it: its command line, on the staged build.
//!
//! One file for each topic; `process::` and `hyperv::` in a test's name say
//! under which isolation it ran. Each test has an engine of its own, and ends
//! with the check that nothing is left of it.

mod exec;
mod exit_codes;
mod facts;
mod failures;
mod flow;
mod help;
mod host_report;
mod hostile_images;
mod images;
mod leak_check;
mod leftovers;
mod lifecycle;
mod limits;
mod listings;
mod logs;
mod on_demand;
mod options;
mod robustness;
mod seeing;
mod signals;
mod streams;
mod terminals;
mod wall;
mod world;
