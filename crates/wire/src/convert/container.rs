//! Containers and their limits.

use casemate_model::{
    Bytes, Container, CpuQuota, Device, EtcFiles, Ipc, Limits, MemorySwap, Namespace, Namespaces, NumberList, Sysctl,
    Tmpfs,
};

use super::{InvalidMessage, no_null, no_nulls};
use crate::message as written;

impl From<&Container> for written::Container {
    fn from(container: &Container) -> Self {
        let Container {
            id,
            hostname,
            domainname,
            init,
            stdin_once,
            reaper,
            read_only,
            ephemeral,
            etc,
            limits,
            shm_size,
            tmpfs,
            sysctls,
            namespaces,
            privileged,
            devices,
            device_rules,
            masked_paths,
            readonly_paths,
        } = container;
        let EtcFiles { hosts, hostname: etc_hostname, resolv_conf } = etc;
        let Namespaces { pid, ipc, uts, cgroup } = *namespaces;
        Self {
            id: id.as_str().to_owned(),
            hostname: hostname.clone(),
            domainname: domainname.clone(),
            init: init.into(),
            stdin_once: *stdin_once,
            reaper: *reaper,
            read_only: *read_only,
            ephemeral: *ephemeral,
            hosts: hosts.clone(),
            etc_hostname: etc_hostname.clone(),
            resolv_conf: resolv_conf.clone(),
            limits: limits.into(),
            shm_size: shm_size.map(|b| b.0),
            tmpfs: tmpfs.iter().map(|tmpfs| (tmpfs.path.clone(), tmpfs.options())).collect(),
            sysctls: sysctls.iter().map(|sysctl| (sysctl.name().to_owned(), sysctl.value().to_owned())).collect(),
            host_pid: pid == Namespace::Host,
            ipc: ipc.into(),
            host_uts: uts == Namespace::Host,
            host_cgroup: cgroup == Namespace::Host,
            privileged: *privileged,
            devices: devices.iter().map(Into::into).collect(),
            device_rules: device_rules.iter().map(ToString::to_string).collect(),
            masked_paths: masked_paths.clone(),
            readonly_paths: readonly_paths.clone(),
        }
    }
}

impl TryFrom<written::Container> for Container {
    type Error = InvalidMessage;

    fn try_from(container: written::Container) -> Result<Self, InvalidMessage> {
        let written::Container {
            id,
            hostname,
            domainname,
            init,
            stdin_once,
            reaper,
            read_only,
            ephemeral,
            hosts,
            etc_hostname,
            resolv_conf,
            limits,
            shm_size,
            tmpfs,
            sysctls,
            host_pid,
            ipc,
            host_uts,
            host_cgroup,
            privileged,
            devices,
            device_rules,
            masked_paths,
            readonly_paths,
        } = container;
        let namespace = |host| if host { Namespace::Host } else { Namespace::Own };
        let tmpfs = tmpfs.iter().map(|(path, options)| Tmpfs::new(path, options).map_err(InvalidMessage::Tmpfs));
        let sysctls = sysctls.iter().map(|(name, value)| Sysctl::new(name, value).map_err(InvalidMessage::Sysctl));
        let device_rules = device_rules.iter().map(|rule| rule.parse().map_err(InvalidMessage::DeviceRule));
        Ok(Self {
            id: id.parse().map_err(InvalidMessage::Id)?,
            hostname: no_null("hostname", hostname)?,
            domainname: no_null("domain name", domainname)?,
            init: init.try_into()?,
            stdin_once,
            reaper,
            read_only,
            ephemeral,
            etc: EtcFiles { hosts, hostname: etc_hostname, resolv_conf },
            limits: limits.try_into()?,
            shm_size: shm_size.map(Bytes),
            tmpfs: tmpfs.collect::<Result<_, _>>()?,
            sysctls: sysctls.collect::<Result<_, _>>()?,
            namespaces: Namespaces {
                pid: namespace(host_pid),
                ipc: ipc.into(),
                uts: namespace(host_uts),
                cgroup: namespace(host_cgroup),
            },
            privileged,
            devices: devices.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            device_rules: device_rules.collect::<Result<_, _>>()?,
            masked_paths: no_nulls("masked path", masked_paths)?,
            readonly_paths: no_nulls("read-only path", readonly_paths)?,
        })
    }
}

impl From<Ipc> for written::Ipc {
    fn from(ipc: Ipc) -> Self {
        match ipc {
            Ipc::Own => Self::Own,
            Ipc::None => Self::None,
            Ipc::Host => Self::Host,
        }
    }
}

impl From<written::Ipc> for Ipc {
    fn from(ipc: written::Ipc) -> Self {
        match ipc {
            written::Ipc::Own => Self::Own,
            written::Ipc::None => Self::None,
            written::Ipc::Host => Self::Host,
        }
    }
}

impl From<&Device> for written::Device {
    fn from(device: &Device) -> Self {
        let Device { host_path, path, access } = device;
        Self { host_path: host_path.clone(), path: path.clone(), access: access.to_string() }
    }
}

impl TryFrom<written::Device> for Device {
    type Error = InvalidMessage;

    fn try_from(device: written::Device) -> Result<Self, InvalidMessage> {
        let written::Device { host_path, path, access } = device;
        Ok(Self {
            host_path: no_null("device", host_path)?,
            path: no_null("device", path)?,
            access: access.parse().map_err(InvalidMessage::DeviceAccess)?,
        })
    }
}

impl From<&Limits> for written::Limits {
    fn from(limits: &Limits) -> Self {
        let Limits {
            memory,
            memory_swap,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            cpu_quota,
            cpu_shares,
            cpuset_cpus,
            cpuset_mems,
            pids,
            blkio_weight,
        } = limits;
        let list = |list: &Option<NumberList>| list.as_ref().map(ToString::to_string);
        Self {
            memory: memory.map(|b| b.0),
            memory_swap: memory_swap.map(|swap| match swap {
                MemorySwap::Unlimited => written::MemorySwap::Unlimited,
                MemorySwap::Total(Bytes(total)) => written::MemorySwap::Total(total),
            }),
            memory_reservation: memory_reservation.map(|b| b.0),
            memory_swappiness: *memory_swappiness,
            oom_kill_disable: *oom_kill_disable,
            cpu_quota: cpu_quota.map(|CpuQuota { quota_us, period_us }| written::CpuQuota { quota_us, period_us }),
            cpu_shares: *cpu_shares,
            cpuset_cpus: list(cpuset_cpus),
            cpuset_mems: list(cpuset_mems),
            pids: *pids,
            blkio_weight: *blkio_weight,
        }
    }
}

impl TryFrom<written::Limits> for Limits {
    type Error = InvalidMessage;

    fn try_from(limits: written::Limits) -> Result<Self, InvalidMessage> {
        let written::Limits {
            memory,
            memory_swap,
            memory_reservation,
            memory_swappiness,
            oom_kill_disable,
            cpu_quota,
            cpu_shares,
            cpuset_cpus,
            cpuset_mems,
            pids,
            blkio_weight,
        } = limits;
        let list = |text: Option<String>| text.map(|text| text.parse().map_err(InvalidMessage::NumberList)).transpose();
        Ok(Self {
            memory: memory.map(Bytes),
            memory_swap: memory_swap.map(|swap| match swap {
                written::MemorySwap::Unlimited => MemorySwap::Unlimited,
                written::MemorySwap::Total(total) => MemorySwap::Total(Bytes(total)),
            }),
            memory_reservation: memory_reservation.map(Bytes),
            memory_swappiness,
            oom_kill_disable,
            cpu_quota: cpu_quota.map(|written::CpuQuota { quota_us, period_us }| CpuQuota { quota_us, period_us }),
            cpu_shares,
            cpuset_cpus: list(cpuset_cpus)?,
            cpuset_mems: list(cpuset_mems)?,
            pids,
            blkio_weight,
        })
    }
}
