#!/usr/bin/env bash
# What containers' networks carry, beside what the kernel and QEMU alone do, and what the last of many containers on one
# network costs beside the first: scripts/bench-network.sh PREFIX [ROUNDS [CONTAINERS]] (5 and 200 by default), as root.
# Prints medians of all rounds, and of the ratios to each floor round by round.
#
#   process: containers of the bridge network      floor: network namespaces on a bridge, by veth
#   hyperv:  a container of the bridge network     floor: bare QEMU, the same machine and kernel, with a tap on a bridge
#
# All of it in a network namespace and in directories of its own. In turn, so that a slow moment is in both halves of a ratio.
set -euo pipefail
usage="usage: $0 PREFIX [ROUNDS [CONTAINERS]]"
prefix=$(realpath "${1:?$usage}")
rounds=${2:-5}
containers=${3:-200}
seconds=2

if [ -z "${CASEMATE_BENCH_INSIDE:-}" ]; then
    CASEMATE_BENCH_INSIDE=1 exec unshare --net --mount "$0" "$@"
fi
for program in iperf3 ping ip cpio busybox qemu-system-x86_64 python3 docker; do
    command -v "$program" >/dev/null || { echo "$0: $program is missing: see packages/bench.txt" >&2; exit 1; }
done
work=$(mktemp -d /var/tmp/bench-network-XXXXXX)
export CASEMATE_ROOT=$work/root CASEMATE_RUN=$work/run DOCKER_HOST=unix://$work/run/docker.sock
export PATH=$prefix/bin:$PATH
mkdir -p "$CASEMATE_RUN" "$CASEMATE_ROOT"
# Namespaces by names that end with this mount namespace.
mount -t tmpfs netns /run/netns 2>/dev/null || { mkdir -p /run/netns && mount -t tmpfs netns /run/netns; }
pids=()
clean() {
    casemate ps -aq 2>/dev/null | xargs -r casemate rm -f >/dev/null 2>&1 || true
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM

# --- One root for all: iperf3 with what it loads, and busybox.
root=$work/image
mkdir -p "$root"/{bin,dev,proc,sys,tmp,etc}
cp "$(command -v iperf3)" "$root/bin/"
cp "$(command -v busybox)" "$root/bin/"
ldd "$(command -v iperf3)" | grep -o '/[^ ]*' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done
ln -s busybox "$root/bin/sh"

# --- Floor of process mode.
ip link set lo up
ip link add floor type bridge
ip address add 10.250.0.1/24 dev floor
ip link set floor up
for n in 2 3; do
    ip netns add "floor$n"
    ip link add "floor$n" type veth peer name eth0 netns "floor$n"
    ip link set "floor$n" master floor up
    ip -n "floor$n" link set lo up
    ip -n "floor$n" address add "10.250.0.$n/24" dev eth0
    ip -n "floor$n" link set eth0 up
    ip netns exec "floor$n" iperf3 -s >/dev/null & pids+=($!)
done

# --- Containers.
casemate daemon >"$work/daemon.log" 2>&1 & pids+=($!)
until casemate version >/dev/null 2>&1; do kill -0 "${pids[-1]}"; done
tar -C "$root" -c . | docker import - bench >/dev/null
for n in 1 2; do
    casemate run -d --name "process$n" --isolation process --network bridge bench /bin/iperf3 -s >/dev/null
done
casemate run -d --name vm --isolation hyperv --network bridge bench /bin/iperf3 -s >/dev/null
address() { casemate inspect -f '{{.NetworkSettings.Networks.bridge.IPAddress}}' "$1"; }
process1=$(address process1) process2=$(address process2) vm=$(address vm)

# --- Floor of hyperv mode: the container's own VM, but for what is Casemate's.
cat >"$root/init" <<'INIT'
#!/bin/sh
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox ip link set lo up
/bin/busybox ip address add 10.250.0.4/24 dev eth0
/bin/busybox ip link set eth0 up
exec /bin/iperf3 -s
INIT
chmod +x "$root/init"
mknod "$root/dev/null" c 1 3
(cd "$root" && find . | cpio -o -H newc -R 0:0 2>/dev/null) >"$work/initrd"
ip tuntap add dev floor4 mode tap vnet_hdr
ip link set floor4 master floor up
vm_pid=$(casemate inspect -f '{{.State.Pid}}' vm)
option() { tr '\0' '\n' <"/proc/$vm_pid/cmdline" | grep -A1 -x -m1 -e "$1" | tail -n1; }
qemu-system-x86_64 -nodefaults -no-user-config -nographic -no-reboot \
    -machine "$(option -machine)" -accel "$(option -accel)" -cpu "$(option -cpu)" -smp "$(option -smp)" -m "$(option -m | cut -d, -f1)" \
    -kernel "$prefix/lib/casemate/vmlinux" -initrd "$work/initrd" -append "$(option -append)" \
    -netdev tap,id=net,ifname=floor4,script=no,downscript=no,vnet_hdr=on \
    -device virtio-net-device,netdev=net </dev/null >"$work/qemu.log" 2>&1 & pids+=($!)

# --- Rounds.
figures=$work/figures
throughput() { # LABEL COMMAND...
    local label=$1
    shift
    "$@" -J -t "$seconds" | python3 -c '
import json, sys
end = json.load(sys.stdin)["end"]
print(sys.argv[1], "Gbit/s", end["sum_received"]["bits_per_second"] / 1e9)' "$label" >>"$figures"
}
latency() { # LABEL ADDRESS
    ping -q -c 200 -i 0.002 "$2" | sed -n 's|^rtt[^=]*= [^/]*/\([^/]*\)/.*|'"$1"' us \1|p' |
        awk '{ print $1, $2, $3 * 1000 }' >>"$figures"
}
until ping -c 1 -W 1 10.250.0.4 >/dev/null; do kill -0 "${pids[-1]}"; done
for ((round = 0; round < rounds; round++)); do
    throughput host-to-namespace iperf3 -c 10.250.0.2
    throughput host-to-process iperf3 -c "$process1"
    throughput namespace-to-namespace ip netns exec floor3 iperf3 -c 10.250.0.2
    throughput process-to-process casemate exec process2 /bin/iperf3 -c "$process1"
    throughput host-to-qemu iperf3 -c 10.250.0.4
    throughput host-to-vm iperf3 -c "$vm"
    throughput qemu-to-host iperf3 -R -c 10.250.0.4
    throughput vm-to-host iperf3 -R -c "$vm"
    latency host-to-namespace 10.250.0.2
    latency host-to-process "$process1"
    latency host-to-qemu 10.250.0.4
    latency host-to-vm "$vm"
done
cat /proc/loadavg >"$work/load"
python3 - "$figures" <<'PYTHON'
import collections, statistics, sys
figures = collections.defaultdict(list)
for line in open(sys.argv[1]):
    label, unit, value = line.split()
    figures[label, unit].append(float(value))
floors = {"host-to-process": "host-to-namespace", "process-to-process": "namespace-to-namespace",
          "host-to-vm": "host-to-qemu", "vm-to-host": "qemu-to-host"}
def row(values, form):
    return f"{form % statistics.median(values)} ({form % min(values)}–{form % max(values)})"
print(f"{'':24} {'':8} {'casemate':>24} {'floor':>24} {'ratio, by rounds':>24}")
for (label, unit), values in figures.items():
    floor = floors.get(label)
    if floor:
        others = figures[floor, unit]
        ratios = [value / other for value, other in zip(values, others)]
        print(f"{label:24} {unit:8} {row(values, '%.2f'):>24} {row(others, '%.2f'):>24} {row(ratios, '%.2f'):>24}")
PYTHON

# --- Many on one network. The first of all pays for the bridge and the tables.
casemate network create many >/dev/null
casemate run --rm --network many busybox true
rules() { nft -s list ruleset | grep -cE '^\s+(ct|ip|ip6|iifname|oifname|meta|ether|arp|tcp|udp|fib|jump|goto|accept|drop|return|counter)\b'; }
few=$(rules)
for ((n = 0; n < containers; n++)); do
    start=$(date +%s%N)
    casemate run -d --network many --name "many$n" busybox sleep 100000 >/dev/null
    echo $(($(date +%s%N) - start)) >>"$work/starts"
done
python3 - "$work/starts" <<'PYTHON'
import statistics, sys
starts = [int(line) / 1e6 for line in open(sys.argv[1])]
first, last = statistics.median(starts[:20]), statistics.median(starts[-20:])
print(f"{len(starts)} containers on one network: `run -d` of the first 20 {first:.1f} ms, of the last 20 {last:.1f} ms "
      f"(medians): {last / first:.2f}x")
PYTHON
echo "lines of rules: $few with none of them, $(rules) with all"
echo "load at the end: $(cut -d' ' -f1-3 "$work/load"); rounds: $rounds"
