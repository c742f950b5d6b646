//! What was measured on, so that figures can be compared.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use crate::casemate::Casemate;
use crate::error::{BenchError, file};
use crate::subject;

/// Pairs of a name and a text or number.
pub(crate) fn describe(casemate: &Casemate) -> Result<Value, BenchError> {
    let info = subject::output(&mut casemate.command(&["info", "--format", "json"]))?;
    let info: Value =
        serde_json::from_str(&info).map_err(|_| BenchError::Format { what: "what info prints", found: info })?;
    let first_line = |command: &mut Command| {
        let text = subject::output(command).ok();
        text.and_then(|text| text.lines().next().map(str::to_owned))
    };
    Ok(json!({
        "kernel": info["KernelVersion"],
        "cpus": info["NCPU"],
        "cgroup": info["CgroupVersion"],
        "accelerator": info["Casemate"]["Accelerator"],
        "qemu": info["Casemate"]["Qemu"],
        "casemate": info["ServerVersion"],
        "runc": first_line(Command::new("runc").arg("--version")),
        "docker": first_line(Command::new("docker").args(["version", "--format", "{{.Client.Version}}, server {{.Server.Version}}"])),
        "load": load()?,
    }))
}

/// Of the last 1, 5 and 15 minutes.
pub(crate) fn load() -> Result<String, BenchError> {
    let text = fs::read_to_string("/proc/loadavg").map_err(file("read", "/proc/loadavg"))?;
    Ok(text.split_ascii_whitespace().take(3).collect::<Vec<_>>().join(" "))
}
