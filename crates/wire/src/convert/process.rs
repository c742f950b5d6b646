//! Processes to start.

use casemate_model::{Capabilities, Process, Rlimit, RlimitKind, Seccomp, TerminalSize};

use super::{InvalidMessage, no_null, no_nulls};
use crate::message as written;

/// The kernel's (proc(5), `oom_score_adj`).
const OOM_SCORES: std::ops::RangeInclusive<i32> = -1000..=1000;

impl From<&Process> for written::Process {
    fn from(process: &Process) -> Self {
        let Process {
            args,
            env,
            cwd,
            user,
            additional_groups,
            terminal,
            stdin,
            capabilities,
            no_new_privileges,
            seccomp,
            rlimits,
            oom_score_adj,
        } = process;
        Self {
            args: args.clone(),
            env: env.clone(),
            cwd: cwd.clone(),
            user: user.to_string(),
            additional_groups: additional_groups.clone(),
            terminal: terminal.map(|TerminalSize { rows, columns }| (rows, columns)),
            stdin: *stdin,
            capabilities: capabilities.bits(),
            no_new_privileges: *no_new_privileges,
            seccomp: seccomp.as_ref().map(Into::into),
            rlimits: rlimits.iter().map(Into::into).collect(),
            oom_score_adj: *oom_score_adj,
        }
    }
}

impl TryFrom<written::Process> for Process {
    type Error = InvalidMessage;

    fn try_from(process: written::Process) -> Result<Self, InvalidMessage> {
        let written::Process {
            args,
            env,
            cwd,
            user,
            additional_groups,
            terminal,
            stdin,
            capabilities,
            no_new_privileges,
            seccomp,
            rlimits,
            oom_score_adj,
        } = process;
        if args.is_empty() {
            return Err(InvalidMessage::NoCommand);
        }
        if !OOM_SCORES.contains(&oom_score_adj) {
            return Err(InvalidMessage::OutOfRange { field: "OOM score adjustment", value: oom_score_adj.into() });
        }
        Ok(Self {
            args: no_nulls("argument", args)?,
            env: no_nulls("environment", env)?,
            cwd: no_null("working directory", cwd)?,
            user: no_null("user", user)?.parse().map_err(InvalidMessage::User)?,
            additional_groups: no_nulls("group", additional_groups)?,
            terminal: terminal.map(|(rows, columns)| TerminalSize { rows, columns }),
            stdin,
            capabilities: Capabilities::from_bits(capabilities),
            no_new_privileges,
            seccomp: seccomp.map(TryInto::try_into).transpose()?,
            rlimits: rlimits.into_iter().map(Into::into).collect(),
            oom_score_adj,
        })
    }
}

impl From<&Seccomp> for written::Seccomp {
    fn from(seccomp: &Seccomp) -> Self {
        let Seccomp { program, log, allow_speculation } = seccomp;
        Self { program: to_hex(program), log: *log, allow_speculation: *allow_speculation }
    }
}

impl TryFrom<written::Seccomp> for Seccomp {
    type Error = InvalidMessage;

    fn try_from(seccomp: written::Seccomp) -> Result<Self, InvalidMessage> {
        let written::Seccomp { program, log, allow_speculation } = seccomp;
        Ok(Self { program: from_hex(&program)?, log, allow_speculation })
    }
}

impl From<&Rlimit> for written::Rlimit {
    fn from(limit: &Rlimit) -> Self {
        let Rlimit { kind, soft, hard } = *limit;
        Self { kind: kind.into(), soft, hard }
    }
}

impl From<written::Rlimit> for Rlimit {
    fn from(limit: written::Rlimit) -> Self {
        let written::Rlimit { kind, soft, hard } = limit;
        Self { kind: kind.into(), soft, hard }
    }
}

/// The two enums have the same variants; the compiler checks both directions.
macro_rules! same_variants {
    ($($variant:ident),* $(,)?) => {
        impl From<RlimitKind> for written::RlimitKind {
            fn from(kind: RlimitKind) -> Self {
                match kind { $(RlimitKind::$variant => Self::$variant),* }
            }
        }

        impl From<written::RlimitKind> for RlimitKind {
            fn from(kind: written::RlimitKind) -> Self {
                match kind { $(written::RlimitKind::$variant => Self::$variant),* }
            }
        }
    };
}

same_variants!(
    As, Core, Cpu, Data, Fsize, Locks, Memlock, Msgqueue, Nice, Nofile, Nproc, Rss, Rtprio, Rttime, Sigpending, Stack
);

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// A whole number of eight-byte instructions, at most the kernel's 4096.
fn from_hex(text: &str) -> Result<Vec<u8>, InvalidMessage> {
    let bytes = text.as_bytes();
    if !bytes.len().is_multiple_of(16) || bytes.len() > 4096 * 16 {
        return Err(InvalidMessage::Seccomp);
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|n| n as u8).ok_or(InvalidMessage::Seccomp);
    bytes.chunks_exact(2).map(|pair| Ok(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}
