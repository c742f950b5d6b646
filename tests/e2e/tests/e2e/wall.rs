//! What a container sees and may do: the same in both modes, and Docker's.

use casemate_e2e::both_modes;

both_modes! {
    fn files_of_etc_are_the_engines(engine: &Engine) {
        let hosts = engine.run(&["--rm", "--network", "none", "-h", "box", "busybox", "cat", "/etc/hosts"]).ok().out();
        for line in ["127.0.0.1\tlocalhost\n", "::1\tlocalhost ip6-localhost ip6-loopback\n", "127.0.0.1\tbox\n"] {
            assert!(hosts.contains(line), "{hosts}");
        }
        // They can be written, and what is written stays in the container.
        let script = "echo '10.0.0.1 other' >> /etc/hosts && grep -c other /etc/hosts; test -f /etc/resolv.conf && cat /etc/resolv.conf";
        engine.script(&["--network", "none"], script).ok().prints("1\n");
        assert!(!engine.run(&["--rm", "busybox", "cat", "/etc/hosts"]).ok().out().contains("other"));
    }

    fn devices_are_dockers(engine: &Engine) {
        // A link to the kernel's memory, where the kernel shows it at all.
        let devices = engine.run(&["--rm", "busybox", "ls", "/dev"]).ok().out();
        let devices = devices.strip_prefix("core\n").unwrap_or(&devices);
        let expected = "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero\n";
        assert_eq!(devices, expected);
        let script = "stat -c '%n %a %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty; \
                      head -c 4 /dev/zero | od -An -tx1; echo x > /dev/full || echo full; for link in fd stdin ptmx; do readlink /dev/$link; done";
        let text = engine.script(&[], script).ok().out();
        let expected = "/dev/null 666 1:3\n/dev/zero 666 1:5\n/dev/full 666 1:7\n/dev/random 666 1:8\n/dev/urandom 666 1:9\n\
                        /dev/tty 666 5:0\n 00 00 00 00\nfull\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\n";
        assert_eq!(text, expected);
    }

    /// Made, perhaps; used, never.
    fn other_devices_cannot_be_used(engine: &Engine) {
        let script = "mknod /disk b 254 0; head -c 1 /disk 2>&1; mknod /mem c 1 1; head -c 1 /mem 2>&1; mknod /null c 1 3 && echo x > /null && echo fine";
        let text = engine.script(&[], script).ok().out();
        assert_eq!(text.matches("Operation not permitted").count(), 2, "{text}");
        assert!(text.ends_with("fine\n"), "{text}");
    }

    fn parts_of_proc_are_hidden_or_cannot_be_written(engine: &Engine) {
        let script = "cat /proc/kcore /proc/keys /proc/timer_list 2>/dev/null | wc -c; ls -A /proc/acpi /proc/scsi /sys/firmware 2>/dev/null | grep -v -e : -e '^$' | wc -l; \
                      for file in /proc/sys/kernel/hostname /proc/sysrq-trigger /sys/kernel/mm/ksm/run /sys/kernel/uevent_seqnum; do \
                      (echo 1 > $file) 2>/dev/null && echo \"wrote $file\"; done; echo done";
        let text = engine.script(&[], script).ok().out();
        assert_eq!(text, "0\n0\ndone\n");
    }

    fn capabilities_are_dockers(engine: &Engine) {
        let script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr '\\t' ' '";
        let text = engine.script(&[], script).ok().out();
        let expected = "CapInh: 0000000000000000\nCapPrm: 00000000a80425fb\nCapEff: 00000000a80425fb\n\
                        CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n";
        assert_eq!(text, expected);
        // A user has none of them, and root's bounds.
        let text = engine.script(&["-u", "1000"], script).ok().out();
        let expected = "CapInh: 0000000000000000\nCapPrm: 0000000000000000\nCapEff: 0000000000000000\n\
                        CapBnd: 00000000a80425fb\nCapAmb: 0000000000000000\nNoNewPrivs: 0\nSeccomp: 2\n";
        assert_eq!(text, expected);
        // The same for an exec.
        let container = engine.start("box", &[]);
        assert_eq!(container.exec(&["grep", "CapEff", "/proc/self/status"]).ok().out(), "CapEff:\t00000000a80425fb\n");
    }

    fn what_changes_the_kernel_is_refused(engine: &Engine) {
        let attempts = [
            "mount -t tmpfs none /tmp",
            "umount /proc",
            "mount -o remount,rw /proc/sys",
            "unshare -m true",
            "unshare -U true",
            "hostname other",
            // What is there already: if one of these went through, no harm done.
            "out=$(date -s @$(date +%s) 2>&1); test \"${out#*not permitted}\" = \"$out\"",
            "sysctl -w kernel.panic=$(cat /proc/sys/kernel/panic)",
            "reboot -f",
            "nsenter -t 1 -m true",
            "ip link add x type dummy",
            "losetup -f /bin/busybox",
        ];
        for attempt in attempts {
            let finished = engine_exec(engine, attempt);
            assert_ne!(finished.code, 0, "{finished:?}");
        }
        engine.container("box").exec(&["echo", "alive"]).ok().prints("alive\n");
    }

    fn without_a_network_there_is_loopback_only(engine: &Engine) {
        let text = engine.script(&["--network", "none"], "ls /sys/class/net; ip -o addr | grep -c inet; ping -c 1 -W 5 127.0.0.1 >/dev/null && echo up").ok().out();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[lines.len() - 1]), ("lo", "up"), "{text}");
        // Services reach each other there.
        let script = "nc -l -p 4000 -e echo answer & until nc 127.0.0.1 4000 </dev/null 2>/dev/null; do :; done";
        engine.script(&["--network", "none"], script).ok().prints("answer\n");
        engine.script(&["--network", "none"], "ping -c 1 -W 1 192.0.2.1").exits(1);
    }

    /// A container has its own pid 1, its own root, and its own view of both.
    fn the_container_is_alone(engine: &Engine) {
        let script = "echo $$; ps | tail -n +2 | wc -l; cat /proc/mounts | grep -c ' / '; ls /proc/self/root/proc/1 >/dev/null && echo seen";
        let text = engine.script(&[], script).ok().out();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!((lines[0], lines[2], lines[3]), ("1", "1", "seen"), "{text}");
        assert!(lines[1].parse::<u32>().unwrap() <= 4, "{text}");
    }

    /// Orphans are the init's, and end with it.
    fn orphans_end_with_the_container(engine: &Engine) {
        engine.script(&[], "(sleep 54321 &); (setsid sleep 54322 &); exit 6").exits(6);
        engine.leaks().check();
    }
}

fn engine_exec(engine: &casemate_e2e::Engine, attempt: &str) -> casemate_e2e::Finished {
    if engine.cli(&["inspect", "box"]).code != 0 {
        engine.start("box", &[]);
    }
    engine.container("box").exec(&["sh", "-c", attempt])
}
