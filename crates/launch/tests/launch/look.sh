# What a process can see of its container, in sections. Run inside, by the
# container's own shell.
echo "## status"; grep -E '^(Umask|Uid|Gid|Groups|NSsid|NSpgid|NSpid|Sig...|Shd|Cap...|NoNewPrivs|Seccomp|Seccomp_filters|Cpus_allowed|Mems_allowed)' /proc/self/status
echo "## limits"; cat /proc/self/limits
echo "## environment"; env | sort | grep -v ^SHLVL
echo "## id"; id; pwd; umask; hostname
echo "## dev"; stat -c '%N %A %u %g %t:%T' /dev/* /dev/pts/* | sort
echo "## masked"; for f in $MASKED; do stat -c '%n %F %a %t:%T' $f 2>&1; ls $f 2>&1 | wc -l; done
echo "## cgroup"; cat /proc/self/cgroup; ls /sys/fs/cgroup
echo "## files"; cat /etc/hosts /etc/hostname /etc/resolv.conf; stat -c '%n %a %u %g' /etc/hosts /etc/hostname /etc/resolv.conf
echo "## descriptors"; ls /proc/self/fd; stat -L -c '%F' /proc/self/fd/1 /proc/self/fd/2
echo "## network"; ip addr show; cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range
echo "## oom"; cat /proc/self/oom_score_adj
echo "## process"; sed 's/.*) //' /proc/1/stat | { read state ppid group session tty rest; echo $ppid $group $session $tty; }; ps -o comm | grep -x -E 'sleep|runc.*|launch.*'
echo "## writes"; for f in /proc/sys/kernel/domainname /proc/irq/x /sys/x /dev/x /dev/shm/x /dev/mqueue/x /x /etc/hosts; do touch $f 2>&1 && echo $f written; done
echo "## mounts"; cat /proc/self/mountinfo
