//! What the host's kernel has of networks: bridges, the firewall, forwarding.
//! Nothing before the first container or network asks for it, and from then on all
//! of it, whoever takes something away.

use std::cell::Cell;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use casemate_net::{Explained, Firewall, LinkError, Links, Network, Nft, NftError, Policy, Watch, explain};
use ipnet::IpNet;
use tokio::sync::{Mutex, OnceCell};

use super::blocking;
use crate::lock;

/// Somebody else's rules may be flushed while ours are made anew; who does that
/// again and again is not to be fought at full speed.
const REPAIR_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// As long as they cannot be made.
const LONGEST_REPAIR_PAUSE: std::time::Duration = std::time::Duration::from_secs(2);

/// Name of the note that says that there are rules.
const USED: &str = "firewall";

#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error("the firewall cannot be set")]
    Firewall(#[from] NftError),
    #[error("the firewall cannot be watched")]
    Watch(#[source] io::Error),
    #[error("cannot use {path}")]
    File { path: PathBuf, source: io::Error },
    #[error("another daemon has the networks of this network namespace ({path} is locked)")]
    Taken { path: PathBuf },
}

/// How the kernel's rules are, as far as is known without a look: who changes them
/// is heard of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirewallState {
    /// Nobody has needed any.
    Unused,
    /// They are what they should be.
    Held,
    /// They were when they were set; nobody would hear of a change.
    Unwatched,
    /// They are being changed, or could not be.
    Differs,
}

impl FirewallState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unused => "unused",
            Self::Held => "held",
            Self::Unwatched => "unwatched",
            Self::Differs => "differs",
        }
    }
}

#[derive(Debug)]
pub(super) struct Kernel {
    /// Where it is noted what forwarding was before.
    notes: PathBuf,
    host: OnceCell<Host>,
    /// Counts what was asked for, against what has been done: many who ask at once
    /// are served by one transaction.
    wanted: Cell<u64>,
    done: Mutex<u64>,
    /// IPv4 and IPv6 were not forwarded before.
    closed: Cell<(bool, bool)>,
}

#[derive(Debug)]
struct Host {
    links: Links,
    firewall: Arc<StdMutex<Firewall>>,
    nft: Nft,
    /// Held as long as this daemon lives: two would take each other's rules away.
    _lock: File,
}

impl Kernel {
    pub(super) fn new(notes: PathBuf) -> Self {
        Self { notes, host: OnceCell::new(), wanted: Cell::new(0), done: Mutex::new(0), closed: Cell::default() }
    }

    async fn host(&self) -> Result<&Host, KernelError> {
        self.host.get_or_try_init(async || open()).await
    }

    /// Whether a daemon has set the firewall since the host came up.
    pub(super) fn was_used(&self) -> bool {
        self.notes.join(USED).exists()
    }

    /// What the host has routes to.
    pub(super) async fn in_use() -> Result<Vec<IpNet>, KernelError> {
        Ok(Links::open()?.routes().await?)
    }

    /// Has the network's bridge there. Nothing passes it before [`Self::apply`].
    pub(super) async fn bring_up(&self, network: &Network) -> Result<(), KernelError> {
        let links = &self.host().await?.links;
        let gateways = network.gateways();
        self.forward(gateways.iter().any(|net| net.addr().is_ipv6()))?;
        links.bridge(&network.bridge(), &gateways, network.options.mtu).await?;
        Ok(())
    }

    pub(super) async fn take_down(&self, network: &Network) -> Result<(), KernelError> {
        Ok(self.host().await?.links.remove(&network.bridge()).await?)
    }

    /// Those that are still there.
    pub(super) async fn remove_links(&self, names: impl Iterator<Item = String>) {
        let Some(host) = self.host.get() else { return };
        for name in names {
            if let Err(error) = host.links.remove(&name).await {
                tracing::error!(error = casemate_model::chain(&error), "link left behind");
            }
        }
    }

    /// Whether the host has a link of this name.
    pub(super) async fn has_link(&self, name: &str) -> Result<bool, KernelError> {
        Ok(self.host().await?.links.index_of(name).await.is_ok())
    }

    /// Has the firewall hold the policy, as it is when its turn has come.
    pub(super) async fn apply(&self, policy: impl Fn() -> Policy) -> Result<(), KernelError> {
        let host = self.host().await?;
        self.wanted.set(self.wanted.get() + 1);
        let mine = self.wanted.get();
        let mut done = self.done.lock().await;
        if *done >= mine {
            return Ok(());
        }
        let note = self.notes.join(USED);
        if *done == 0 {
            // Before there is something that a daemon after this one has to know of.
            fs::write(&note, "").map_err(|source| KernelError::File { path: note, source })?;
        }
        let newest = self.wanted.get();
        let policy = self.complete(policy());
        let firewall = Arc::clone(&host.firewall);
        blocking(move || firewall.lock().unwrap_or_else(PoisonError::into_inner).update(&policy)).await?;
        *done = newest;
        Ok(())
    }

    /// Waits for a change that is under way. `watched` is whether somebody would hear
    /// of another program's.
    pub(super) async fn state(&self, policy: impl Fn() -> Policy, watched: bool) -> FirewallState {
        if self.wanted.get() == 0 {
            return FirewallState::Unused;
        }
        let Some(host) = self.host.get() else { return FirewallState::Differs };
        // As long as it is held, nothing is changed.
        let _done = self.done.lock().await;
        let policy = self.complete(policy());
        match host.firewall.lock().unwrap_or_else(PoisonError::into_inner).holds(&policy) {
            true if watched => FirewallState::Held,
            true => FirewallState::Unwatched,
            false => FirewallState::Differs,
        }
    }

    /// What is there because there are containers, whoever they are.
    pub(super) fn rules_of_host(&self) -> Vec<Explained> {
        explain(&self.complete(Policy::default()), &Policy::default())
    }

    fn complete(&self, policy: Policy) -> Policy {
        let (closed_v4, closed_v6) = self.closed.get();
        Policy { closed_v4, closed_v6, ..policy }
    }

    /// Sees to it that the rules are there, until it is dropped.
    pub(super) async fn watch(&self, policy: impl Fn() -> Policy) -> Result<(), KernelError> {
        let host = self.host().await?;
        let mut watch = Watch::open(&host.nft).map_err(KernelError::Watch)?;
        loop {
            watch.changed().await.map_err(KernelError::Watch)?;
            tracing::warn!("another program has changed the firewall's rules of containers: they are made anew");
            let mut pause = REPAIR_PAUSE;
            while let Err(error) = self.replace(host, &policy).await {
                tracing::error!(error = casemate_model::chain(&error), "rules not made anew");
                tokio::time::sleep(pause).await;
                pause = LONGEST_REPAIR_PAUSE.min(pause * 2);
            }
        }
    }

    async fn replace(&self, host: &Host, policy: &impl Fn() -> Policy) -> Result<(), KernelError> {
        let _done = self.done.lock().await;
        let policy = self.complete(policy());
        let firewall = Arc::clone(&host.firewall);
        Ok(blocking(move || firewall.lock().unwrap_or_else(PoisonError::into_inner).replace(&policy)).await?)
    }

    /// Packets are passed on between links from here on. Where they were not before,
    /// the firewall passes none but containers'.
    fn forward(&self, with_ipv6: bool) -> Result<(), KernelError> {
        let (mut v4, mut v6) = self.closed.get();
        v4 |= self.forward_family("/proc/sys/net/ipv4/ip_forward", "ipv4")?;
        if with_ipv6 {
            v6 |= self.forward_family("/proc/sys/net/ipv6/conf/all/forwarding", "ipv6")?;
        }
        self.closed.set((v4, v6));
        Ok(())
    }

    /// Whether it was off before this daemon, or one before it, turned it on.
    fn forward_family(&self, setting: &str, family: &str) -> Result<bool, KernelError> {
        let note = self.notes.join(format!("{family}-was-not-forwarded"));
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| KernelError::File { path: path.clone(), source }
        };
        let is_on = fs::read_to_string(setting).map_err(failed(setting.as_ref()))?.trim() == "1";
        if !is_on {
            fs::write(&note, "").map_err(failed(&note))?;
            fs::write(setting, "1").map_err(failed(setting.as_ref()))?;
        }
        Ok(note.exists())
    }
}

fn open() -> Result<Host, KernelError> {
    let nft = Nft::default();
    Ok(Host {
        links: Links::open()?,
        firewall: Arc::new(StdMutex::new(Firewall::new(nft.clone()))),
        nft,
        _lock: lock_namespace()?,
    })
}

/// For each network namespace there is one, by its number.
fn lock_namespace() -> Result<File, KernelError> {
    const NAMESPACE: &str = "/proc/self/ns/net";
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| KernelError::File { path: path.clone(), source }
    };
    let number = fs::metadata(NAMESPACE).map_err(failed(NAMESPACE.as_ref()))?.ino();
    let path = PathBuf::from(format!("/run/casemate-networks-{number}.lock"));
    lock::create(&path).map_err(failed(&path))?.ok_or(KernelError::Taken { path })
}
