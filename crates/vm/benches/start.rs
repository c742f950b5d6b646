//! What the walls around a VM cost: boots through this crate against QEMU
//! started bare with the same kernel and init, taken in turns. Prints medians;
//! passes no judgement. `cargo bench -p casemate-vm -- ROUNDS`

// A measurement's output is its report.
#![allow(clippy::print_stdout)]
// Shared with the tests, which use more of it.
#![allow(dead_code)]

#[path = "../tests/bed/mod.rs"]
mod bed;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bed::Bed;
use casemate_vm::spawn;

fn main() {
    let rounds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(9);
    let bed = match Bed::make() {
        Ok(bed) => bed,
        Err(reason) => return println!("skipped: {reason}"),
    };
    starts(&bed, rounds);
    reads(&bed, rounds);
}

fn starts(bed: &Bed, rounds: usize) {
    let mut bare_without_disks = Vec::new();
    let mut bare = Vec::new();
    let mut ours = Vec::new();
    let mut spawning = Vec::new();
    let layer = bed.path("only");
    for _ in 0..rounds {
        drop(bed.layer("only", 1024));
        bare_without_disks.push(Bare::start(bed, &[]).ready);
        let disk = format!("driver=raw,node-name=d,read-only=on,file.driver=file,file.filename={}", layer.display());
        bare.push(Bare::start(bed, &["-blockdev", &disk, "-device", "virtio-blk-device,drive=d,serial=layers"]).ready);

        let machine = bed.machine(vec![bed.layer("only", 1024)], bed.blank(64 << 20));
        let start = Instant::now();
        let running = spawn(&bed.qemu, machine, &bed.jail()).unwrap();
        spawning.push(start.elapsed());
        let mut guest = bed::Guest::new(running);
        guest.wait_ready();
        ours.push(start.elapsed());
    }
    report("QEMU bare, no disks, to the first byte", &mut bare_without_disks);
    report("QEMU bare, one raw disk, to the first byte", &mut bare);
    report("ours, layer and scratch disks, to the first byte", &mut ours);
    report("  of which spawn() until QEMU executes", &mut spawning);
}

fn reads(bed: &Bed, rounds: usize) {
    const BLOCKS: u64 = 16 << 10;
    let path = bed.path("big");
    let mut file = File::create(&path).unwrap();
    for index in 0..4 * BLOCKS / 256 {
        file.write_all(&vec![index as u8 | 1; 1 << 20]).unwrap();
    }
    let quarter = |n: usize| {
        let path = bed.path(&format!("quarter-{n}"));
        std::fs::write(&path, vec![n as u8 | 1; 4096 * BLOCKS as usize]).unwrap();
        File::open(path).unwrap()
    };
    let (mut raw, mut vmdk) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let disk = format!("driver=raw,node-name=d,read-only=on,file.driver=file,file.filename={}", path.display());
        let mut bare = Bare::start(bed, &["-blockdev", &disk, "-device", "virtio-blk-device,drive=d,serial=layers"]);
        raw.push(drained(&bare.ask("drain /dev/vda")));
        let mut guest = bed.boot(bed.machine((0..4).map(quarter).collect(), bed.blank(64 << 20)));
        let disk = guest.ask("serial of layers");
        vmdk.push(drained(&guest.ask(&format!("drain {disk}"))));
    }
    report("reading 256 MiB, raw", &mut raw);
    report("reading 256 MiB, VMDK of four layers", &mut vmdk);
}

fn drained(answer: &str) -> Duration {
    let (bytes, microseconds) = answer.split_once(' ').unwrap();
    assert_eq!(bytes, "268435456");
    Duration::from_micros(microseconds.parse().unwrap())
}

fn report(what: &str, times: &mut [Duration]) {
    times.sort();
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (first, middle, last) = (times[0], times[times.len() / 2], times[times.len() - 1]);
    println!("{what:50} median {:7.1} ms   min {:7.1}   max {:7.1}", ms(middle), ms(first), ms(last));
}

/// QEMU as one would start it by hand.
struct Bare {
    qemu: Child,
    channel: BufReader<UnixStream>,
    ready: Duration,
}

impl Bare {
    fn start(bed: &Bed, disks: &[&str]) -> Self {
        let path = bed.path("bare.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let tsc = bed.tsc().map_or(String::new(), |tsc| format!("tsc=reliable tsc_early_khz={}", tsc.get()));
        let timers = if tsc.is_empty() { "on" } else { "off" };
        let parameters = format!("quiet panic=-1 reboot=t no_timer_check lapic_timer_khz=1000000 {tsc}");
        let memory = format!("{}M", bed::size(1).memory().0 >> 20);
        let start = Instant::now();
        let qemu = Command::new(bed.qemu.path())
            .args(["-machine", &format!("microvm,acpi=off,pit={timers},pic={timers},isa-serial=off,x-option-roms=off")])
            .args(["-accel", &bed.accelerator.to_string(), "-cpu", "max", "-m", &memory])
            .args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"])
            .args(["-chardev", &format!("socket,id=channel,path={}", path.display())])
            .args(["-device", "virtio-serial-device", "-device", "virtserialport,chardev=channel,name=agent,nr=1"])
            .args(disks)
            .arg("-kernel")
            .arg(&bed.kernel)
            .arg("-initrd")
            .arg(&bed.initrd)
            .args(["-append", &parameters])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (channel, _) = listener.accept().unwrap();
        let mut channel = BufReader::new(channel);
        let mut line = String::new();
        channel.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        Self { qemu, channel, ready: start.elapsed() }
    }

    fn ask(&mut self, command: &str) -> String {
        self.channel.get_mut().write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.channel.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.qemu.kill().unwrap();
        self.qemu.wait().unwrap();
    }
}
