//! The core verbs through docker-py.

use std::path::Path;
use std::process::Command;

use casemate_e2e::{PATIENCE, Spawned, both_modes, prefix};

/// Debian's own: its packages are for no other.
const PYTHON: &str = "/usr/bin/python3";

both_modes! {
    fn runs_the_core_verbs(docker: &Docker) {
        let importable = Command::new(PYTHON).args(["-c", "import docker"]).output();
        if !importable.is_ok_and(|output| output.status.success()) {
            return prefix::skip("needs docker-py, Debian's python3-docker");
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker/core.py");
        let mut command = Command::new(PYTHON);
        docker.for_clients(&mut command);
        command.arg(script).arg(docker.isolation());
        Spawned::start(command).wait_within(3 * PATIENCE).ok().prints("done\n");
    }
}
