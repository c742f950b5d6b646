//! `casemate doctor`: what is there, what is missing, and how to mend it.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use casemate_engine::Settings;
use casemate_launch::CgroupVersion;
use casemate_model::{Classify, chain};
use casemate_vm::{Detected, Qemu};
use serde_json::json;

use crate::cli::FormatArgs;
use crate::report::CliError;

/// One thing looked at: what was found, or what is wrong and how to mend it.
struct Check {
    name: &'static str,
    /// Without it, which isolation does not work.
    needed_for: &'static str,
    found: Result<String, Problem>,
}

struct Problem {
    what: String,
    fix: Option<String>,
}

impl Problem {
    fn of<E: Classify>(error: &E) -> Self {
        Self { what: chain(error), fix: error.hint() }
    }
}

pub(crate) fn run(settings: &Settings, args: &FormatArgs) -> Result<ExitCode, CliError> {
    let checks = checks(settings);
    let failed = checks.iter().any(|check| check.found.is_err());
    if args.json() {
        let lines: String = checks
            .iter()
            .map(|check| {
                let (found, problem) = match &check.found {
                    Ok(found) => (Some(found), None),
                    Err(problem) => (None, Some(problem)),
                };
                let line = json!({
                    "Check": check.name,
                    "NeededFor": check.needed_for,
                    "Ok": found.is_some(),
                    "Found": found,
                    "Problem": problem.map(|problem| &problem.what),
                    "Fix": problem.and_then(|problem| problem.fix.as_ref()),
                });
                format!("{line}\n")
            })
            .collect();
        super::print(&lines)?;
    } else {
        super::print(&report(&checks))?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn report(checks: &[Check]) -> String {
    let (green, red, plain) =
        if std::io::stdout().is_terminal() { ("\x1b[32m", "\x1b[31m", "\x1b[0m") } else { ("", "", "") };
    let mut text = String::new();
    for Check { name, needed_for, found } in checks {
        match found {
            Ok(found) => text.push_str(&format!("{green}ok{plain}       {name:<13} {found}\n")),
            Err(Problem { what, fix }) => {
                text.push_str(&format!("{red}missing{plain}  {name:<13} {what} (needed for {needed_for})\n"));
                if let Some(fix) = fix {
                    text.push_str(&format!("                       fix: {fix}\n"));
                }
            }
        }
    }
    text
}

fn checks(settings: &Settings) -> Vec<Check> {
    const BOTH: &str = "both isolations";
    const HYPERV: &str = "hyperv isolation";
    let plain = |found: Result<String, String>| found.map_err(|what| Problem { what, fix: None });
    vec![
        Check { name: "root", needed_for: BOTH, found: root() },
        Check { name: "kernel", needed_for: BOTH, found: kernel() },
        Check { name: "cgroups", needed_for: BOTH, found: plain(cgroup()) },
        Check { name: "overlayfs", needed_for: BOTH, found: overlayfs() },
        Check {
            name: "accelerator",
            needed_for: HYPERV,
            found: plain(accelerator(settings).map(|d| format!("{}: {}", d.accelerator, d.why))),
        },
        Check { name: "qemu", needed_for: HYPERV, found: found_qemu(settings) },
        Check { name: "mkfs.ext4", needed_for: HYPERV, found: program("mkfs.ext4", "e2fsprogs") },
        Check { name: "guest kernel", needed_for: HYPERV, found: asset(&settings.lib.join("vmlinux")) },
        Check { name: "guest agent", needed_for: HYPERV, found: asset(&settings.lib.join("initrd.img")) },
        Check {
            name: "busybox image",
            needed_for: "the built-in image",
            found: asset(&settings.lib.join("busybox.tar")),
        },
    ]
}

pub(crate) fn accelerator(settings: &Settings) -> Result<Detected, String> {
    let choice = settings.accelerator.parse().map_err(|error| chain(&error as &casemate_vm::UnknownAccelerator))?;
    Detected::on_this_host(choice).map_err(|error| chain(&error))
}

/// Path and version.
pub(crate) fn qemu(settings: &Settings) -> Result<String, String> {
    found_qemu(settings).map_err(|problem| problem.what)
}

fn found_qemu(settings: &Settings) -> Result<String, Problem> {
    let qemu = match &settings.qemu {
        Some(path) => Qemu::at(path.clone()),
        None => Qemu::find(),
    }
    .map_err(|error| Problem::of(&error))?;
    let version = qemu.version().map_err(|error| Problem::of(&error))?;
    Ok(format!("{version} ({})", qemu.path().display()))
}

pub(crate) fn cgroup() -> Result<String, String> {
    match casemate_launch::cgroup_version() {
        Ok(CgroupVersion::V1) => Ok("1".to_owned()),
        Ok(CgroupVersion::Hybrid) => Ok("1 (hybrid)".to_owned()),
        Ok(CgroupVersion::V2) => Ok("2".to_owned()),
        Err(error) => Err(chain(&error)),
    }
}

fn root() -> Result<String, Problem> {
    match rustix::process::geteuid().is_root() {
        true => Ok("running as root".to_owned()),
        false => Err(Problem { what: "not running as root".to_owned(), fix: Some("sudo casemate …".to_owned()) }),
    }
}

/// The launcher's newest need is `clone3` into a control group and
/// `pidfd`-based `setns`: Linux 5.8.
fn kernel() -> Result<String, Problem> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse::<u32>().ok());
    match (numbers.next(), numbers.next()) {
        (Some(major), Some(minor)) if (major, minor) < (5, 8) => Err(Problem {
            what: format!("Linux {release} is too old: 5.8 or newer is needed"),
            fix: Some("a newer kernel, such as that of Debian 12".to_owned()),
        }),
        _ => Ok(format!("Linux {release}")),
    }
}

fn overlayfs() -> Result<String, Problem> {
    let known = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay") {
        return Ok("in the kernel".to_owned());
    }
    Err(Problem { what: "the kernel does not know overlayfs yet".to_owned(), fix: Some("modprobe overlay".to_owned()) })
}

fn program(name: &'static str, package: &str) -> Result<String, Problem> {
    let dirs = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    let found = dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    found.map(|path| path.display().to_string()).ok_or_else(|| Problem {
        what: format!("{name} is not installed"),
        fix: Some(format!("apt-get install {package}")),
    })
}

fn asset(path: &Path) -> Result<String, Problem> {
    match path.exists() {
        true => Ok(path.display().to_string()),
        false => Err(Problem {
            what: format!("{} is missing", path.display()),
            fix: Some("make (in the source tree)".to_owned()),
        }),
    }
}
