//! Which limits a container can be held to, by the kernels in question.

use std::fs;

use casemate_model::{Isolation, LimitSupport, Limits, NumberList};

use crate::Engine;
use crate::container::Container;
use crate::options::{InvalidOption, limits_of};

/// Whether the host has the processors and memory nodes that a container is to
/// keep to; those of a utility VM are the host's too.
pub(crate) fn check_available(limits: &Limits) -> Result<(), InvalidOption> {
    let missing = |wanted: &Option<NumberList>, kind: &str| {
        let wanted = wanted.as_ref()?;
        // Where the kernel does not say, it is the start that tells.
        let online = fs::read_to_string(format!("/sys/devices/system/{kind}/online")).ok()?;
        let online: NumberList = online.trim().parse().ok()?;
        (!wanted.is_subset_of(&online)).then(|| (wanted.to_string(), online.to_string()))
    };
    if let Some((requested, available)) = missing(&limits.cpuset_cpus, "cpu") {
        return Err(InvalidOption::CpusNotAvailable { requested, available });
    }
    match missing(&limits.cpuset_mems, "node") {
        Some((requested, available)) => Err(InvalidOption::NodesNotAvailable { requested, available }),
        None => Ok(()),
    }
}

impl Engine {
    /// Which limits this host's kernel knows; looked up once. A host without
    /// control groups knows none, and starting a container there says so.
    pub fn limit_support(&self) -> &LimitSupport {
        self.limit_support.get_or_init(|| {
            casemate_launch::limit_support().unwrap_or_else(|error| {
                tracing::warn!(error = casemate_model::chain(&error), "no control groups");
                LimitSupport::default()
            })
        })
    }

    /// What of these limits holds behind this wall, and in Docker's words what
    /// does not.
    pub(crate) fn supported(&self, isolation: Isolation, mut limits: Limits) -> (Limits, Vec<&'static str>) {
        let host = self.limit_support();
        let warnings = match isolation {
            Isolation::Process => host.discard_unsupported(&mut limits),
            Isolation::Hyperv => LimitSupport::in_utility_vm(host).discard_unsupported(&mut limits),
        };
        (limits, warnings)
    }

    /// What a container was asked to be held to and will not be, in Docker's words.
    pub fn warnings(&self, container: &Container) -> Vec<&'static str> {
        let record = &container.record;
        let limits = limits_of(record.memory, record.nano_cpus, &record.host.limits);
        limits.map(|limits| self.supported(container.isolation, limits).1).unwrap_or_default()
    }
}
