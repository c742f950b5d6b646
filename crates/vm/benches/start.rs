//! What the walls around a VM cost: boots through this crate against QEMU
//! started bare with the same kernel and init, taken in turns. Prints medians
//! of the time on the clock and of the VM process's processor time, which other
//! work on the host disturbs less; passes no judgement. `cargo bench -p casemate-vm -- ROUNDS`

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
    let (mut bare_without_disks, mut bare, mut ours) = (Vec::new(), Vec::new(), Vec::new());
    let mut spawning = Vec::new();
    let layer = bed.path("only");
    for _ in 0..rounds {
        drop(bed.layer("only", 1024));
        bare_without_disks.push(Bare::start(bed, &[]).taken());
        let disk = format!("driver=raw,node-name=d,read-only=on,file.driver=file,file.filename={}", layer.display());
        bare.push(
            Bare::start(bed, &["-blockdev", &disk, "-device", "virtio-blk-device,drive=d,serial=layers"]).taken(),
        );

        let machine = bed.machine(vec![bed.layer("only", 1024)], bed.blank(64 << 20));
        let start = Instant::now();
        let running = spawn(&bed.qemu, machine, &bed.jail()).unwrap();
        spawning.push(Taken { clock: start.elapsed(), processor: Duration::ZERO });
        let mut guest = bed::Guest::new(running);
        guest.wait_ready();
        ours.push(Taken { clock: start.elapsed(), processor: processor_time(guest.vm.pid()) });
    }
    report("QEMU bare, no disks, to the first byte", &bare_without_disks);
    report("QEMU bare, one raw disk, to the first byte", &bare);
    report("ours, layer and scratch disks, to the first byte", &ours);
    report("  of which spawn() until QEMU executes", &spawning);
}

fn reads(bed: &Bed, rounds: usize) {
    const BLOCKS: u64 = 16 << 10;
    let path = bed.path("big");
    let mut file = File::create(&path).unwrap();
    for index in 0..4 * BLOCKS / 256 {
        file.write_all(&vec![index as u8 | 1; 1 << 20]).unwrap();
    }
    let name = |n: usize| bed.path(&format!("quarter-{n}"));
    for n in 0..4 {
        std::fs::write(name(n), vec![n as u8 | 1; 4096 * BLOCKS as usize]).unwrap();
    }
    let quarter = |n: usize| File::open(name(n)).unwrap();
    let (mut raw, mut one, mut four) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let disk = format!("driver=raw,node-name=d,read-only=on,file.driver=file,file.filename={}", path.display());
        let mut bare = Bare::start(bed, &["-blockdev", &disk, "-device", "virtio-blk-device,drive=d,serial=layers"]);
        let before = processor_time(bare.qemu.id());
        let clock = drained(&bare.ask("drain /dev/vda"));
        raw.push(Taken { clock, processor: processor_time(bare.qemu.id()) - before });
        for (layers, taken) in
            [(vec![File::open(&path).unwrap()], &mut one), ((0..4).map(quarter).collect(), &mut four)]
        {
            let mut guest = bed.boot(bed.machine(layers, bed.blank(64 << 20)));
            let disk = guest.ask("serial of layers");
            let before = processor_time(guest.vm.pid());
            let clock = drained(&guest.ask(&format!("drain {disk}")));
            taken.push(Taken { clock, processor: processor_time(guest.vm.pid()) - before });
        }
    }
    report("reading 256 MiB, QEMU bare, raw", &raw);
    report("reading 256 MiB, ours, one layer", &one);
    report("reading 256 MiB, ours, four layers", &four);
}

fn drained(answer: &str) -> Duration {
    let (bytes, microseconds) = answer.split_once(' ').unwrap();
    assert_eq!(bytes, "268435456");
    Duration::from_micros(microseconds.parse().unwrap())
}

#[derive(Clone, Copy)]
struct Taken {
    clock: Duration,
    processor: Duration,
}

/// Of all threads of a process, to the nanosecond.
fn processor_time(pid: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let nanoseconds = tasks.map(|task| {
        let text = std::fs::read_to_string(task.unwrap().path().join("schedstat")).unwrap_or_default();
        text.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0)
    });
    Duration::from_nanos(nanoseconds.sum())
}

fn report(what: &str, taken: &[Taken]) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let columns = [|taken: &Taken| taken.clock, |taken: &Taken| taken.processor].map(|column| {
        let mut times: Vec<Duration> = taken.iter().map(column).collect();
        times.sort();
        (ms(times[times.len() / 2]), ms(times[0]))
    });
    let [(clock, least), (processor, least_processor)] = &columns;
    println!(
        "{what:50} clock {clock:7.1} ms (least {least:7.1})   processor {processor:7.1} (least {least_processor:7.1})"
    );
}

/// QEMU as one would start it by hand.
struct Bare {
    qemu: Child,
    channel: BufReader<UnixStream>,
    ready: Duration,
    processor: Duration,
}

impl Bare {
    fn start(bed: &Bed, disks: &[&str]) -> Self {
        let path = bed.path("bare.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        // The machine and the kernel's parameters are ours: what is measured is
        // what this crate puts around them.
        let ours = bed.simple_machine().arguments();
        let same = |option: &str| {
            let at = ours.iter().position(|argument| argument == option).unwrap();
            [&ours[at], &ours[at + 1]]
        };
        let start = Instant::now();
        let qemu = Command::new(bed.qemu.path())
            .args(["-machine", "-accel", "-cpu", "-m", "-append"].iter().flat_map(|option| same(option)))
            .args(["-nodefaults", "-no-user-config", "-nographic", "-no-reboot"])
            .args(["-chardev", &format!("socket,id=channel,path={}", path.display())])
            .args([
                "-device",
                "virtio-serial-device,max_ports=2",
                "-device",
                "virtserialport,chardev=channel,name=agent,nr=1",
            ])
            .args(disks)
            .arg("-kernel")
            .arg(&bed.kernel)
            .arg("-initrd")
            .arg(&bed.initrd)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let (channel, _) = listener.accept().unwrap();
        let mut channel = BufReader::new(channel);
        let mut line = String::new();
        channel.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let (ready, processor) = (start.elapsed(), processor_time(qemu.id()));
        Self { qemu, channel, ready, processor }
    }

    fn ask(&mut self, command: &str) -> String {
        self.channel.get_mut().write_all(format!("{command}\n").as_bytes()).unwrap();
        let mut line = String::new();
        self.channel.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Bare {
    fn taken(&self) -> Taken {
        Taken { clock: self.ready, processor: self.processor }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        self.qemu.kill().unwrap();
        self.qemu.wait().unwrap();
    }
}
