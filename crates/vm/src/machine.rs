//! The machine, and the QEMU command line that makes it: a pure function of
//! the description, with options that QEMU 7.2 to 10 have.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;

use casemate_model::{Bytes, ContainerId, ContainerName};

use crate::accelerator::Accelerator;
use crate::disks::Disks;
use crate::jail::{INITRD, KERNEL};
use crate::nic::Nic;
use crate::size::VmSize;
use crate::tsc::TscKhz;

/// What the guest's hardware is, and whose. Every field is checked by its type.
#[derive(Debug)]
pub struct Machine {
    pub name: ContainerName,
    pub id: ContainerId,
    pub accelerator: Accelerator,
    /// The host's counter, which TCG shows to the guest as it is.
    pub tsc: Option<TscKhz>,
    pub size: VmSize,
    /// An uncompressed kernel with a PVH entry.
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub disks: Disks,
    /// At most [`Nic::MOST`], which the guest finds in this order.
    pub nics: Vec<Nic>,
}

/// Which device sits on which of the machine's eight virtio-mmio transports.
/// They never move: a template booted with the channel alone is given the
/// other devices in their places later.
pub mod slot {
    pub const LAYERS: u8 = 0;
    pub const SCRATCH: u8 = 1;
    /// Of the first network card; the others follow.
    pub const NETWORK: u8 = 2;
    pub const CHANNEL: u8 = 7;
}

/// The port's name in the guest, where it is `/dev/vport0p1`.
const CHANNEL_PORT: &str = "agent";
/// Port 0 is set aside for consoles, and each port that could exist costs the
/// guest a pair of queues when it boots.
const CHANNEL_PORT_NUMBER: u8 = 1;

/// Where a PC has its first serial port. What sits there is not one: a device
/// that takes every byte written to it, at no cost while nothing is, where a
/// real one costs 40 ms to find and set up. Linux's early console does for it
/// as it is, from the first instructions to a panic.
const CONSOLE_PORT: &str = "0x3f8";

/// The line's rate, of which there is none: the driver sets it by writing a
/// divisor, 115200 over the rate, whose first byte comes out as a character.
/// With this it is a line feed.
const CONSOLE_RATE: u32 = 115_200 / b'\n' as u32;

/// TCG keeps translated code, by default up to an eighth of the host's memory
/// in each VM. This is enough to hold the code of large programs, and bounds
/// what a guest can make the host spend beyond the memory it was given.
const TRANSLATION_CACHE: Bytes = Bytes::mib(256);

/// QEMU's and KVM's local APIC timers run at 1 GHz by construction; told so,
/// the guest does not measure it (245 ms).
const LAPIC_TIMER_KHZ: u32 = 1_000_000;

/// `CONFIG_HZ` of the guest's kernel, for the length of its delay loop, which
/// it would measure for each processor (370 ms each).
const GUEST_HZ: u64 = 100;

/// The numbers under which QEMU finds what it was given. Standard streams are
/// 0 to 2.
pub(crate) mod descriptor {
    use super::RawFd;
    pub(crate) const CHANNEL: RawFd = 3;
    pub(crate) const CONSOLE: RawFd = 4;
    pub(crate) const SCRATCH: RawFd = 5;
    /// The only layer; of several, the description of their disk.
    pub(crate) const LAYER_DISK: RawFd = 6;
    /// Of several layers the first; the others follow.
    pub(crate) const FIRST_LAYER: RawFd = 7;
}

impl Machine {
    /// How the process is shown on the host by `ps`.
    pub(crate) fn process_name(&self) -> OsString {
        format!("casemate-vm {} {}", self.name, self.id.short()).into()
    }

    /// QEMU's arguments, without its name.
    pub fn arguments(&self) -> Vec<OsString> {
        let mut line = CommandLine::default();
        // Fifteen bytes are all that the kernel keeps of a name.
        line.option("-name", format!("guest={},process=vm-{},debug-threads=on", self.name, self.id.short()));
        line.flags(&["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"]);
        line.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny".into());
        self.processor(&mut line);
        self.console(&mut line);
        self.layer_disk(&mut line);
        self.scratch_disk(&mut line);
        self.network_cards(&mut line);
        channel(&mut line);
        line.option("-kernel", KERNEL.into());
        line.option("-initrd", INITRD.into());
        line.option("-append", self.kernel_parameters());
        line.0
    }

    fn processor(&self, line: &mut CommandLine) {
        let timers = if self.needs_legacy_timer() { "on" } else { "off" };
        line.option(
            "-machine",
            format!("microvm,acpi=off,pit={timers},pic={timers},isa-serial=off,dump-guest-core=off,mem-merge=off"),
        );
        match self.accelerator {
            Accelerator::Kvm => {
                line.option("-accel", "kvm".into());
                line.option("-cpu", "host".into());
            }
            Accelerator::Tcg => {
                line.option("-accel", format!("tcg,tb-size={}", TRANSLATION_CACHE.0 / Bytes::MIB));
                // With random numbers of its own, which `qemu64` lacks; without
                // string moves, which TCG does byte by byte.
                line.option("-cpu", "max,-erms".into());
            }
        }
        line.option("-smp", self.size.vcpus().to_string());
        line.option("-m", format!("{}M", self.size.memory().0 / Bytes::MIB));
    }

    /// Without a known counter the guest measures time against the old timer.
    fn needs_legacy_timer(&self) -> bool {
        self.accelerator == Accelerator::Tcg && self.tsc.is_none()
    }

    fn console(&self, line: &mut CommandLine) {
        line.descriptor(descriptor::CONSOLE);
        // Appended to, because QEMU would truncate it otherwise, and a pipe
        // cannot be.
        line.option("-chardev", format!("file,id=console,path=/dev/fdset/{},append=on", descriptor::CONSOLE));
        line.option("-device", format!("isa-debugcon,iobase={CONSOLE_PORT},chardev=console"));
    }

    fn layer_disk(&self, line: &mut CommandLine) {
        line.descriptor(descriptor::LAYER_DISK);
        let driver = if self.disks.has_one_layer() {
            "raw"
        } else {
            for index in 0..self.disks.extents().len() {
                line.descriptor(layer_descriptor(index));
            }
            "vmdk"
        };
        line.option(
            "-blockdev",
            format!(
                "driver={driver},node-name=layers,read-only=on,file.driver=file,file.filename=/dev/fdset/{}",
                descriptor::LAYER_DISK
            ),
        );
        line.option(
            "-device",
            format!("virtio-blk-device,drive=layers,serial=layers,rerror=report,bus={}", bus(slot::LAYERS)),
        );
    }

    fn scratch_disk(&self, line: &mut CommandLine) {
        line.descriptor(descriptor::SCRATCH);
        // Through the host's page cache, and on disk when the guest flushes.
        // What the guest discards is given back to the host. Zeros it writes
        // are written: looking for them would cost every write.
        line.option(
            "-blockdev",
            format!(
                "driver=raw,node-name=scratch,discard=unmap,detect-zeroes=off,cache.direct=off,cache.no-flush=off,\
                 file.driver=file,file.filename=/dev/fdset/{},file.discard=unmap",
                descriptor::SCRATCH
            ),
        );
        // A full disk of the host is an error inside, not a stopped VM.
        line.option(
            "-device",
            format!(
                "virtio-blk-device,drive=scratch,serial=scratch,werror=report,rerror=report,bus={}",
                bus(slot::SCRATCH)
            ),
        );
    }

    fn network_cards(&self, line: &mut CommandLine) {
        for (nic, slot, number) in self.numbered_nics() {
            line.option("-netdev", format!("tap,id=net{slot},fd={number}"));
            line.option("-device", format!("virtio-net-device,netdev=net{slot},mac={},bus={}", nic.mac, bus(slot)));
        }
    }

    /// Each with its transport, and the number under which QEMU finds its tap: the
    /// next after the layers'.
    fn numbered_nics(&self) -> impl Iterator<Item = (&Nic, u8, RawFd)> {
        let layers = if self.disks.has_one_layer() { 0 } else { self.disks.extents().len() };
        let slots = slot::NETWORK..slot::CHANNEL;
        self.nics
            .iter()
            .zip(slots)
            .enumerate()
            .map(move |(index, (nic, slot))| (nic, slot, layer_descriptor(layers + index)))
    }

    fn kernel_parameters(&self) -> String {
        // Warnings and worse reach the console, and so does what the agent says
        // when it panics; a boot that goes well prints nothing. A panic reboots
        // and a reboot ends QEMU; `t` is the way that works without firmware.
        // No bounce buffers (64 MiB in large VMs), no interfaces that nobody
        // asked for.
        let mut text = format!(
            "loglevel=5 earlyprintk=serial,{CONSOLE_PORT},{CONSOLE_RATE} panic=-1 reboot=t iommu=off \
             dummy.numdummies=0 lapic_timer_khz={LAPIC_TIMER_KHZ}"
        );
        if self.accelerator == Accelerator::Tcg {
            // Translated code is expensive to patch, and memory to give back at
            // boot. The counter is the host's, and reliable when the host says
            // so; told otherwise the guest may count ticks, which TCG loses.
            text.push_str(" noreplace-smp keep_initmem tsc=reliable");
            if let Some(tsc) = self.tsc {
                let per_tick = u64::from(tsc.get()) * 1000 / GUEST_HZ;
                text.push_str(&format!(" tsc_early_khz={} lpj={per_tick}", tsc.get()));
            }
        }
        text
    }
}

fn channel(line: &mut CommandLine) {
    let ports = CHANNEL_PORT_NUMBER + 1;
    line.option("-chardev", format!("socket,id=channel,fd={}", descriptor::CHANNEL));
    line.option("-device", format!("virtio-serial-device,max_ports={ports},bus={}", bus(slot::CHANNEL)));
    line.option("-device", format!("virtserialport,chardev=channel,name={CHANNEL_PORT},nr={CHANNEL_PORT_NUMBER}"));
}

fn bus(slot: u8) -> String {
    format!("virtio-mmio-bus.{slot}")
}

/// The number under which QEMU finds one of several layers' files.
pub(crate) fn layer_descriptor(index: usize) -> RawFd {
    // At most `Disks::MAX_LAYERS`.
    descriptor::FIRST_LAYER + RawFd::try_from(index).unwrap_or(RawFd::MAX - descriptor::FIRST_LAYER)
}

#[derive(Default)]
struct CommandLine(Vec<OsString>);

impl CommandLine {
    fn option(&mut self, name: &str, value: String) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn flags(&mut self, names: &[&str]) {
        self.0.extend(names.iter().map(OsString::from));
    }

    /// Makes an inherited descriptor known as `/dev/fdset/N`.
    fn descriptor(&mut self, number: RawFd) {
        self.option("-add-fd", format!("fd={number},set={number}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::HostCapacity;
    use casemate_model::MacAddress;
    use std::fs::File;
    use std::path::Path;

    fn machine(accelerator: Accelerator, tsc: Option<u32>, layers: usize) -> Machine {
        let layer = || {
            let named = tempfile::NamedTempFile::new().unwrap();
            named.as_file().set_len(4096).unwrap();
            File::open(named.path()).unwrap()
        };
        let scratch = tempfile::tempfile().unwrap();
        scratch.set_len(1 << 30).unwrap();
        let host = HostCapacity { memory: Bytes(8 * Bytes::GIB), cpus: 4 };
        Machine {
            name: "web-1".parse().unwrap(),
            id: ContainerId::from_random([0xab; 32]),
            accelerator,
            tsc: tsc.and_then(TscKhz::new),
            size: VmSize::for_container(Some(Bytes::mib(256)), None, host).unwrap(),
            kernel: "/somewhere/vmlinux".into(),
            initrd: "/somewhere/agent.cpio".into(),
            disks: Disks::new((0..layers).map(|_| layer()).collect(), scratch).unwrap(),
            nics: Vec::new(),
        }
    }

    /// One argument a line; `UPDATE_SNAPSHOTS=1` writes the file anew.
    fn assert_snapshot(name: &str, machine: &Machine) {
        let mut actual = String::new();
        for argument in machine.arguments() {
            actual.push_str(argument.to_str().unwrap());
            actual.push('\n');
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots").join(name);
        if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &actual).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap();
        assert_eq!(actual, expected, "{}", path.display());
    }

    #[test]
    fn command_line_under_tcg() {
        let nic =
            |last| Nic { mac: MacAddress::of([10, 1, 0, last].into()), tap: tempfile::tempfile().unwrap().into() };
        let machine = machine(Accelerator::Tcg, Some(2_596_122), 2);
        assert_snapshot("tcg.txt", &Machine { nics: vec![nic(2), nic(3)], ..machine });
    }

    #[test]
    fn command_line_under_tcg_without_a_known_counter() {
        assert_snapshot("tcg-no-tsc.txt", &machine(Accelerator::Tcg, None, 1));
    }

    #[test]
    fn command_line_under_kvm() {
        let nic = Nic { mac: MacAddress::of([10, 1, 0, 2].into()), tap: tempfile::tempfile().unwrap().into() };
        let machine = machine(Accelerator::Kvm, Some(2_596_122), 1);
        assert_snapshot("kvm.txt", &Machine { nics: vec![nic], ..machine });
    }

    #[test]
    fn the_process_is_named_after_the_container() {
        let name = machine(Accelerator::Tcg, None, 1).process_name();
        assert_eq!(name, "casemate-vm web-1 abababababab");
    }

    #[test]
    fn nothing_of_the_hosts_paths_is_told_to_qemu() {
        for argument in machine(Accelerator::Tcg, None, 1).arguments() {
            assert!(!argument.to_str().unwrap().contains("/somewhere"), "{argument:?}");
        }
    }
}
