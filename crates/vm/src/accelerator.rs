//! Which accelerator runs the guest: KVM where it is real, QEMU's own
//! translation (TCG) otherwise.
//!
//! `/dev/kvm` proves nothing by itself: hosts that are guests without nested
//! virtualization may offer it on a page-table-based backend, where it opens,
//! makes VMs, and then emulates an ordinary kernel instruction by instruction
//! until it dies on one it does not know. So KVM is chosen when the processor
//! has the extension, the device opens, and a few instructions really run in a
//! VM at a plausible speed.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use casemate_model::{Classify, ErrorClass};

use crate::sys;

pub(crate) const KVM_DEVICE: &str = "/dev/kvm";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Accelerator {
    Kvm,
    Tcg,
}

/// What the user asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AcceleratorChoice {
    #[default]
    Auto,
    Kvm,
    Tcg,
}

/// The accelerator to use, and why, in one sentence for `info` and `doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detected {
    pub accelerator: Accelerator,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid accelerator ({0}): supported are 'auto', 'kvm' and 'tcg'")]
pub struct UnknownAccelerator(pub String);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AcceleratorError {
    #[error("kvm was asked for, but {why}")]
    KvmUnusable { why: String },
}

impl Classify for AcceleratorError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Unavailable
    }

    fn hint(&self) -> Option<String> {
        Some("Choose 'auto' or 'tcg' to run virtual machines in software.".to_owned())
    }
}

/// What was found on the host; the decision is made from this alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Findings {
    /// `vmx` or `svm`, as the kernel lists it.
    extension: Option<&'static str>,
    device: Device,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Device {
    Missing,
    /// The error of opening it.
    Closed(io::ErrorKind),
    Open(Trial),
}

/// What came of running a few instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// Not made, because nothing depends on it.
    Skipped,
    Ran {
        took: Duration,
    },
    Failed(sys::KvmFailure),
}

/// The trial's half a million instructions take less than a millisecond of
/// processor time on hardware, up to 50 where the hardware is itself emulated by
/// TCG, and over 500 where each one is emulated by the hypervisor.
const PLAUSIBLE: Duration = Duration::from_millis(200);

impl Detected {
    /// Looks at the host. Costs one small read where the processor lacks the
    /// extension, about a millisecond where it has it.
    ///
    /// An explicit `kvm` is obeyed wherever the device opens, with what speaks
    /// against it in `why`.
    ///
    /// # Errors
    /// If `kvm` was asked for and the device does not open, or fails.
    pub fn on_this_host(choice: AcceleratorChoice) -> Result<Self, AcceleratorError> {
        if choice == AcceleratorChoice::Tcg {
            return Ok(Self { accelerator: Accelerator::Tcg, why: "asked for".to_owned() });
        }
        let extension = read_extension();
        // Without the extension nothing it could show would matter.
        decide(choice, Findings { extension, device: try_device(extension.is_some()) })
    }
}

fn decide(choice: AcceleratorChoice, found: Findings) -> Result<Detected, AcceleratorError> {
    let flaw = flaw(found);
    let (accelerator, why) = match (choice, flaw) {
        (AcceleratorChoice::Tcg, _) => (Accelerator::Tcg, "asked for".to_owned()),
        (AcceleratorChoice::Auto, None) => {
            let extension = found.extension.unwrap_or("virtualization");
            (Accelerator::Kvm, format!("this processor has {extension} and {KVM_DEVICE} runs guest code on it"))
        }
        (AcceleratorChoice::Auto, Some(flaw)) => (Accelerator::Tcg, flaw),
        (AcceleratorChoice::Kvm, None) => (Accelerator::Kvm, "asked for".to_owned()),
        (AcceleratorChoice::Kvm, Some(flaw)) => match found.device {
            Device::Open(Trial::Ran { .. } | Trial::Skipped) => {
                (Accelerator::Kvm, format!("asked for, although {flaw}"))
            }
            _ => return Err(AcceleratorError::KvmUnusable { why: flaw }),
        },
    };
    Ok(Detected { accelerator, why })
}

/// What speaks against KVM.
fn flaw(found: Findings) -> Option<String> {
    match (found.extension, found.device) {
        (Some(_), Device::Open(Trial::Ran { took })) if took <= PLAUSIBLE => None,
        (None, Device::Open(Trial::Skipped | Trial::Ran { .. })) => Some(format!(
            "this processor shows neither vmx nor svm, so {KVM_DEVICE} here is not hardware virtualization"
        )),
        (_, Device::Missing) if found.extension.is_none() => {
            Some("this processor shows neither vmx nor svm".to_owned())
        }
        (_, Device::Missing) => Some(format!("{KVM_DEVICE} does not exist (is the kvm module loaded?)")),
        (_, Device::Closed(kind)) => Some(format!("{KVM_DEVICE} cannot be opened ({kind})")),
        (_, Device::Open(Trial::Skipped)) => None,
        (_, Device::Open(Trial::Ran { took })) => Some(format!(
            "{KVM_DEVICE} emulates guest code instead of running it (half a million instructions took {} ms)",
            took.as_millis()
        )),
        (_, Device::Open(Trial::Failed(failure))) => Some(format!("{KVM_DEVICE} runs no guest code ({failure})")),
    }
}

fn try_device(with_trial: bool) -> Device {
    let device = match File::options().read(true).write(true).open(KVM_DEVICE) {
        Ok(device) => device,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Device::Missing,
        Err(error) => return Device::Closed(error.kind()),
    };
    if !with_trial {
        return Device::Open(Trial::Skipped);
    }
    match sys::run_in_kvm(&device) {
        Ok(took) => Device::Open(Trial::Ran { took }),
        Err(failure) => Device::Open(Trial::Failed(failure)),
    }
}

fn read_extension() -> Option<&'static str> {
    // One processor's entry is enough, and rendering all of them is slow on
    // large machines: the kernel produces only what is read.
    let mut text = vec![0; 8192];
    let mut file = File::open(Path::new("/proc/cpuinfo")).ok()?;
    let length = file.read(&mut text).ok()?;
    extension(&String::from_utf8_lossy(&text[..length]))
}

fn extension(cpuinfo: &str) -> Option<&'static str> {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")?.trim_start().strip_prefix(':'))?;
    flags.split_ascii_whitespace().find_map(|flag| match flag {
        "vmx" => Some("vmx"),
        "svm" => Some("svm"),
        _ => None,
    })
}

/// The device number of `/dev/kvm`, for a node of the VM process's own.
pub(crate) fn kvm_device_number() -> io::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(KVM_DEVICE)?.rdev())
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

impl fmt::Display for AcceleratorChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        })
    }
}

impl FromStr for AcceleratorChoice {
    type Err = UnknownAccelerator;

    fn from_str(text: &str) -> Result<Self, UnknownAccelerator> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(UnknownAccelerator(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAN: Device = Device::Open(Trial::Ran { took: Duration::from_micros(40) });
    const CRAWLED: Device = Device::Open(Trial::Ran { took: Duration::from_millis(550) });
    const FAILED: Device =
        Device::Open(Trial::Failed(sys::KvmFailure { step: "KVM_CREATE_VM", kind: io::ErrorKind::InvalidInput }));

    fn accelerator(choice: AcceleratorChoice, extension: Option<&'static str>, device: Device) -> Option<Accelerator> {
        decide(choice, Findings { extension, device }).ok().map(|detected| detected.accelerator)
    }

    #[test]
    fn kvm_needs_flag_device_and_a_guest_that_runs() {
        use AcceleratorChoice::Auto;
        for (extension, device, expected) in [
            (Some("svm"), RAN, Accelerator::Kvm),
            (Some("vmx"), RAN, Accelerator::Kvm),
            (None, RAN, Accelerator::Tcg),
            (None, Device::Open(Trial::Skipped), Accelerator::Tcg),
            (None, Device::Missing, Accelerator::Tcg),
            (Some("svm"), CRAWLED, Accelerator::Tcg),
            (Some("svm"), FAILED, Accelerator::Tcg),
            (Some("svm"), Device::Missing, Accelerator::Tcg),
            (Some("svm"), Device::Closed(io::ErrorKind::PermissionDenied), Accelerator::Tcg),
        ] {
            assert_eq!(accelerator(Auto, extension, device), Some(expected), "{extension:?} {device:?}");
        }
    }

    #[test]
    fn an_override_is_obeyed_where_it_can_work_at_all() {
        use AcceleratorChoice::{Kvm, Tcg};
        assert_eq!(accelerator(Tcg, Some("vmx"), RAN), Some(Accelerator::Tcg));
        assert_eq!(accelerator(Kvm, Some("vmx"), RAN), Some(Accelerator::Kvm));
        assert_eq!(accelerator(Kvm, None, RAN), Some(Accelerator::Kvm));
        assert_eq!(accelerator(Kvm, Some("vmx"), CRAWLED), Some(Accelerator::Kvm));
        assert_eq!(accelerator(Kvm, Some("vmx"), FAILED), None);
        assert_eq!(accelerator(Kvm, Some("vmx"), Device::Missing), None);
        assert_eq!(accelerator(Kvm, None, Device::Closed(io::ErrorKind::PermissionDenied)), None);
    }

    #[test]
    fn the_reason_says_what_is_wrong() {
        let why = |extension, device| flaw(Findings { extension, device }).unwrap();
        assert_eq!(
            why(None, Device::Open(Trial::Skipped)),
            "this processor shows neither vmx nor svm, so /dev/kvm here is not hardware virtualization"
        );
        assert_eq!(why(None, Device::Missing), "this processor shows neither vmx nor svm");
        assert_eq!(
            why(Some("vmx"), Device::Closed(io::ErrorKind::PermissionDenied)),
            "/dev/kvm cannot be opened (permission denied)"
        );
        assert_eq!(
            why(Some("svm"), CRAWLED),
            "/dev/kvm emulates guest code instead of running it (half a million instructions took 550 ms)"
        );
    }

    #[test]
    fn the_flag_is_a_word_of_its_line() {
        assert_eq!(extension("processor\t: 0\nflags\t\t: fpu svm avx\n"), Some("svm"));
        assert_eq!(extension("flags\t\t: fpu vmx\n"), Some("vmx"));
        assert_eq!(extension("flags\t\t: fpu svmx vmxnot\nvmx flags\t: vmx\n"), None);
        assert_eq!(extension("model name\t: svm\n"), None);
        assert_eq!(extension(""), None);
    }
}
