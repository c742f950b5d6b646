//! From a container on disk to a keeper that has it prepared.

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::PoisonError;

use casemate_model::{Bytes, ContainerId, Isolation, TerminalSize};
use casemate_record::file::{self, Durability};
use casemate_record::log::AttributesRecord;
use casemate_wire::{CallError, Client, Create, HostPlace, Network, Place, VmPlace};

use crate::container::Container;
use crate::error::StartError;
use crate::keeper::ShortPath;
use crate::networks::Wiring;
use crate::{Engine, lock, log_options};

/// Users of VM processes are numbers from here on: beyond those that
/// distributions, `useradd`, systemd's dynamic users (61184–65519) and its
/// container ranges (524288–1879048191) give out, and below 2^31.
const FIRST_VM_UID: u32 = 1_900_000_000;

/// What a keeper is started with. Whatever exists of a running container, its
/// lock does; dropping this before the keeper has it makes all the rest a
/// leftover, which [`Engine::reconcile_one`] takes away.
#[derive(Debug)]
pub(crate) struct Readied {
    create: Create,
    listener: UnixListener,
    stream: UnixStream,
    lock: File,
}

impl Engine {
    /// Makes all that a container's keeper needs. Slow: layers may have to be
    /// made into images first.
    pub(crate) fn ready(&self, container: &Container, wiring: Wiring) -> Result<Readied, StartError> {
        let lock = {
            let numbers = self.layout.lock();
            let _numbers = lock::exclusive(&numbers).map_err(|source| StartError::Prepare { path: numbers, source })?;
            lock::of_keeper(&container.paths)
                .map_err(|source| StartError::Prepare { path: container.paths.run.clone(), source })?
        };
        let lock = lock.ok_or_else(|| StartError::AlreadyRunning { id: container.id.to_string() })?;
        let paths = &container.paths;
        let prepare = |source| StartError::Prepare { path: paths.run.clone(), source };
        let create = self.create_request(container, console_size(container), wiring)?;
        let attributes = log_options::attributes(&container.record).map_err(StartError::Option)?;
        if !attributes.is_empty() {
            // In a file: anybody may read a command line, and values may be secret.
            file::write(&paths.log_attributes(), &AttributesRecord::new(attributes), Durability::Ordered)
                .map_err(StartError::LogAttributes)?;
        }
        let socket = ShortPath::of(paths).map_err(prepare)?;
        let listener = UnixListener::bind(socket.path()).map_err(prepare)?;
        // Connected before the keeper lives: its first connection is ours.
        let stream = UnixStream::connect(socket.path()).map_err(prepare)?;
        stream.set_nonblocking(true).map_err(prepare)?;
        Ok(Readied { create, listener, stream, lock })
    }

    /// Starts the keeper and has it prepare the container. The container's init
    /// does not run before [`Client::start`]; if that is never asked for, the
    /// keeper clears up as soon as the returned connection is gone.
    pub(crate) async fn start_keeper(&self, container: &Container, readied: Readied) -> Result<Client, StartError> {
        let (client, create) = self.hand_over(container, readied).await?;
        prepared(client.create(&create).await, client).await
    }

    /// The same for work on the container's files only: it cannot be started.
    pub(crate) async fn open_files(&self, container: &Container, readied: Readied) -> Result<Client, StartError> {
        let (client, create) = self.hand_over(container, readied).await?;
        prepared(client.open_files(&create).await, client).await
    }

    async fn hand_over(&self, container: &Container, readied: Readied) -> Result<(Client, Create), StartError> {
        let Readied { create, listener, stream, lock } = readied;
        self.spawn_keeper(container, listener.into(), lock)?;
        let prepare = |source| StartError::Prepare { path: container.paths.socket(), source };
        let stream = tokio::net::UnixStream::from_std(stream).map_err(prepare)?;
        Ok((Client::connect(stream).await.map_err(StartError::Hello)?, create))
    }

    fn spawn_keeper(&self, container: &Container, listener: OwnedFd, lock: File) -> Result<(), StartError> {
        let log = log_options::retention(&container.record.host.log).map_err(StartError::Option)?;
        let program = &self.settings.program;
        let failed = |source| StartError::Spawn { program: program.clone(), source };
        let mut command = Command::new(program);
        command
            .arg0(format!("casemate-keeper {} {}", container.name, container.id.short()))
            .arg("keeper")
            .args(["--id", container.id.as_str()])
            .args(["--name", container.name.as_str()])
            .arg("--keeper-root")
            .arg(self.layout.root())
            .arg("--keeper-run")
            .arg(self.layout.run())
            .args(["--log-file-size", &log.file_size.to_string()])
            .args(["--log-files", &log.files.to_string()])
            .args(["--health-deadline-ms", &self.settings.health_deadline_ms.to_string()])
            .current_dir("/")
            // Handed over as its standard streams: the socket and the lock.
            .stdin(listener)
            .stdout(lock)
            .stderr(Stdio::null());
        if container.record.auto_remove {
            command.arg("--auto-remove");
        }
        // It outlives this program, and init takes it over; one that ends before
        // that is to be reaped.
        let keeper = command.spawn().map_err(failed)?;
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).insert(container.id.clone(), keeper);
        Ok(())
    }

    /// The keeper that this engine has started for a container, to be reaped.
    pub(crate) fn take_keeper(&self, id: &ContainerId) -> Option<Child> {
        self.keepers.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    pub(crate) fn place(&self, container: &Container, network: Network) -> Result<Place, StartError> {
        match container.isolation {
            Isolation::Process => Ok(Place::Host(HostPlace {
                lowers: container.layers.iter().rev().map(|layer| self.images.layer_dir(layer)).collect(),
                upper: container.paths.upper(),
                work: container.paths.work(),
                reaper: container.record.host.init.then(|| self.asset("docker-init")).transpose()?,
                network,
            })),
            Isolation::Hyperv => {
                let layers = container
                    .layers
                    .iter()
                    .map(|layer| self.images.erofs(layer).map(|image| image.path).map_err(StartError::Erofs))
                    .collect::<Result<_, _>>()?;
                Ok(Place::Vm(VmPlace {
                    qemu: self.settings.qemu.clone(),
                    kernel: self.asset("vmlinux")?,
                    initrd: self.asset("initrd.img")?,
                    layers,
                    scratch: container.paths.scratch(),
                    scratch_size: Bytes(self.settings.scratch_size),
                    scratch_cache: self.layout.scratch_cache(),
                    uid: self.vm_uid(&container.paths.run)?,
                    accelerator: self.settings.accelerator.clone(),
                    boot_timeout_ms: self.settings.boot_timeout_ms,
                    network,
                }))
            }
        }
    }

    fn asset(&self, name: &str) -> Result<PathBuf, StartError> {
        let path = self.settings.lib.join(name);
        if path.exists() { Ok(path) } else { Err(StartError::Asset { path }) }
    }

    /// The least number that no other VM has. Each running container's
    /// directory says which it took.
    fn vm_uid(&self, run: &Path) -> Result<u32, StartError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source: io::Error| StartError::Prepare { path: path.clone(), source }
        };
        let lock_path = self.layout.lock();
        let _numbers = lock::exclusive(&lock_path).map_err(failed(&lock_path))?;
        let running = self.layout.running();
        let mut taken = Vec::new();
        for entry in fs::read_dir(&running).map_err(failed(&running))? {
            let file = entry.map_err(failed(&running))?.path().join("vm-uid");
            if let Some(uid) = fs::read_to_string(file).ok().and_then(|text| text.trim().parse::<u32>().ok()) {
                taken.push(uid);
            }
        }
        taken.sort_unstable();
        let free = taken.iter().fold(FIRST_VM_UID, |free, uid| if *uid == free { free + 1 } else { free });
        let file = run.join("vm-uid");
        fs::write(&file, free.to_string()).map_err(failed(&file))?;
        Ok(free)
    }
}

/// Of its terminal at first, if that was said.
fn console_size(container: &Container) -> Option<TerminalSize> {
    let [rows, columns] = container.record.host.console_size;
    (rows > 0 && columns > 0).then_some(TerminalSize { rows, columns })
}

async fn prepared(answer: Result<(), CallError>, client: Client) -> Result<Client, StartError> {
    match answer {
        Ok(()) => Ok(client),
        Err(error) => {
            // It clears up and goes.
            client.lost().await;
            Err(StartError::Refused(error.into()))
        }
    }
}
