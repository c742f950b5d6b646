//! `casemate info` and `casemate version`: what the daemon runs on, and is.

use casemate_client::Client;
use casemate_model::Bytes;
use serde_json::{Value, json};

use crate::cli::FormatArgs;
use crate::report::CliError;

pub(crate) async fn run(client: &Client, args: &FormatArgs) -> Result<(), CliError> {
    let info: Value = client.get("/info").send().await?.json().await?;
    if args.json() {
        return super::print(&format!("{info}\n"));
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let own = &info["Casemate"];
    let rows = [
        ("Daemon", client.endpoint().host.to_string()),
        ("Version", text(&info["ServerVersion"])),
        ("Containers", format!("{} ({} running)", info["Containers"], info["ContainersRunning"])),
        ("Images", text(&info["Images"])),
        ("Default isolation", text(&info["Isolation"])),
        ("Accelerator", format!("{} ({})", text(&own["Accelerator"]), text(&own["AcceleratorReason"]))),
        ("QEMU", text(&own["Qemu"])),
        ("Guest kernel", text(&own["GuestKernel"])),
        ("Host kernel", text(&info["KernelVersion"])),
        ("Cgroup version", text(&info["CgroupVersion"])),
        ("Architecture", text(&info["Architecture"])),
        ("CPUs", text(&info["NCPU"])),
        ("Total memory", Bytes(info["MemTotal"].as_u64().unwrap_or(0)).to_string()),
        ("Root directory", text(&info["DockerRootDir"])),
        ("Run directory", text(&own["RunDir"])),
    ];
    let lines: String = rows.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
    super::print(&lines)?;
    for warning in info["Warnings"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        crate::report::warn(warning.trim_start_matches("WARNING: "));
    }
    Ok(())
}

pub(crate) async fn version(client: &Client, args: &FormatArgs) -> Result<(), CliError> {
    let server: Value = client.get("/version").send().await?.json().await?;
    let own = env!("CARGO_PKG_VERSION");
    if args.json() {
        return super::print(&format!("{}\n", json!({ "Client": { "Version": own }, "Server": server })));
    }
    let text = |name: &str| server[name].as_str().unwrap_or_default().to_owned();
    super::print(&format!(
        "Client: {own}\nServer: {} ({}), API {} to {}\n",
        text("Version"),
        client.endpoint().host,
        text("MinAPIVersion"),
        text("ApiVersion")
    ))
}
