//! From a place to a VM whose agent has the container prepared.

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use casemate_launch::Cgroup;
use casemate_model::{Card, Classify, Container, ErrorClass, Failure, Limits};
use casemate_record::VmRecord;
use casemate_supervisor::FdStream;
use casemate_vm::{
    Detected, Disks, HostCapacity, Jail, Machine, Nic, Qemu, Running, ScratchDisk, ScratchImage, ScratchLifetime,
    TscKhz, VmSize,
};
use casemate_wire::{Client, Create, Extent, GuestPlace, HelloError, Place, VmPlace};
use rand::RngCore;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::watch::{self, Ending};
use super::{VmMode, limits};
use crate::keeper::{Keeper, Purpose};
use crate::timeline::{GUEST_CREATE, Timeline};

/// Seeds the guest's random generator: the size of its state.
const ENTROPY: usize = 64;

#[derive(Debug, thiserror::Error)]
enum PlaceError {
    #[error("cannot open {path}")]
    Open { path: PathBuf, source: io::Error },
    #[error("the VM's user must not be root")]
    RootUser,
    #[error("cannot read the host's memory and processors")]
    Host(#[source] io::Error),
}

impl Classify for PlaceError {
    fn class(&self) -> ErrorClass {
        match self {
            Self::RootUser => ErrorClass::InvalidArgument,
            Self::Open { .. } | Self::Host(_) => ErrorClass::Internal,
        }
    }
}

fn failure<E: Classify>(error: E) -> Failure {
    Failure::from_error(&error)
}

impl VmMode {
    pub(crate) async fn boot(
        container: Container,
        place: VmPlace,
        cards: (Vec<Card>, Vec<Nic>),
        keeper: &Keeper,
        purpose: Purpose,
        timeline: &Timeline,
    ) -> Result<Self, Failure> {
        let boot_timeout = Duration::from_millis(place.boot_timeout_ms);
        let detected = detect(&place.accelerator)?;
        refuse_shared(&container)?;
        let size = size(&container.limits)?;
        let process_limits = limits::of_process(&container.limits, size);
        let cgroup = Cgroup::create(&keeper.paths.cgroup(), &process_limits).map_err(failure)?;
        // What is put into one before it starts is to be there when it does.
        let ephemeral = container.ephemeral && purpose == Purpose::Start;
        let container = Container { limits: limits::of_guest(&container.limits), ephemeral, ..container };
        let uid = place.uid;
        let lifetime = if ephemeral { ScratchLifetime::Ephemeral } else { ScratchLifetime::Kept };
        let (running, found) = match spawn(place, cards, keeper, &detected, size, &cgroup, lifetime) {
            Ok(spawned) => spawned,
            Err(failure) => {
                // The first error is the one to tell.
                if let Err(error) = cgroup.destroy() {
                    tracing::error!(error = casemate_model::chain(&error), "control group left behind");
                }
                return Err(failure);
            }
        };
        timeline.step("vm process");

        let pid = running.vm.pid();
        let ending = Rc::new(Ending::new(running.vm));
        let mut watchers = JoinSet::new();
        watchers.spawn_local(watch::process(Rc::clone(&ending)));
        let watched = |error: io::Error| Failure::new(ErrorClass::Internal, format!("cannot watch the VM: {error}"));
        let console = FdStream::new(running.console).map_err(watched)?;
        watchers.spawn_local(watch::console(Rc::clone(&ending), console));
        let channel = UnixStream::from_std(running.channel).map_err(watched)?;

        let prepared = prepare(channel, &ending, (container, purpose), found, boot_timeout, timeline).await;
        let client = match prepared {
            Ok(prepared) => prepared,
            Err(failure) => {
                ending.end("the VM did not come up");
                ending.ended().await;
                if let Err(error) = cgroup.destroy() {
                    tracing::error!(error = casemate_model::chain(&error), "control group left behind");
                }
                return Err(failure);
            }
        };
        ending.set_up();
        watchers.spawn_local(watch::connection(Rc::clone(&ending), client.clone()));
        watchers.spawn_local(watch::health(Rc::clone(&ending), client.clone(), keeper.health_deadline));
        let record = VmRecord {
            accelerator: detected.accelerator.to_string(),
            accelerator_reason: detected.why,
            memory: size.memory().0,
            memory_overhead: size.overhead().0,
            cpus: size.vcpus(),
            uid,
            kernel_release: String::new(),
            boot_id: String::new(),
        };
        let standing = None.into();
        Ok(Self {
            client,
            ending,
            cgroup,
            size,
            standing,
            at_work: Cell::new(0),
            record: record.into(),
            pid,
            init_ended: tokio::sync::watch::channel(false).0,
            watchers: watchers.into(),
        })
    }
}

fn detect(choice: &str) -> Result<Detected, Failure> {
    let choice = choice
        .parse()
        .map_err(|_| Failure::new(ErrorClass::InvalidArgument, format!("unknown accelerator: {choice:?}")))?;
    Detected::on_this_host(choice).map_err(failure)
}

fn size(limits: &Limits) -> Result<VmSize, Failure> {
    let host = HostCapacity::read().map_err(|error| failure(PlaceError::Host(error)))?;
    VmSize::for_container(limits.memory, limits::cpus(limits), host).map_err(failure)
}

/// What is the host's a VM cannot share. (Its engine has told the user before.)
fn refuse_shared(container: &Container) -> Result<(), Failure> {
    let device = (!container.devices.is_empty()).then_some("--device");
    match container.namespaces.shared().chain(device).next() {
        Some(option) => Err(Failure::new(
            ErrorClass::InvalidArgument,
            format!("{option} is not possible under hyperv isolation: the container has a kernel of its own"),
        )),
        None => Ok(()),
    }
}

/// What the guest is to find.
struct Found {
    layers: Vec<Extent>,
    fresh: bool,
    cards: Vec<Card>,
}

fn spawn(
    place: VmPlace,
    (cards, nics): (Vec<Card>, Vec<Nic>),
    keeper: &Keeper,
    detected: &Detected,
    size: VmSize,
    cgroup: &Cgroup,
    lifetime: ScratchLifetime,
) -> Result<(Running, Found), Failure> {
    let qemu = match place.qemu {
        Some(path) => Qemu::at(path),
        None => Qemu::find(),
    }
    .map_err(failure)?;
    let layers = place.layers.iter().map(|path| open(path)).collect::<Result<_, _>>().map_err(failure)?;
    let scratch = ScratchImage::prepare(&place.scratch_cache, place.scratch_size, lifetime)
        .and_then(|image| image.disk_at(&place.scratch))
        .map_err(failure)?;
    let ScratchDisk { file, fresh } = scratch;
    let disks = Disks::new(layers, file).map_err(failure)?;
    let layers = disks.extents().iter().map(|e| Extent { offset: e.offset, length: e.length }).collect();
    let user = NonZeroU32::new(place.uid).ok_or_else(|| failure(PlaceError::RootUser))?;
    let machine = Machine {
        name: keeper.name.clone(),
        id: keeper.id.clone(),
        accelerator: detected.accelerator,
        tsc: TscKhz::of_this_host(&place.scratch_cache.join("tsc-khz")),
        size,
        kernel: place.kernel,
        initrd: place.initrd,
        disks,
        nics,
    };
    let jail = Jail { uid: user, gid: user, cgroups: cgroup.directories() };
    let running = casemate_vm::spawn(&qemu, machine, &jail).map_err(failure)?;
    Ok((running, Found { layers, fresh, cards }))
}

fn open(path: &Path) -> Result<File, PlaceError> {
    File::open(path).map_err(|source| PlaceError::Open { path: path.to_owned(), source })
}

/// Waits for the agent and gives it the container.
async fn prepare(
    channel: UnixStream,
    ending: &Rc<Ending>,
    (container, purpose): (Container, Purpose),
    found: Found,
    boot_timeout: Duration,
    timeline: &Timeline,
) -> Result<Client, Failure> {
    let connected = tokio::select! {
        connected = tokio::time::timeout(boot_timeout, Client::connect(channel)) => connected,
        () = ending.ended() => return Err(ending.failure().await),
    };
    let client = match connected {
        Ok(Ok(client)) => client,
        // How the VM ended says more than that its channel did.
        Ok(Err(HelloError::Io(_))) => return Err(ending.failure().await),
        Ok(Err(error)) => {
            ending.end(&casemate_model::chain(&error));
            return Err(ending.failure().await);
        }
        Err(_) => {
            ending.end(&format!("the utility VM did not come up within {} ms", boot_timeout.as_millis()));
            return Err(ending.failure().await);
        }
    };
    timeline.step("guest boot");

    let mut entropy = vec![0; ENTROPY];
    rand::rng().fill_bytes(&mut entropy);
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let Found { layers, fresh, cards } = found;
    let time_ns = u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX);
    let place = GuestPlace { layers, fresh, time_ns, entropy, cards };
    let create = Create { container, place: Place::Guest(place) };
    let answer = async {
        match purpose {
            Purpose::Start => ending.answered(client.create(&create)).await,
            Purpose::Files => ending.answered(client.open_files(&create)).await,
        }
    };
    match tokio::time::timeout(boot_timeout, answer).await {
        Ok(answer) => answer?,
        Err(_) => {
            ending.end(&format!("the guest's agent did not answer within {} ms", boot_timeout.as_millis()));
            return Err(ending.failure().await);
        }
    }
    timeline.step(GUEST_CREATE);
    Ok(client)
}
