//! System calls younger than the profile: they get ENOSYS, as on a kernel that
//! does not have them, so that programs fall back to what they used before. A
//! profile that refuses by default would otherwise answer EPERM, which they
//! take for an answer (runc prefixes its filters in the same way).

use libseccomp::{ScmpAction, ScmpArch, ScmpSyscall};

use crate::profile::Rule;

/// The bit in a system call's number that tells x32 from x86_64; to the kernel
/// both are one architecture (`__X32_SYSCALL_BIT`).
const X32_BIT: u32 = 0x4000_0000;

// Classic BPF, linux/bpf_common.h and linux/filter.h.
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const JUMP_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_GREATER: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const JUMP_AT_LEAST: u16 = 0x35; // BPF_JMP | BPF_JGE | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// `SECCOMP_RET_ERRNO | ENOSYS`.
const REFUSE: u32 = 0x0005_0000 | 38;
const ENOSYS: i32 = 38;

/// Whether the default would refuse, and other than by ENOSYS.
pub(crate) fn matters(default: ScmpAction) -> bool {
    match default {
        ScmpAction::Errno(errno) => errno != ENOSYS,
        ScmpAction::KillProcess | ScmpAction::KillThread | ScmpAction::Trap => true,
        _ => false,
    }
}

/// The kernel's number for an architecture (`AUDIT_ARCH_*`); `None` for those
/// that go without the prefix.
fn audit_arch(arch: ScmpArch) -> Option<u32> {
    let arch = if arch == ScmpArch::Native { ScmpArch::native() } else { arch };
    match arch {
        ScmpArch::X8664 | ScmpArch::X32 => Some(0xc000_003e),
        ScmpArch::X86 => Some(0x4000_0003),
        ScmpArch::Aarch64 => Some(0xc000_00b7),
        ScmpArch::Arm => Some(0x4000_0028),
        ScmpArch::Riscv64 => Some(0xc000_00f3),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

const fn op(code: u16, value: u32, if_true: u8, if_false: u8) -> Instruction {
    Instruction { code, if_true, if_false, value }
}

/// Instructions to put before the filter itself: they return for numbers above
/// the greatest that the profile speaks of, and fall through otherwise.
pub(crate) fn prefix(architectures: &[ScmpArch], rules: &[&Rule]) -> Vec<u8> {
    let mut sections: Vec<Vec<Instruction>> = Vec::new();
    for arch in architectures {
        let Some(audit) = audit_arch(*arch) else { continue };
        let Some(last) = greatest(*arch, rules) else { continue };
        let mut section = vec![op(LOAD_WORD, NUMBER, 0, 0)];
        match *arch {
            // Numbers with the bit are x32's, the others are not.
            ScmpArch::X32 => section.extend([op(JUMP_AT_LEAST, X32_BIT, 0, 2), op(JUMP_GREATER, last, 0, 1)]),
            ScmpArch::X8664 => section.extend([op(JUMP_AT_LEAST, X32_BIT, 2, 0), op(JUMP_GREATER, last, 0, 1)]),
            _ => section.push(op(JUMP_GREATER, last, 0, 1)),
        }
        section.push(op(RETURN, REFUSE, 0, 0));
        // Loading the architecture and, if it is another, over the section.
        let over = section.len() as u8;
        section.splice(0..0, [op(LOAD_WORD, ARCH, 0, 0), op(JUMP_EQUAL, audit, 0, over)]);
        sections.push(section);
    }
    let bytes = |i: Instruction| {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&i.code.to_ne_bytes());
        bytes[2] = i.if_true;
        bytes[3] = i.if_false;
        bytes[4..].copy_from_slice(&i.value.to_ne_bytes());
        bytes
    };
    sections.into_iter().flatten().flat_map(bytes).collect()
}

/// The greatest number of the system calls that the rules name.
fn greatest(arch: ScmpArch, rules: &[&Rule]) -> Option<u32> {
    let names = rules.iter().flat_map(|rule| &rule.names);
    let numbers = names.filter_map(|name| ScmpSyscall::from_name_by_arch(name, arch).ok());
    // Negative: the call is known, but not on this architecture.
    numbers.filter_map(|syscall| u32::try_from(syscall.as_raw_syscall()).ok()).max()
}
