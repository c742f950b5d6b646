//! What the daemon says of its host in `info` and `version`.

use std::cell::Cell;
use std::fs;

use casemate_api::HostFacts;

use crate::commands::doctor;

use super::config::Config;
use super::listen::Listening;

pub(super) fn look(config: &Config, listening: &[Listening]) -> HostFacts {
    let settings = &config.settings;
    let (accelerator, accelerator_reason) = match doctor::accelerator(settings) {
        Ok(detected) => (Some(detected.accelerator.to_string()), detected.why),
        Err(problem) => (None, problem),
    };
    let verifies = config.tls.as_ref().is_some_and(|files| files.client_authority.is_some());
    let capacity = casemate_vm::HostCapacity::read().ok();
    let uname = rustix::system::uname();
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let os = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux").trim_matches('"');
    HostFacts {
        machine_id: fs::read_to_string("/etc/machine-id").unwrap_or_default().trim().to_owned(),
        host_name: uname.nodename().to_string_lossy().into_owned(),
        kernel: uname.release().to_string_lossy().into_owned(),
        operating_system: os.to_owned(),
        cgroup_version: match doctor::cgroup() {
            Ok(version) if version == "2" => version,
            _ => "1".to_owned(),
        },
        cpus: capacity.as_ref().map_or(0, |capacity| capacity.cpus),
        memory: capacity.map_or(0, |capacity| capacity.memory.0),
        accelerator,
        accelerator_reason,
        qemu: doctor::qemu(settings).ok(),
        debug: Cell::new(config.log.is_debug()),
        warnings: listening.iter().filter_map(|listening| listening.warning(verifies)).collect(),
    }
}
