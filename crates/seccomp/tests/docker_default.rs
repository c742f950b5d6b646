//! Runs the compiled program as the kernel does and compares its answers with
//! what the profile's text says.

use casemate_model::{Capabilities, Capability};
use casemate_seccomp::{KernelVersion, Profile};
use libseccomp::{ScmpArch, ScmpSyscall};

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;
const KERNEL: KernelVersion = KernelVersion { major: 6, minor: 12 };
const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;

/// One instruction of classic BPF: code, jump if true, jump if false, value.
type Instruction = (u16, u8, u8, u32);

fn decode(program: &[u8]) -> Vec<Instruction> {
    assert_eq!(program.len() % 8, 0);
    let word = |b: &[u8]| u32::from_ne_bytes([b[0], b[1], b[2], b[3]]);
    program.chunks(8).map(|c| (u16::from_ne_bytes([c[0], c[1]]), c[2], c[3], word(&c[4..]))).collect()
}

/// The program's verdict about a call with these arguments.
fn verdict(program: &[Instruction], arch: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = [0u8; 64];
    data[..4].copy_from_slice(&number.to_ne_bytes());
    data[4..8].copy_from_slice(&arch.to_ne_bytes());
    for (slot, argument) in data[16..].chunks_mut(8).zip(arguments) {
        slot.copy_from_slice(&argument.to_ne_bytes());
    }
    let (mut accumulator, mut at) = (0u32, 0usize);
    loop {
        let (code, if_true, if_false, value) = program[at];
        at += 1;
        let jump = |taken: bool| usize::from(if taken { if_true } else { if_false });
        match code {
            0x20 => {
                let from = value as usize;
                accumulator = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
            }
            0x05 => at += value as usize,
            0x15 => at += jump(accumulator == value),
            0x25 => at += jump(accumulator > value),
            0x35 => at += jump(accumulator >= value),
            0x45 => at += jump(accumulator & value != 0),
            0x54 => accumulator &= value,
            0x06 => return value,
            code => panic!("instruction {code:#x}"),
        }
    }
}

fn program(capabilities: Capabilities) -> Vec<Instruction> {
    let profile = Profile::docker_default().unwrap();
    let seccomp = profile.compile(capabilities, KERNEL).unwrap();
    // What runc asks for where a profile says nothing.
    assert_eq!((seccomp.log, seccomp.allow_speculation), (false, true));
    decode(&seccomp.program)
}

fn number(name: &str, arch: ScmpArch) -> u32 {
    u32::try_from(ScmpSyscall::from_name_by_arch(name, arch).unwrap().as_raw_syscall()).unwrap()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_default_filter_answers_as_docker_does() {
    let program = program(Capabilities::DOCKER_DEFAULT);
    let ask = |name: &str, arguments: [u64; 6]| verdict(&program, X86_64, number(name, ScmpArch::X8664), arguments);
    let none = [0; 6];
    for allowed in ["read", "execve", "ptrace", "chroot", "arch_prctl", "modify_ldt", "openat2", "mknod"] {
        assert_eq!(ask(allowed, none), ALLOW, "{allowed}");
    }
    for refused in ["mount", "umount2", "reboot", "keyctl", "add_key", "bpf", "unshare", "setns", "init_module"] {
        assert_eq!(ask(refused, none), EPERM, "{refused}");
    }
    assert_eq!(ask("clone3", none), ENOSYS);
    // clone: any but new namespaces (the mask of the profile).
    assert_eq!(ask("clone", none), ALLOW);
    assert_eq!(ask("clone", [0x11, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask("clone", [0x1000_0000, 0, 0, 0, 0, 0]), EPERM);
    // personality: a handful of values.
    assert_eq!(ask("personality", none), ALLOW);
    assert_eq!(ask("personality", [0xffff_ffff, 0, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask("personality", [0x0004_0000, 0, 0, 0, 0, 0]), EPERM);
    // socket: everything but the vsock family.
    assert_eq!(ask("socket", [2, 1, 0, 0, 0, 0]), ALLOW);
    assert_eq!(ask("socket", [40, 1, 0, 0, 0, 0]), EPERM);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn programs_of_the_older_architectures_are_held_by_the_same_rules() {
    let program = program(Capabilities::DOCKER_DEFAULT);
    let ask = |name: &str| verdict(&program, I386, number(name, ScmpArch::X86), [0; 6]);
    assert_eq!((ask("read"), ask("mount"), ask("clone3")), (ALLOW, EPERM, ENOSYS));
    let x32 = number("read", ScmpArch::X32);
    assert_eq!(x32 & 0x4000_0000, 0x4000_0000);
    assert_eq!(verdict(&program, X86_64, x32, [0; 6]), ALLOW);
    assert_eq!(verdict(&program, X86_64, number("mount", ScmpArch::X32), [0; 6]), EPERM);
    // Another machine's calls do not run at all.
    assert_eq!(verdict(&program, 0xc000_00b7, 63, [0; 6]) >> 16, 0);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_younger_than_the_profile_do_not_exist() {
    let program = program(Capabilities::DOCKER_DEFAULT);
    for (arch, number) in [(X86_64, 1000), (X86_64, 0x4000_0000 + 1000), (I386, 1000), (X86_64, 0x3fff_ffff)] {
        assert_eq!(verdict(&program, arch, number, [0; 6]), ENOSYS, "{arch:#x} {number}");
    }
    // One that the profile could know and does not allow.
    assert_eq!(verdict(&program, X86_64, number("userfaultfd", ScmpArch::X8664), [0; 6]), EPERM);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn capabilities_open_what_they_are_for() {
    let admin: Capability = "SYS_ADMIN".parse().unwrap();
    let admin = Capabilities::from_bits(1 << admin.number());
    let (with, without) = (program(admin), program(Capabilities::NONE));
    for name in ["mount", "unshare", "setns", "bpf", "clone3"] {
        let ask = |program| verdict(program, X86_64, number(name, ScmpArch::X8664), [0; 6]);
        assert_eq!(ask(&with), ALLOW, "{name}");
        assert_ne!(ask(&without), ALLOW, "{name}");
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_profile_of_ones_own() {
    let json = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"],
        "syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#;
    let program = decode(&Profile::parse(json).unwrap().compile(Capabilities::NONE, KERNEL).unwrap().program);
    let refused = 0x0005_0000 | 28;
    assert_eq!(verdict(&program, X86_64, number("mkdir", ScmpArch::X8664), [0; 6]), refused);
    assert_eq!(verdict(&program, I386, number("mkdir", ScmpArch::X86), [0; 6]), refused);
    assert_eq!(verdict(&program, X86_64, number("mount", ScmpArch::X8664), [0; 6]), ALLOW);
    assert_eq!(verdict(&program, X86_64, 1000, [0; 6]), ALLOW);
}

#[test]
fn an_unusable_profile_says_why() {
    let bad = |json: &str| {
        let profile = Profile::parse(json).unwrap();
        profile.compile(Capabilities::NONE, KERNEL).unwrap_err().to_string()
    };
    assert_eq!(
        bad(r#"{"defaultAction":"SCMP_ACT_SING"}"#),
        "the seccomp profile names an unknown action \"SCMP_ACT_SING\""
    );
    let rule = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO",
        "args":[{"index":0,"value":1,"op":"SCMP_CMP_SORTOF"}]}]}"#;
    assert_eq!(bad(rule), "the seccomp profile compares an argument of read in an unknown way, \"SCMP_CMP_SORTOF\"");
    let index = rule.replace("SORTOF", "EQ").replace("\"index\":0", "\"index\":9");
    assert_eq!(bad(&index), "the seccomp profile's rule for read cannot be used");
}
