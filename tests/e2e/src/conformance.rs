//! The bodies that hold for any Docker daemon, on Docker's own: at
//! `CONFORMANCE_HOST=unix://SOCKET`, with the feature `conformance`.
//!
//! It is the daemon of somebody who lent it: containers that a test makes there
//! are taken away after it, and the image `busybox` stays.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;

use crate::archive::busybox_layers;
use crate::docker::Docker;
use crate::note;

/// What holds here and not there, and why. Found on Docker 26.1.5.
const DIFFERENCES: [(&str, &str); 22] = [
    ("events::tell_a_containers_life", "it tells of the containers of all tests"),
    ("events::end_when_they_are_asked_to", "it tells of the containers of all tests"),
    ("exec::a_command_that_cannot_be_run_has_dockers_codes", "before 27 it was 126 for a command that is not there"),
    ("health::go_on_after_the_daemon_was_killed", "it is not ours to kill"),
    ("lifecycle::ended_keepers_are_reaped", "it has no keepers"),
    ("lifecycle::prune_takes_those_that_rest", "it would take those of others"),
    ("listings::inspect_shows_what_was_asked_for_and_what_is", "isolation is empty there"),
    ("listings::ps_filters_what_it_shows", "isolation is refused there"),
    ("listings::ps_formats_what_it_shows", "it has the containers of others"),
    ("listings::the_daemon_counts_its_containers", "it has the containers of others, and no isolation"),
    ("listings::top_shows_its_processes", "it runs the ps of its host, which may lack one"),
    ("logs::are_kept_as_far_as_the_options_say", "looks at the files of the log"),
    ("resources::a_paused_one_stands_still", "before 28 a capital letter stood in 'Container … is already paused'"),
    ("resources::limits_that_cannot_hold_are_told", "isolation is refused there"),
    ("restart::one_that_is_killed_is_started_again", "it has no keepers"),
    ("restart::with_the_daemon_what_died_while_it_was_down", "it is not ours to stop"),
    ("run::isolation_is_read_in_any_case_and_resolved", "isolation is refused there"),
    ("statuses::versions_are_negotiated", "each version has its newest"),
    ("statuses::what_cannot_be_read_is_a_bad_request", "isolation is refused there, and with status 500"),
    ("statuses::what_is_in_the_way_is_a_conflict", "isolation is refused there"),
    ("statuses::what_is_not_there_is_not_found", "an attach is refused in plain text there, here in JSON as all else"),
    ("statuses::what_this_daemon_has_not_is_said", "it builds and has networks and volumes"),
];

/// Runs the body, named by its module and its own name, unless it is known to
/// differ.
pub fn on_another_daemon(module: &str, name: &str, body: impl FnOnce(&Docker)) {
    let name = format!("{}::{name}", module.trim_end_matches("::conformance").rsplit("::").next().unwrap_or_default());
    if let Some((_, reason)) = DIFFERENCES.iter().find(|(different, _)| *different == name) {
        return note(&format!("differs: {reason}"));
    }
    let host = std::env::var("CONFORMANCE_HOST").expect("CONFORMANCE_HOST=unix://SOCKET");
    let socket = PathBuf::from(host.strip_prefix("unix://").expect("a socket of this host"));
    let docker = Docker::another(socket);
    // An archive in OCI's layout alone is not for every version of it.
    let layers = busybox_layers(&docker.engine().prefix.busybox());
    let tree = docker.engine().scratch().join("busybox.tar");
    fs::write(&tree, &layers[0]).expect("the built-in image's layer");
    let tree = tree.to_str().expect("a path in text");
    docker.cli(&["import", "-c", "CMD [\"sh\"]", tree, "busybox:latest"]).ok();
    let outcome = catch_unwind(AssertUnwindSafe(|| body(&docker)));
    docker.leave();
    if let Err(panic) = outcome {
        resume_unwind(panic);
    }
}
