//! From rules to a program, by libseccomp.

use std::io::{Read, Seek};

use casemate_model::{Capabilities, Classify, ErrorClass, Seccomp};
use libseccomp::error::SeccompError;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::kernel::KernelVersion;
use crate::profile::{Action, Architectures, Argument, Profile, Rule};
use crate::unknown;

/// EPERM, where a profile refuses without saying how (as runc).
const DEFAULT_ERRNO: u32 = 1;

/// libseccomp's own arrangement of the program: a binary tree over the system
/// call's number, not a list. The kernel walks it for every number when a
/// filter is installed, and programs for every call that depends on arguments.
const BINARY_TREE: u32 = 2;

#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    #[error("the seccomp profile names an unknown action {name:?}")]
    Action { name: String, source: SeccompError },
    #[error("the seccomp profile names an unknown architecture {name:?}")]
    Architecture { name: String, source: SeccompError },
    #[error("the seccomp profile compares an argument of {syscall} in an unknown way, {op:?}")]
    Comparison { syscall: String, op: String, source: SeccompError },
    #[error("the seccomp profile's rule for {syscall} cannot be used")]
    Rule { syscall: String, source: SeccompError },
    #[error("libseccomp cannot {operation}")]
    Library { operation: &'static str, source: SeccompError },
    #[error("cannot take the compiled seccomp filter")]
    Export(#[source] std::io::Error),
}

impl Classify for CompileError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Action { .. } | Self::Architecture { .. } | Self::Comparison { .. } | Self::Rule { .. } => {
                ErrorClass::InvalidArgument
            }
            Self::Library { .. } | Self::Export(_) => ErrorClass::Internal,
        }
    }
}

/// The machine the filter is for, by libseccomp's name and by Go's. Containers
/// and VMs run on the host's own.
fn machine() -> (ScmpArch, &'static str, &'static str) {
    if cfg!(target_arch = "x86_64") {
        (ScmpArch::X8664, "SCMP_ARCH_X86_64", "amd64")
    } else if cfg!(target_arch = "aarch64") {
        (ScmpArch::Aarch64, "SCMP_ARCH_AARCH64", "arm64")
    } else {
        // A filter for it alone, of the rules that name no architecture.
        (ScmpArch::Native, "SCMP_ARCH_NATIVE", std::env::consts::ARCH)
    }
}

impl Profile {
    /// The filter for a container with these capabilities on this kernel
    /// (which may be a utility VM's).
    pub fn compile(&self, capabilities: Capabilities, kernel: KernelVersion) -> Result<Seccomp, CompileError> {
        let (native, native_name, go_name) = machine();
        let rules: Vec<&Rule> = self.select(capabilities, kernel, go_name).collect();
        let architectures = self.architectures(native, native_name)?;
        let default = action(&self.default)?;
        let mut filter = new_filter(default, &architectures)?;
        for rule in &rules {
            let rule_action = action(&rule.action)?;
            // What happens anyway needs no rule, and libseccomp refuses one.
            if rule_action != default {
                rule.names.iter().try_for_each(|name| add(&mut filter, rule_action, name, &rule.arguments))?;
            }
        }
        let mut program = Vec::new();
        if unknown::matters(default) {
            program = unknown::prefix(&architectures, &rules);
        }
        program.extend(export(&filter)?);
        Ok(Seccomp { program, log: self.log, allow_speculation: self.allow_speculation })
    }

    /// The machine's own and those whose programs it runs too.
    fn architectures(&self, native: ScmpArch, native_name: &str) -> Result<Vec<ScmpArch>, CompileError> {
        let mut all = vec![native];
        let names: Vec<&String> = match &self.architectures {
            Architectures::List(names) => names.iter().collect(),
            Architectures::Map(map) => {
                let entry = map.iter().find(|entry| entry.architecture == native_name);
                entry.into_iter().flat_map(|entry| entry.sub_architectures.iter().flatten()).collect()
            }
        };
        for name in names {
            let parsed = name.parse::<ScmpArch>();
            all.push(parsed.map_err(|source| CompileError::Architecture { name: name.clone(), source })?);
        }
        Ok(all)
    }
}

fn action(action: &Action) -> Result<ScmpAction, CompileError> {
    let errno = action.errno.unwrap_or(DEFAULT_ERRNO);
    let value = i32::try_from(errno).unwrap_or(i32::MAX);
    ScmpAction::from_str(&action.name, Some(value))
        .map_err(|source| CompileError::Action { name: action.name.clone(), source })
}

fn new_filter(default: ScmpAction, architectures: &[ScmpArch]) -> Result<ScmpFilterContext, CompileError> {
    let failed = |operation| move |source| CompileError::Library { operation, source };
    let mut filter = ScmpFilterContext::new(default).map_err(failed("make a filter"))?;
    for arch in architectures {
        if !filter.is_arch_present(*arch).map_err(failed("look at a filter"))? {
            filter.add_arch(*arch).map_err(failed("add an architecture"))?;
        }
    }
    filter.set_ctl_optimize(BINARY_TREE).map_err(failed("arrange a filter as a tree"))?;
    Ok(filter)
}

fn add(
    filter: &mut ScmpFilterContext,
    action: ScmpAction,
    name: &str,
    arguments: &[Argument],
) -> Result<(), CompileError> {
    // Newer than the library, or of another machine.
    let Ok(syscall) = ScmpSyscall::from_name(name) else { return Ok(()) };
    let failed = |source| CompileError::Rule { syscall: name.to_owned(), source };
    let comparisons = arguments.iter().map(|a| comparison(name, a)).collect::<Result<Vec<_>, _>>()?;
    // Conditions on different arguments have to hold together; of several on
    // one argument, one (as runc reads them).
    let indexes = arguments.iter().map(|a| a.index);
    let repeated = indexes.clone().enumerate().any(|(at, index)| indexes.clone().skip(at + 1).any(|i| i == index));
    if comparisons.is_empty() {
        filter.add_rule(action, syscall).map_err(failed)?;
    } else if repeated {
        for comparison in comparisons {
            filter.add_rule_conditional(action, syscall, &[comparison]).map_err(failed)?;
        }
    } else {
        filter.add_rule_conditional(action, syscall, &comparisons).map_err(failed)?;
    }
    Ok(())
}

fn comparison(syscall: &str, argument: &Argument) -> Result<ScmpArgCompare, CompileError> {
    let op: ScmpCompareOp = argument.op.parse().map_err(|source| CompileError::Comparison {
        syscall: syscall.to_owned(),
        op: argument.op.clone(),
        source,
    })?;
    Ok(match op {
        ScmpCompareOp::MaskedEqual(_) => {
            ScmpArgCompare::new(argument.index, ScmpCompareOp::MaskedEqual(argument.value), argument.value_two)
        }
        op => ScmpArgCompare::new(argument.index, op, argument.value),
    })
}

fn export(filter: &ScmpFilterContext) -> Result<Vec<u8>, CompileError> {
    let file = memfd_create(c"seccomp", MemfdFlags::CLOEXEC).map_err(|errno| CompileError::Export(errno.into()))?;
    let mut file = std::fs::File::from(file);
    filter.export_bpf(&file).map_err(|source| CompileError::Library { operation: "compile the filter", source })?;
    let mut program = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut program)).map_err(CompileError::Export)?;
    Ok(program)
}
