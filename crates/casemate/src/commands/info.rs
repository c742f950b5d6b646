//! `casemate info`: what this engine runs on.

use std::process::ExitCode;

use casemate_engine::{Engine, Settings};
use serde_json::{Value, json};

use crate::cli::FormatArgs;
use crate::report::CliError;

pub(crate) fn run(settings: &Settings, args: &FormatArgs) -> Result<ExitCode, CliError> {
    let host = Host::look(settings);
    let engine = Engine::open(settings.clone())?;
    let containers = engine.containers()?;
    let running = containers.iter().filter(|container| container.state.is_running()).count();
    let images = engine.images().images()?.len();
    if args.json() {
        let object = json!({
            "ServerVersion": env!("CARGO_PKG_VERSION"),
            "Containers": containers.len(),
            "ContainersRunning": running,
            "Images": images,
            "Isolation": "process",
            "KernelVersion": host.kernel,
            "Architecture": std::env::consts::ARCH,
            "NCPU": host.cpus,
            "MemTotal": host.memory,
            "CgroupVersion": host.cgroup,
            "DockerRootDir": settings.root,
            "Casemate": {
                "Accelerator": host.accelerator,
                "AcceleratorReason": host.accelerator_reason,
                "Qemu": host.qemu,
                "GuestKernel": settings.lib.join("vmlinux"),
                "RunDir": settings.run,
            },
        });
        super::print(&format!("{object}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let rows = [
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Containers", format!("{} ({running} running)", containers.len())),
        ("Images", images.to_string()),
        ("Default isolation", "process".to_owned()),
        ("Accelerator", format!("{} ({})", text(&host.accelerator), host.accelerator_reason)),
        ("QEMU", text(&host.qemu)),
        ("Guest kernel", settings.lib.join("vmlinux").display().to_string()),
        ("Host kernel", host.kernel),
        ("Cgroup version", host.cgroup),
        ("Architecture", std::env::consts::ARCH.to_owned()),
        ("CPUs", host.cpus.to_string()),
        ("Total memory", casemate_model::Bytes(host.memory).to_string()),
        ("Root directory", settings.root.display().to_string()),
        ("Run directory", settings.run.display().to_string()),
    ];
    let lines: String = rows.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    super::print(&lines)?;
    Ok(ExitCode::SUCCESS)
}

/// What can be said of the host without starting anything on it.
struct Host {
    kernel: String,
    cgroup: String,
    cpus: u32,
    memory: u64,
    accelerator: Value,
    accelerator_reason: String,
    qemu: Value,
}

impl Host {
    fn look(settings: &Settings) -> Self {
        let (accelerator, accelerator_reason) = match super::doctor::accelerator(settings) {
            Ok(detected) => (Value::String(detected.accelerator.to_string()), detected.why),
            Err(problem) => (Value::Null, problem),
        };
        let qemu = super::doctor::qemu(settings).map_or_else(|problem| json!({ "Error": problem }), Value::String);
        let capacity = casemate_vm::HostCapacity::read().ok();
        Self {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cgroup: super::doctor::cgroup().unwrap_or_else(|problem| problem),
            cpus: capacity.as_ref().map_or(0, |capacity| capacity.cpus),
            memory: capacity.map_or(0, |capacity| capacity.memory.0),
            accelerator,
            accelerator_reason,
            qemu,
        }
    }
}
