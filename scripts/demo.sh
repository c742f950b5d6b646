#!/bin/sh
# The main job, shown: one container in a utility VM, and what the host sees of it.
set -eu
casemate=$1
marker=casemate-demo-$$

"$casemate" doctor

echo
echo '$ casemate run --rm --isolation hyperv busybox uname -r'
vm_kernel=$("$casemate" run --rm --isolation hyperv busybox uname -r)
vm_boot_id=$("$casemate" run --rm --isolation hyperv busybox cat /proc/sys/kernel/random/boot_id)
printf '%-12s %-40s %s\n' '' 'kernel' 'boot id'
printf '%-12s %-40s %s\n' 'host' "$(uname -r)" "$(cat /proc/sys/kernel/random/boot_id)"
printf '%-12s %-40s %s\n' 'container' "$vm_kernel" "$vm_boot_id"

echo
for isolation in process hyperv; do
    name=demo-$isolation-$$
    "$casemate" run -d --rm --name "$name" --isolation "$isolation" -e "MARKER=$marker" busybox sleep 1000 >/dev/null
    echo "\$ casemate run -d --name $name --isolation $isolation busybox sleep 1000"
    found=$(grep -lsa "MARKER=$marker" /proc/[0-9]*/environ | wc -l)
    echo "  host processes that carry the container's environment: $found"
    "$casemate" top --host "$name" | sed 's/^/  /'
    "$casemate" rm -f "$name" >/dev/null
done
