//! The wire's vocabulary, answered by the agent.

use std::cell::RefCell;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Instant;

use casemate_launch::{Cage, NetworkNamespace, Place};
use casemate_model::{
    Bytes, ErrorClass, ExecId, Exited, Failure, Limits, OutputStream, Process, ProcessRef, Signal, TerminalSize,
};
use casemate_net::{Card, ResolverSockets, configure_cards};
use casemate_supervisor::{FdStream, Supervisor, look_like, make_writable_layer};
use casemate_wire::{
    ContainerProcess, Create, ExecStarted, GuestFacts, GuestPlace, Place as WirePlace, Reconfigured, Rewired, Service,
    Sockets, Span, Started, Stats,
};
use rustix::system::{sysinfo, uname};
use rustix::thread::sched_getaffinity;
use rustix::time::{ClockId, Timespec, clock_settime};
use tokio::io::DuplexStream;
use tokio::sync::watch;

use crate::disks::Disks;
use crate::{resolver, root, sys};

/// Octets of queries and answers, each, that are on their way through the agent.
const QUERIES: usize = 16 << 10;

#[derive(Debug)]
pub(crate) struct Agent {
    container: RefCell<Option<Guest>>,
    /// As they were told last.
    cards: RefCell<Vec<Card>>,
    spans: RefCell<Vec<(&'static str, Instant, Instant)>>,
    /// The program that goes before a container's command, if there is one.
    reaper: Option<PathBuf>,
    shut_down: watch::Sender<bool>,
}

#[derive(Clone, Debug)]
struct Guest {
    supervisor: Rc<Supervisor>,
    disks: Rc<Disks>,
}

impl Agent {
    pub(crate) fn new(reaper: Option<PathBuf>) -> Self {
        Self {
            container: RefCell::default(),
            cards: RefCell::default(),
            spans: RefCell::default(),
            reaper,
            shut_down: watch::channel(false).0,
        }
    }

    /// Waits until the keeper has asked for the end.
    pub(crate) async fn shut_down(&self) {
        // The sender is `self`.
        let _ = self.shut_down.subscribe().wait_for(|shut_down| *shut_down).await;
    }

    fn guest(&self) -> Result<Guest, Failure> {
        let guest = self.container.borrow().clone();
        guest.ok_or_else(|| Failure::new(ErrorClass::Conflict, "there is no container in this VM yet"))
    }

    pub(crate) fn supervisor(&self) -> Result<Rc<Supervisor>, Failure> {
        Ok(self.guest()?.supervisor)
    }

    async fn have_cards(&self, cards: Vec<Card>) -> Result<(), Failure> {
        let before = self.cards.borrow().clone();
        configure_cards(&before, &cards).await.map_err(|error| Failure::from_error(&error))?;
        self.cards.replace(cards);
        Ok(())
    }

    fn step<T>(&self, name: &'static str, step: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let from = Instant::now();
        let result = step();
        self.spans.borrow_mut().push((name, from, Instant::now()));
        result
    }
}

impl Service for Agent {
    type Stdin = FdStream;
    type Output = FdStream;
    type Queries = DuplexStream;

    async fn create(&self, create: Create) -> Result<(), Failure> {
        let Create { container, place } = create;
        let WirePlace::Guest(GuestPlace { layers, fresh, time_ns, entropy, cards }) = place else {
            return Err(Failure::new(ErrorClass::InvalidArgument, "this is a guest"));
        };
        if self.container.borrow().is_some() {
            return Err(Failure::new(ErrorClass::Conflict, "a VM runs one container"));
        }
        self.step("clock and random", || {
            set_clock(time_ns).map_err(|error| internal("set the clock", &error))?;
            seed(&entropy).map_err(|error| internal("seed the random generator", &error))
        })?;
        let disks = self.step("disks", || {
            Disks::set_up(&layers, fresh && container.ephemeral).map_err(|error| Failure::from_error(&error))
        })?;
        let supervisor = self.step("create", || {
            let topmost = disks
                .lowers
                .first()
                .ok_or_else(|| Failure::new(ErrorClass::InvalidArgument, "the image has no layers"))?;
            let made = match fresh {
                true => look_like(&disks.upper, topmost),
                false => make_writable_layer(&disks.upper, &disks.work, topmost),
            };
            made.map_err(|error| internal("make the writable layer", &error))?;
            let dir = "/run/container".into();
            fs::create_dir_all(&dir).map_err(|error| internal("make the container's directory", &error))?;
            let place = Place {
                dir,
                lowers: disks.lowers.clone(),
                upper: disks.upper.clone(),
                work: disks.work.clone(),
                reaper: self.reaper.clone(),
                fresh,
                cgroup: "casemate".to_owned(),
            };
            let cage = Cage::create(container, place).map_err(|error| Failure::from_error(&error))?;
            // The VM's network is the container's: there is nobody else in it.
            Ok(Supervisor::new(cage.in_network(NetworkNamespace::OfMachine)))
        })?;
        let from = Instant::now();
        self.have_cards(cards).await?;
        self.spans.borrow_mut().push(("network", from, Instant::now()));
        *self.container.borrow_mut() = Some(Guest { supervisor: Rc::new(supervisor), disks: Rc::new(disks) });
        Ok(())
    }

    async fn start(&self) -> Result<Started, Failure> {
        let guest = self.guest()?;
        let from = Instant::now();
        let pid = guest.supervisor.start().await?;
        self.spans.borrow_mut().push(("start", from, Instant::now()));
        let spans = self.spans.borrow();
        let origin = spans.first().map_or(from, |(_, from, _)| *from);
        let timeline = spans.iter().map(|(name, from, to)| Span {
            name: (*name).to_owned(),
            start_us: from.duration_since(origin).as_micros() as u64,
            duration_us: to.duration_since(*from).as_micros() as u64,
        });
        Ok(Started { pid, timeline: timeline.collect() })
    }

    async fn exec(&self, process: Process) -> Result<ExecStarted, Failure> {
        let mut random = [0; 32];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| internal("make an id", &errno.into()))?;
        let id = ExecId::from_random(random);
        self.guest()?.supervisor.exec(id, &process).await
    }

    async fn signal(&self, process: ProcessRef, signal: Signal) -> Result<(), Failure> {
        self.guest()?.supervisor.signal(&process, signal)
    }

    async fn resize(&self, process: ProcessRef, size: TerminalSize) -> Result<(), Failure> {
        self.guest()?.supervisor.resize(&process, size)
    }

    async fn wait(&self, process: ProcessRef) -> Result<Exited, Failure> {
        self.guest()?.supervisor.wait(&process).await
    }

    async fn pause(&self) -> Result<(), Failure> {
        self.guest()?.supervisor.pause()
    }

    async fn unpause(&self) -> Result<(), Failure> {
        self.guest()?.supervisor.unpause()
    }

    async fn update(&self, limits: Limits) -> Result<(), Failure> {
        self.guest()?.supervisor.update(&limits)
    }

    async fn rewire(&self, _: Rewired) -> Result<(), Failure> {
        Err(Failure::new(ErrorClass::InvalidArgument, "a guest has the network cards that it has"))
    }

    async fn reconfigure(&self, reconfigured: Reconfigured) -> Result<(), Failure> {
        let Reconfigured { cards, hosts, resolv_conf } = reconfigured;
        self.have_cards(cards).await?;
        self.guest()?.supervisor.rewrite_etc(hosts, resolv_conf)
    }

    async fn resolve(&self) -> Result<DuplexStream, Failure> {
        let sockets = ResolverSockets::open().map_err(|error| Failure::from_error(&error))?;
        let (near, far) = tokio::io::duplex(QUERIES);
        let passed_on = resolver::pass_on(sockets, far).map_err(|error| internal("watch the resolver", &error))?;
        tokio::task::spawn_local(passed_on);
        Ok(near)
    }

    async fn processes(&self) -> Result<Vec<ContainerProcess>, Failure> {
        self.guest()?.supervisor.processes()
    }

    async fn sockets(&self) -> Result<Sockets, Failure> {
        self.guest()?.supervisor.sockets()
    }

    async fn stats(&self) -> Result<Stats, Failure> {
        self.guest()?.supervisor.stats()
    }

    async fn facts(&self) -> Result<GuestFacts, Failure> {
        const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
        let boot_id = fs::read_to_string(BOOT_ID).map_err(|error| internal(BOOT_ID, &error))?;
        // System calls rather than files: making text of all that the kernel
        // knows of memory takes longer than all the rest.
        let memory = sysinfo();
        let cpus = sched_getaffinity(None).map_err(|errno| internal("count the processors", &errno.into()))?;
        Ok(GuestFacts {
            kernel_release: uname().release().to_string_lossy().into_owned(),
            boot_id: boot_id.trim_end().to_owned(),
            memory_total: Bytes(memory.totalram * u64::from(memory.mem_unit)),
            cpus: cpus.count(),
        })
    }

    /// The disk is clean when this returns; the VM ends after the answer.
    async fn shutdown(&self) -> Result<(), Failure> {
        let guest = self.container.borrow_mut().take();
        let mut result = Ok(());
        if let Some(Guest { supervisor, disks }) = guest {
            result = supervisor.destroy().await;
            if let Err(error) = disks.put_away() {
                root::say(&format!("casemate-agent: {}", casemate_model::chain(&error)));
            }
        }
        self.shut_down.send_replace(true);
        result
    }

    async fn stdin(&self, process: ProcessRef) -> Result<FdStream, Failure> {
        self.guest()?.supervisor.take_stdin(&process)
    }

    async fn output(&self, process: ProcessRef, stream: OutputStream) -> Result<FdStream, Failure> {
        self.guest()?.supervisor.take_output(&process, stream)
    }
}

fn set_clock(time_ns: u64) -> io::Result<()> {
    let seconds = i64::try_from(time_ns / 1_000_000_000).map_err(io::Error::other)?;
    let nanoseconds = (time_ns % 1_000_000_000) as i64;
    Ok(clock_settime(ClockId::Realtime, Timespec { tv_sec: seconds, tv_nsec: nanoseconds })?)
}

fn seed(entropy: &[u8]) -> io::Result<()> {
    let random = OpenOptions::new().write(true).open("/dev/urandom")?;
    sys::add_entropy(&random, entropy)?;
    Ok(sys::reseed(&random)?)
}

fn internal(what: &str, error: &io::Error) -> Failure {
    Failure::new(ErrorClass::Internal, format!("cannot {what}: {error}"))
}
