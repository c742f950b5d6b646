//! What a container was asked to have beside its command, checked: from
//! Docker's spellings to what the launcher takes.

use std::net::IpAddr;

use casemate_model::{
    Bytes, Capabilities, Capability, CpuQuota, Device, DeviceRule, Ipc, Isolation, Limits, MASKED_PATHS, MemorySwap,
    Namespace, Namespaces, NanoCpus, NumberList, READONLY_PATHS, Rlimit, RlimitKind, Sysctl, SysctlNamespace, Tmpfs,
};
use casemate_record::{ContainerRecord, DeviceRecord, HostRecord, LimitsRecord, UlimitRecord};
use casemate_seccomp::Profile;

use crate::log_options;

/// Docker's least period of a quota, and its longest, in microseconds.
const PERIODS: std::ops::RangeInclusive<i64> = 1_000..=1_000_000;

/// Docker's lower bound for `-m`.
const LEAST_MEMORY: Bytes = Bytes::mib(6);

/// In Docker's words where it has the same error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOption {
    #[error("invalid {option}: unknown capability: \"{name}\"")]
    Capability { option: &'static str, name: String },
    #[error("invalid --security-opt: {0:?}")]
    SecurityOption(String),
    #[error("opening seccomp profile ({text}) failed: {reason}")]
    Seccomp { text: String, reason: String },
    #[error("{0}")]
    Value(String),
    #[error("invalid ulimit type: {0}")]
    Ulimit(String),
    #[error("ulimit soft limit must be less than or equal to hard limit: {soft} > {hard}")]
    UlimitOrder { soft: i64, hard: i64 },
    #[error("invalid {option}: {value}")]
    Mode { option: &'static str, value: String },
    #[error("bad format for add-host: {0:?}")]
    ExtraHost(String),
    #[error("{0} is not an ip address")]
    Dns(String),
    #[error("Minimum memory limit allowed is 6MB")]
    LittleMemory,
    #[error("Minimum memoryswap limit should be larger than memory limit, see usage")]
    SwapBelowMemory,
    #[error("You should always set the Memory limit when using Memoryswap limit, see usage")]
    SwapWithoutMemory,
    #[error("Minimum memory limit can not be less than memory reservation limit, see usage")]
    ReservationAboveMemory,
    #[error("Invalid value: {0}, memory swappiness must be an integer between 0 and 100")]
    Swappiness(i64),
    #[error("Conflicting options: Nano CPUs and CPU Quota cannot both be set.")]
    NanoCpusAndQuota,
    #[error("range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available")]
    Cpus { available: u64 },
    #[error("CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")]
    Period,
    #[error("CPU cfs quota can not be less than 1ms (i.e. 1000)")]
    Quota,
    #[error("Requested CPUs are not available - requested {requested}, available: {available}")]
    CpusNotAvailable { requested: String, available: String },
    #[error("Requested memory nodes are not available - requested {requested}, available: {available}")]
    NodesNotAvailable { requested: String, available: String },
    #[error("Range of blkio weight is from 10 to 1000")]
    BlkioWeight,
    #[error("{option} cannot be used with hyperv isolation: {why}; {instead}")]
    Hyperv { option: String, why: &'static str, instead: &'static str },
    #[error("logger: no log driver named '{0}' is registered")]
    LogDriver(String),
    #[error("unknown log opt '{option}' for {driver} log driver")]
    LogOption { driver: &'static str, option: String },
    #[error("logger: logging mode not supported: {0}")]
    LogMode(String),
    #[error("logger: max-buffer-size option is only supported with 'mode=non-blocking'")]
    LogBuffer,
    #[error("invalid value for {option}: {value}")]
    LogValue { option: &'static str, value: String },
}

/// Checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) capabilities: Capabilities,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: SeccompChoice,
    pub(crate) privileged: bool,
    pub(crate) tmpfs: Vec<Tmpfs>,
    pub(crate) sysctls: Vec<Sysctl>,
    pub(crate) rlimits: Vec<Rlimit>,
    pub(crate) namespaces: Namespaces,
    pub(crate) devices: Vec<Device>,
    pub(crate) device_rules: Vec<DeviceRule>,
    pub(crate) masked_paths: Vec<String>,
    pub(crate) readonly_paths: Vec<String>,
    pub(crate) limits: Limits,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SeccompChoice {
    Default,
    Unconfined,
    /// A profile's JSON, which parses.
    Given(String),
}

impl Options {
    pub(crate) fn of(record: &ContainerRecord, isolation: Isolation) -> Result<Self, InvalidOption> {
        let host = &record.host;
        let security = Security::parse(host)?;
        let namespaces = namespaces(host)?;
        let options = Self {
            capabilities: capabilities(host)?,
            no_new_privileges: security.no_new_privileges,
            seccomp: security.seccomp,
            privileged: host.privileged,
            tmpfs: host
                .tmpfs
                .iter()
                .map(|(path, options)| value(Tmpfs::new(path, options)))
                .collect::<Result<_, _>>()?,
            sysctls: host
                .sysctls
                .iter()
                .map(|(name, text)| value(Sysctl::new(name, text)))
                .collect::<Result<_, _>>()?,
            rlimits: host.ulimits.iter().map(rlimit).collect::<Result<_, _>>()?,
            namespaces,
            devices: host.devices.iter().map(device).collect::<Result<_, _>>()?,
            device_rules: host.device_cgroup_rules.iter().map(|rule| value(rule.parse())).collect::<Result<_, _>>()?,
            masked_paths: paths(host, &host.masked_paths, &MASKED_PATHS),
            readonly_paths: paths(host, &host.readonly_paths, &READONLY_PATHS),
            limits: limits(record)?,
        };
        extra_hosts(host)?;
        for server in &host.dns {
            server.parse::<IpAddr>().map_err(|_| InvalidOption::Dns(server.clone()))?;
        }
        log_options::check_log_options(&host.log)?;
        options.fit(isolation)?;
        Ok(options)
    }

    /// A VM shares nothing of the host's.
    fn fit(&self, isolation: Isolation) -> Result<(), InvalidOption> {
        if let Some(sysctl) = self.sysctls.iter().find(|sysctl| {
            sysctl.namespace() == SysctlNamespace::Ipc && self.namespaces.ipc == Ipc::Host
                || sysctl.namespace() == SysctlNamespace::Uts && self.namespaces.uts == Namespace::Host
        }) {
            return Err(InvalidOption::Value(format!(
                "sysctl '{}' is not allowed in the host's namespace",
                sysctl.name()
            )));
        }
        if isolation == Isolation::Process {
            return Ok(());
        }
        if let Some(option) = self.namespaces.shared().next() {
            return Err(InvalidOption::Hyperv {
                option: option.to_owned(),
                why: "a utility VM has a kernel of its own and shares none of the host's namespaces",
                instead: "leave it out, or use --isolation process",
            });
        }
        if let Some(device) = self.devices.first() {
            return Err(InvalidOption::Hyperv {
                option: format!("--device {}", device.host_path),
                why: "a utility VM has none of the host's devices",
                instead: "use --isolation process, or pass what the device holds as files or over the network",
            });
        }
        Ok(())
    }
}

fn value<T, E: std::error::Error>(parsed: Result<T, E>) -> Result<T, InvalidOption> {
    parsed.map_err(|error| InvalidOption::Value(error.to_string()))
}

/// Docker's rules (moby `caps.TweakCapabilities`).
fn capabilities(host: &HostRecord) -> Result<Capabilities, InvalidOption> {
    let parse = |option: &'static str, names: &[String]| {
        let mut all = false;
        let mut bits = 0;
        for name in names {
            if name.eq_ignore_ascii_case("all") {
                all = true;
                continue;
            }
            let unknown = |_| {
                let upper = name.to_ascii_uppercase();
                let name = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
                InvalidOption::Capability { option, name }
            };
            bits |= 1u64 << name.parse::<Capability>().map_err(unknown)?.number();
        }
        Ok((all, bits))
    };
    let (all_added, added) = parse("CapAdd", &host.cap_add)?;
    let (all_dropped, dropped) = parse("CapDrop", &host.cap_drop)?;
    let bits = match (host.privileged, all_added, all_dropped) {
        (true, ..) => Capabilities::ALL.bits(),
        (_, true, _) => Capabilities::ALL.bits() & !dropped,
        (_, _, true) => added,
        _ => Capabilities::DOCKER_DEFAULT.bits() & !dropped | added,
    };
    Ok(Capabilities::from_bits(bits))
}

struct Security {
    no_new_privileges: bool,
    seccomp: SeccompChoice,
}

impl Security {
    fn parse(host: &HostRecord) -> Result<Self, InvalidOption> {
        let seccomp = if host.privileged { SeccompChoice::Unconfined } else { SeccompChoice::Default };
        let mut security = Self { no_new_privileges: false, seccomp };
        for option in &host.security_opt {
            let invalid = || InvalidOption::SecurityOption(option.clone());
            // The older form has a colon.
            let (name, text) = match option.split_once(['=', ':']) {
                Some((name, text)) => (name, text),
                None => (option.as_str(), ""),
            };
            match (name, text) {
                ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
                ("no-new-privileges", "false") => security.no_new_privileges = false,
                ("seccomp", "unconfined") => security.seccomp = SeccompChoice::Unconfined,
                ("seccomp", "builtin") => security.seccomp = SeccompChoice::Default,
                ("seccomp", json) => {
                    Profile::parse(json).map_err(|error| InvalidOption::Seccomp {
                        text: json.chars().take(40).collect(),
                        reason: casemate_model::chain(&error),
                    })?;
                    security.seccomp = SeccompChoice::Given(json.to_owned());
                }
                // Walls of the host's that this engine does not set up.
                ("apparmor", "unconfined") | ("label", "disable") => {}
                ("writable-cgroups", "false") => {}
                _ => return Err(invalid()),
            }
        }
        Ok(security)
    }
}

fn namespaces(host: &HostRecord) -> Result<Namespaces, InvalidOption> {
    let namespace = |option: &'static str, text: &str| match text {
        "" | "private" => Ok(Namespace::Own),
        "host" => Ok(Namespace::Host),
        _ => Err(InvalidOption::Mode { option, value: text.to_owned() }),
    };
    let ipc = match host.ipc_mode.as_str() {
        // One that others may join is like any other as long as none can.
        "" | "private" | "shareable" => Ipc::Own,
        "none" => Ipc::None,
        "host" => Ipc::Host,
        other => return Err(InvalidOption::Mode { option: "IPC mode", value: other.to_owned() }),
    };
    Ok(Namespaces {
        pid: namespace("PID mode", &host.pid_mode)?,
        ipc,
        uts: namespace("UTS mode", &host.uts_mode)?,
        cgroup: namespace("cgroup namespace mode", &host.cgroupns_mode)?,
    })
}

fn device(record: &DeviceRecord) -> Result<Device, InvalidOption> {
    let DeviceRecord { on_host, in_container, permissions } = record;
    let permissions = if permissions.is_empty() { "rwm" } else { permissions };
    let path = if in_container.is_empty() { on_host } else { in_container };
    if !path.starts_with('/') {
        return Err(InvalidOption::Value(format!("{path} is not an absolute path")));
    }
    Ok(Device { host_path: on_host.clone(), path: path.clone(), access: value(permissions.parse())? })
}

fn rlimit(record: &UlimitRecord) -> Result<Rlimit, InvalidOption> {
    let UlimitRecord { name, soft, hard } = record;
    let kind = match name.as_str() {
        "as" => RlimitKind::As,
        "core" => RlimitKind::Core,
        "cpu" => RlimitKind::Cpu,
        "data" => RlimitKind::Data,
        "fsize" => RlimitKind::Fsize,
        "locks" => RlimitKind::Locks,
        "memlock" => RlimitKind::Memlock,
        "msgqueue" => RlimitKind::Msgqueue,
        "nice" => RlimitKind::Nice,
        "nofile" => RlimitKind::Nofile,
        "nproc" => RlimitKind::Nproc,
        "rss" => RlimitKind::Rss,
        "rtprio" => RlimitKind::Rtprio,
        "rttime" => RlimitKind::Rttime,
        "sigpending" => RlimitKind::Sigpending,
        "stack" => RlimitKind::Stack,
        other => return Err(InvalidOption::Ulimit(other.to_owned())),
    };
    let (soft_limit, hard_limit) = (u64::try_from(*soft).ok(), u64::try_from(*hard).ok());
    let in_order = match (soft_limit, hard_limit) {
        (_, None) => true,
        (None, Some(_)) => false,
        (Some(soft), Some(hard)) => soft <= hard,
    };
    if !in_order {
        return Err(InvalidOption::UlimitOrder { soft: *soft, hard: *hard });
    }
    Ok(Rlimit { kind, soft: soft_limit, hard: hard_limit })
}

/// A name's address in `/etc/hosts`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ExtraHost {
    Address(IpAddr),
    /// `host-gateway`: the host, as the container's network has it.
    Gateway,
}

/// What `--add-host` says.
pub(crate) fn extra_hosts(host: &HostRecord) -> Result<Vec<(String, ExtraHost)>, InvalidOption> {
    host.extra_hosts.iter().map(|entry| extra_host(entry)).collect()
}

/// `name:address`; an IPv6 address may stand in brackets.
fn extra_host(entry: &str) -> Result<(String, ExtraHost), InvalidOption> {
    let bad = || InvalidOption::ExtraHost(entry.to_owned());
    let (name, address) = entry.split_once([':', '=']).ok_or_else(bad)?;
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err(bad());
    }
    if address == "host-gateway" {
        return Ok((name.to_owned(), ExtraHost::Gateway));
    }
    let address = address.trim_start_matches('[').trim_end_matches(']');
    let address =
        address.parse().map_err(|_| InvalidOption::Value(format!("invalid IP address in add-host: \"{address}\"")))?;
    Ok((name.to_owned(), ExtraHost::Address(address)))
}

/// Docker's own, others that were asked for, none for a privileged container.
fn paths(host: &HostRecord, given: &Option<Vec<String>>, own: &[&str]) -> Vec<String> {
    match given {
        Some(given) => given.clone(),
        None if host.privileged => Vec::new(),
        None => own.iter().map(|path| (*path).to_owned()).collect(),
    }
}

/// Docker's checks (moby `verifyPlatformContainerResources`).
fn limits(record: &ContainerRecord) -> Result<Limits, InvalidOption> {
    limits_of(record.memory, record.nano_cpus, &record.host.limits)
}

pub(crate) fn limits_of(
    memory: Option<u64>,
    nano_cpus: Option<u64>,
    record: &LimitsRecord,
) -> Result<Limits, InvalidOption> {
    let LimitsRecord {
        memory_swap,
        memory_reservation,
        memory_swappiness,
        oom_kill_disable,
        cpu_shares,
        cpu_period,
        cpu_quota,
        cpuset_cpus,
        cpuset_mems,
        pids,
        blkio_weight,
    } = record;
    let positive = |number: &i64| u64::try_from(*number).ok().filter(|number| *number > 0);
    let memory = memory.map(Bytes);
    if memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        return Err(InvalidOption::LittleMemory);
    }
    let memory_swap = match (memory_swap, memory) {
        (0, _) => None,
        (-1, _) => Some(MemorySwap::Unlimited),
        (_, None) => return Err(InvalidOption::SwapWithoutMemory),
        (swap, Some(memory)) => match positive(swap).map(Bytes) {
            Some(total) if total >= memory => Some(MemorySwap::Total(total)),
            _ => return Err(InvalidOption::SwapBelowMemory),
        },
    };
    let memory_reservation = positive(memory_reservation).map(Bytes);
    if memory_reservation.zip(memory).is_some_and(|(reservation, memory)| reservation > memory) {
        return Err(InvalidOption::ReservationAboveMemory);
    }
    let memory_swappiness = match memory_swappiness {
        None | Some(-1) => None,
        Some(number) => match u8::try_from(*number) {
            Ok(number @ 0..=100) => Some(number),
            _ => return Err(InvalidOption::Swappiness(*number)),
        },
    };
    Ok(Limits {
        memory,
        memory_swap,
        memory_reservation,
        memory_swappiness,
        oom_kill_disable: *oom_kill_disable,
        cpu_quota: quota(nano_cpus, *cpu_period, *cpu_quota)?,
        cpu_shares: positive(cpu_shares),
        cpuset_cpus: cpuset("cpuset cpus", cpuset_cpus)?,
        cpuset_mems: cpuset("cpuset mems", cpuset_mems)?,
        pids: positive(pids).map(|pids| u32::try_from(pids).unwrap_or(u32::MAX)),
        blkio_weight: match blkio_weight {
            0 => None,
            10..=1000 => Some(*blkio_weight),
            _ => return Err(InvalidOption::BlkioWeight),
        },
    })
}

fn quota(nano_cpus: Option<u64>, period: i64, quota: i64) -> Result<Option<CpuQuota>, InvalidOption> {
    if let Some(cpus) = nano_cpus {
        if period > 0 || quota > 0 {
            return Err(InvalidOption::NanoCpusAndQuota);
        }
        let available = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        if cpus < NanoCpus::ONE.0 / 100 || cpus > available * NanoCpus::ONE.0 {
            return Err(InvalidOption::Cpus { available });
        }
        return Ok(Some(NanoCpus(cpus).into()));
    }
    if period != 0 && !PERIODS.contains(&period) {
        return Err(InvalidOption::Period);
    }
    if quota > 0 && quota < 1_000 {
        return Err(InvalidOption::Quota);
    }
    if period == 0 && quota <= 0 {
        return Ok(None);
    }
    Ok(Some(CpuQuota {
        quota_us: u64::try_from(quota).ok().filter(|quota| *quota > 0),
        period_us: u64::try_from(period).ok().filter(|period| *period > 0).unwrap_or(CpuQuota::PERIOD_US),
    }))
}

fn cpuset(what: &str, text: &str) -> Result<Option<NumberList>, InvalidOption> {
    if text.is_empty() {
        return Ok(None);
    }
    let list: NumberList =
        text.parse().map_err(|_| InvalidOption::Value(format!("invalid value {text} for {what}")))?;
    Ok(Some(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(change: impl FnOnce(&mut HostRecord)) -> HostRecord {
        let mut host = HostRecord::default();
        change(&mut host);
        host
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn capabilities_are_added_and_dropped_as_in_docker() {
        let of =
            |add: &[&str], drop: &[&str]| capabilities(&host(|h| (h.cap_add, h.cap_drop) = (names(add), names(drop))));
        let has = |set: Capabilities, name: &str| set.contains(name.parse().unwrap());
        assert_eq!(of(&[], &[]).unwrap(), Capabilities::DOCKER_DEFAULT);
        let changed = of(&["net_admin"], &["CAP_CHOWN"]).unwrap();
        assert!(has(changed, "NET_ADMIN") && !has(changed, "CHOWN") && has(changed, "KILL"));
        assert_eq!(of(&["SYS_TIME"], &["all"]).unwrap().iter().count(), 1);
        let all = of(&["ALL"], &["SYS_ADMIN"]).unwrap();
        assert!(!has(all, "SYS_ADMIN") && has(all, "BPF"));
        let unknown = of(&["nosuch"], &[]).unwrap_err();
        assert_eq!(unknown.to_string(), "invalid CapAdd: unknown capability: \"CAP_NOSUCH\"");
        assert_eq!(capabilities(&host(|h| h.privileged = true)).unwrap(), Capabilities::ALL);
    }

    #[test]
    fn security_options() {
        let of = |options: &[&str]| Security::parse(&host(|h| h.security_opt = names(options)));
        assert!(of(&["no-new-privileges"]).unwrap().no_new_privileges);
        assert!(!of(&["no-new-privileges=false"]).unwrap().no_new_privileges);
        assert_eq!(of(&["seccomp=unconfined"]).unwrap().seccomp, SeccompChoice::Unconfined);
        let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[]}"#;
        assert_eq!(of(&[&format!("seccomp={profile}")]).unwrap().seccomp, SeccompChoice::Given(profile.to_owned()));
        assert!(of(&["seccomp={"]).is_err() && of(&["wishes=granted"]).is_err());
    }

    #[test]
    fn limits_are_checked_in_dockers_words() {
        let of = |memory: Option<u64>, cpus: Option<u64>, change: fn(&mut LimitsRecord)| {
            let mut record = LimitsRecord::default();
            change(&mut record);
            limits_of(memory, cpus, &record)
        };
        let mib = |n| Some(Bytes::mib(n).0);
        assert_eq!(of(mib(5), None, |_| {}).unwrap_err(), InvalidOption::LittleMemory);
        assert_eq!(of(mib(64), None, |l| l.memory_swap = 1).unwrap_err(), InvalidOption::SwapBelowMemory);
        assert_eq!(of(None, None, |l| l.memory_swap = 1).unwrap_err(), InvalidOption::SwapWithoutMemory);
        assert_eq!(of(None, None, |l| l.cpu_period = 5).unwrap_err(), InvalidOption::Period);
        assert_eq!(
            of(None, Some(1), |_| {}).unwrap_err().to_string().split(" to").next(),
            Some("range of CPUs is from 0.01")
        );
        assert_eq!(
            of(None, Some(NanoCpus::ONE.0), |l| l.cpu_quota = 2000).unwrap_err(),
            InvalidOption::NanoCpusAndQuota
        );
        let quota = of(None, None, |l| l.cpu_quota = 50_000).unwrap().cpu_quota.unwrap();
        assert_eq!((quota.quota_us, quota.period_us), (Some(50_000), 100_000));
        assert_eq!(of(None, None, |l| l.pids = -1).unwrap().pids, None);
    }

    #[test]
    fn hosts_and_limits_of_processes() {
        assert_eq!(
            extra_host("db:10.0.0.1").unwrap(),
            ("db".to_owned(), ExtraHost::Address("10.0.0.1".parse().unwrap()))
        );
        assert_eq!(extra_host("host.docker.internal=host-gateway").unwrap().1, ExtraHost::Gateway);
        assert_eq!(extra_host("db:[::1]").unwrap().1, ExtraHost::Address("::1".parse().unwrap()));
        assert!(extra_host("db").is_err() && extra_host("db:nowhere").is_err());
        let of = |name: &str, soft, hard| rlimit(&UlimitRecord { name: name.to_owned(), soft, hard });
        assert!(of("nofile", 2048, 1024).is_err() && of("wishes", 1, 1).is_err());
        assert_eq!(of("nofile", 1024, -1).unwrap().hard, None);
    }
}
