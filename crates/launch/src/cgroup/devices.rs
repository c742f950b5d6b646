//! Which devices a container may use: none, but the handful that hold nothing
//! of anybody's. Nodes of any device may be made (Docker's containers have
//! CAP_MKNOD), opening them is what is refused.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use casemate_model::{DeviceAccess, DeviceKind, DeviceRule};

use super::CgroupError;
use super::file::{try_write, write_value};
use crate::sys;

/// Bits of `struct bpf_cgroup_dev_ctx`, linux/bpf.h.
const MKNOD: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const BLOCK: u32 = 1;
const CHARACTER: u32 = 2;

const fn any(kind: DeviceKind) -> DeviceRule {
    DeviceRule { kind, major: None, minor: None, access: DeviceAccess { read: false, write: false, mknod: true } }
}

const fn character(major: u32, minor: Option<u32>) -> DeviceRule {
    DeviceRule { kind: DeviceKind::Character, major: Some(major), minor, access: DeviceAccess::ALL }
}

/// What runc allows every container (libcontainer `specconv.AllowedDevices`)
/// and Docker adds (moby `oci.DefaultSpec`), without `/dev/net/tun`, which
/// later versions of runc no longer give either.
const ALLOWED: [DeviceRule; 11] = [
    any(DeviceKind::Character),
    any(DeviceKind::Block),
    character(1, Some(3)), // null
    character(1, Some(5)), // zero
    character(1, Some(7)), // full
    character(1, Some(8)), // random
    character(1, Some(9)), // urandom
    character(5, Some(0)), // tty
    character(5, Some(1)), // console
    character(5, Some(2)), // ptmx
    character(136, None),  // terminals of the container's own devpts
];

/// Those and the ones that were asked for, each of one kind: the kernel takes
/// a rule for all kinds to be one for all devices.
fn all_rules(asked: &[DeviceRule]) -> Vec<DeviceRule> {
    let of_one_kind = |rule: &DeviceRule| match rule.kind {
        DeviceKind::All => {
            vec![DeviceRule { kind: DeviceKind::Block, ..*rule }, DeviceRule { kind: DeviceKind::Character, ..*rule }]
        }
        _ => vec![*rule],
    };
    ALLOWED.iter().chain(asked).flat_map(of_one_kind).collect()
}

pub(crate) fn restrict_v1(dir: &Path, asked: &[DeviceRule]) -> Result<(), CgroupError> {
    write_value(&dir.join("devices.deny"), "a")?;
    all_rules(asked).iter().try_for_each(|rule| write_value(&dir.join("devices.allow"), &rule.to_string()))
}

/// In a utility VM, whose kernel knows the rules of every container by itself
/// (`guest/kernel/patches`): there each start would pay 15 ms for the checks and
/// the compilation that the kernel gives a program.
const BUILT_IN: &str = "cgroup.standard_devices";

pub(crate) fn restrict_v2(dir: &Path, group: BorrowedFd<'_>, asked: &[DeviceRule]) -> Result<(), CgroupError> {
    if asked.is_empty() {
        let path = dir.join(BUILT_IN);
        match try_write(&path, "1") {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(CgroupError::Io { operation: "write", path, source }),
        }
    }
    sys::load_device_program(&program(&all_rules(asked)))
        .and_then(|program| sys::attach_device_program(group, program.as_fd()))
        .map_err(|errno| CgroupError::Devices { path: dir.to_owned(), source: errno.into() })
}

fn bits(access: DeviceAccess) -> u32 {
    let DeviceAccess { read, write, mknod } = access;
    [(read, READ), (write, WRITE), (mknod, MKNOD)].iter().filter(|(has, _)| *has).map(|(_, bit)| bit).sum()
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BpfInstruction {
    code: u8,
    /// Destination in the low half, source in the high half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> BpfInstruction {
    // On a big-endian machine the bit-fields of the kernel's structure swap.
    let registers = if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from };
    BpfInstruction { code, registers, offset, immediate }
}

// Codes of linux/bpf_common.h and linux/bpf.h, in the combinations used here.
const LOAD_WORD: u8 = 0x61; // BPF_LDX | BPF_MEM | BPF_W
const MOVE: u8 = 0xbc; // BPF_ALU | BPF_MOV | BPF_X
const SET: u8 = 0xb7; // BPF_ALU64 | BPF_MOV | BPF_K
const AND: u8 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const SHIFT_RIGHT: u8 = 0x74; // BPF_ALU | BPF_RSH | BPF_K
const JUMP_UNEQUAL: u8 = 0x55; // BPF_JMP | BPF_JNE | BPF_K
const EXIT: u8 = 0x95; // BPF_JMP | BPF_EXIT

/// Answers 1 for an access that one of the rules allows, else 0.
fn program(rules: &[DeviceRule]) -> Vec<BpfInstruction> {
    const KIND: u8 = 2;
    const ACCESS: u8 = 3;
    const MAJOR: u8 = 4;
    const MINOR: u8 = 5;
    const SCRATCH: u8 = 6;
    let mut program = vec![
        // The context, in r1: access << 16 | kind, major, minor; four bytes each.
        op(LOAD_WORD, KIND, 1, 0, 0),
        op(MOVE, ACCESS, KIND, 0, 0),
        op(AND, KIND, 0, 0, 0xffff),
        op(SHIFT_RIGHT, ACCESS, 0, 0, 16),
        op(LOAD_WORD, MAJOR, 1, 4, 0),
        op(LOAD_WORD, MINOR, 1, 8, 0),
    ];
    for rule in rules {
        // Conditions first, their jumps past this rule's answer filled in after.
        let mut tests = Vec::new();
        let kind = if rule.kind == DeviceKind::Block { BLOCK } else { CHARACTER };
        tests.push(op(JUMP_UNEQUAL, KIND, 0, 0, kind as i32));
        let access = bits(rule.access);
        if access != MKNOD | READ | WRITE {
            tests.push(op(MOVE, SCRATCH, ACCESS, 0, 0));
            tests.push(op(AND, SCRATCH, 0, 0, (!access & 0xffff) as i32));
            tests.push(op(JUMP_UNEQUAL, SCRATCH, 0, 0, 0));
        }
        if let Some(major) = rule.major {
            tests.push(op(JUMP_UNEQUAL, MAJOR, 0, 0, major as i32));
        }
        if let Some(minor) = rule.minor {
            tests.push(op(JUMP_UNEQUAL, MINOR, 0, 0, minor as i32));
        }
        let count = tests.len();
        for (index, mut test) in tests.into_iter().enumerate() {
            if test.code == JUMP_UNEQUAL {
                // Over the remaining tests and the two instructions of the answer.
                test.offset = (count - index - 1 + 2) as i16;
            }
            program.push(test);
        }
        program.extend([op(SET, 0, 0, 0, 1), op(EXIT, 0, 0, 0, 0)]);
    }
    program.extend([op(SET, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn allowed(rules: &[DeviceRule], kind: u32, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0u64; 11];
        let program = program(&all_rules(rules));
        let mut at = 0;
        loop {
            let i = program[at];
            let (to, from) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            at += 1;
            match i.code {
                LOAD_WORD => {
                    assert_eq!(from, 1);
                    registers[to] = u64::from(context[i.offset as usize / 4]);
                }
                MOVE => registers[to] = registers[from] & 0xffff_ffff,
                SET => registers[to] = i.immediate as u64,
                AND => registers[to] &= u64::from(i.immediate as u32),
                SHIFT_RIGHT => registers[to] >>= i.immediate,
                JUMP_UNEQUAL if registers[to] != i.immediate as u64 => at += i.offset as usize,
                JUMP_UNEQUAL => {}
                EXIT => return registers[0] == 1,
                code => panic!("unknown code {code:#x}"),
            }
        }
    }

    fn rules(texts: &[&str]) -> Vec<DeviceRule> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn the_program_says_what_the_rules_say() {
        for asked in [rules(&[]), rules(&["c 10:* r", "b 8:0 rw", "a 7:1 rm"])] {
            let all = all_rules(&asked);
            for kind in [BLOCK, CHARACTER] {
                for access in 1..8 {
                    for major in [0, 1, 5, 7, 8, 10, 136, 254] {
                        for minor in [0, 1, 2, 3, 5, 6, 8, 200, 255] {
                            let by_rules = all.iter().any(|r| {
                                (r.kind == DeviceKind::Block) == (kind == BLOCK)
                                    && r.major.is_none_or(|m| m == major)
                                    && r.minor.is_none_or(|m| m == minor)
                                    && access & !bits(r.access) == 0
                            });
                            let answer = allowed(&asked, kind, access, major, minor);
                            assert_eq!(answer, by_rules, "{kind} {access} {major}:{minor}");
                        }
                    }
                }
            }
        }
        assert!(!allowed(&[], BLOCK, READ, 8, 0));
        assert!(allowed(&[], BLOCK, MKNOD, 8, 0));
        assert!(allowed(&[], CHARACTER, READ | WRITE, 1, 3));
        let asked = rules(&["b 8:0 r"]);
        assert!(allowed(&asked, BLOCK, READ, 8, 0) && !allowed(&asked, BLOCK, WRITE, 8, 0));
        assert!(allowed(&rules(&["a *:* rwm"]), CHARACTER, READ | WRITE | MKNOD, 250, 7));
    }

    #[test]
    fn rules_in_the_words_of_version_1() {
        let words =
            |asked: &[&str]| -> Vec<String> { all_rules(&rules(asked)).iter().map(DeviceRule::to_string).collect() };
        assert_eq!(words(&[])[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
        assert_eq!(words(&["a 1:* r"])[11..], ["b 1:* r", "c 1:* r"]);
    }
}
