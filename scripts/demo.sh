#!/bin/sh
# The main job, shown: one container in a utility VM, and what the host sees of it.
set -eu
casemate=$1
marker=casemate-demo-$$
pidfile=${CASEMATE_RUN:-/run/casemate}/casemate.pid
# This host's own daemon, whatever Docker's client is told.
unset DOCKER_HOST
export DOCKER_CONTEXT=default

"$casemate" doctor

# A daemon that was not there before is not left behind.
if ! kill -0 "$(cat "$pidfile" 2>/dev/null)" 2>/dev/null; then
    trap 'kill "$(cat "$pidfile")"' EXIT
fi

echo
echo '$ casemate run --rm --isolation hyperv busybox sh -c "uname -r; cat /proc/sys/kernel/random/boot_id"'
"$casemate" run --rm --isolation hyperv busybox sh -c 'uname -r; cat /proc/sys/kernel/random/boot_id' | {
    read -r vm_kernel
    read -r vm_boot_id
    printf '  %-10s %-28s %s\n' '' 'kernel' 'boot id'
    printf '  %-10s %-28s %s\n' 'host' "$(uname -r)" "$(cat /proc/sys/kernel/random/boot_id)"
    printf '  %-10s %-28s %s\n' 'container' "$vm_kernel" "$vm_boot_id"
}

echo
for isolation in process hyperv; do
    name=demo-$isolation-$$
    "$casemate" run -d --rm --name "$name" --isolation "$isolation" -e "MARKER=$marker" busybox sleep 1000 >/dev/null
    echo "\$ casemate run -d --name $name --isolation $isolation busybox sleep 1000"
    found=$(grep -lsa "MARKER=$marker" /proc/[0-9]*/environ | wc -l)
    echo "  host processes that carry the container's environment: $found"
    "$casemate" top --host "$name" | cut -c 1-110 | sed 's/^/  /'
    "$casemate" rm -f "$name" >/dev/null
done
