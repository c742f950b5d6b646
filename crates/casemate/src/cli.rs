//! The command line's grammar: Docker's, where Docker has the same command.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use casemate_engine::Settings;
use casemate_engine::networks::NetworkSettings;
use casemate_model::{Bytes, ContainerName, DetachKeys, Isolation, NanoCpus};
use casemate_record::LogRecord;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::daemon::Given;
use crate::filters::Filter;
use crate::listing::ListFormat;

mod network;

pub(crate) use network::{
    ConnectArgs, CreateNetworkArgs, DisconnectArgs, InspectNetworkArgs, ListNetworksArgs, NetworkArgs, NetworkCommand,
    PortArgs, PruneNetworksArgs, Refused, RmNetworkArgs, SeeArgs,
};
use network::{FIREWALL_JSON, PORTS_JSON};

#[derive(Debug, Parser)]
#[command(
    name = "casemate",
    version,
    about = "A container engine that picks the wall for each container: namespaces, or a VM of its own",
    max_term_width = 100,
    after_help = "The engine's options may stand before or after COMMAND; each command has a --help of its own."
)]
pub(crate) struct Cli {
    /// Daemon socket to connect to: unix:///PATH or tcp://NAME:PORT [env: DOCKER_HOST] [default: docker.sock in the run
    /// directory, whose daemon is started if there is none]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    pub(crate) host: Option<String>,
    /// Name of the context to use to connect to the daemon [env: DOCKER_CONTEXT]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) context: Option<String>,
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
    /// What is said of the daemon by flags.
    #[arg(skip)]
    pub(crate) given: Given,
    /// The engine's options that stand on the command line.
    #[arg(skip)]
    pub(crate) engine_flags: Vec<OsString>,
}

impl Cli {
    /// The grammar. The engine's options go with every command, and are in the
    /// help of `casemate` only: a command's shows what is the command's.
    pub(crate) fn grammar() -> clap::Command {
        let grammar = Self::command();
        let global: Vec<clap::Arg> = grammar.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
        grammar.mut_subcommands(|command| command.args(global.iter().map(|arg| arg.clone().hide(true))))
    }

    /// Those on the command line that only a daemon that is being started hears.
    /// The run directory says which daemon is meant.
    pub(crate) fn flags_of_daemon(&self) -> Option<String> {
        let flags = self.engine_flags.iter().map(|flag| flag.to_string_lossy());
        let flags: Vec<_> = flags.filter(|flag| !flag.starts_with("--run=")).collect();
        (!flags.is_empty()).then(|| flags.join(" "))
    }

    pub(crate) fn read() -> Result<Self, clap::Error> {
        let matches = Self::grammar().try_get_matches()?;
        let given = matches.subcommand_matches("daemon").map(Given::of).unwrap_or_default();
        let engine_flags = engine_flags(&matches);
        Ok(Self { given, engine_flags, ..Self::from_arg_matches(&matches)? })
    }
}

/// As they were written, for the daemon that is started with them.
fn engine_flags(matches: &ArgMatches) -> Vec<OsString> {
    // Wherever they stand, the command has them.
    let Some((_, command)) = matches.subcommand() else {
        return Vec::new();
    };
    let grammar = Cli::command();
    let written = grammar.get_arguments().filter(|arg| {
        let id = arg.get_id().as_str();
        arg.is_global_set() && command.value_source(id) == Some(ValueSource::CommandLine)
    });
    let flag = |arg: &clap::Arg| {
        let value = command.get_raw(arg.get_id().as_str())?.next_back()?;
        let mut flag = OsString::from(format!("--{}=", arg.get_long()?));
        flag.push(value);
        Some(flag)
    };
    written.filter_map(flag).collect()
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Engine options")]
pub(crate) struct Global {
    /// Directory of images and containers
    #[arg(
        long,
        visible_alias = "data-root",
        global = true,
        env = "CASEMATE_ROOT",
        default_value = "/var/lib/casemate",
        value_name = "DIR"
    )]
    root: PathBuf,
    /// Directory of what runs: sockets and locks
    #[arg(
        long,
        visible_alias = "exec-root",
        global = true,
        env = "CASEMATE_RUN",
        default_value = "/run/casemate",
        value_name = "DIR"
    )]
    run: PathBuf,
    /// Directory of the guest's kernel and agent and of the built-in image [default: ../lib/casemate beside
    /// the program's directory]
    #[arg(long, global = true, env = "CASEMATE_LIB", value_name = "DIR")]
    lib: Option<PathBuf>,
    /// QEMU's program [default: the system's]
    #[arg(long, global = true, env = "CASEMATE_QEMU", value_name = "FILE")]
    qemu: Option<PathBuf>,
    /// How utility VMs run: auto, kvm or tcg
    #[arg(long, global = true, env = "CASEMATE_ACCELERATOR", default_value = "auto", value_name = "NAME")]
    accelerator: String,
    /// Seconds a utility VM may take to come up
    #[arg(long, global = true, env = "CASEMATE_BOOT_TIMEOUT", default_value_t = 60.0, value_name = "SECONDS")]
    boot_timeout: f64,
    /// Seconds without an answer after which a guest is taken for dead
    #[arg(long, global = true, env = "CASEMATE_HEALTH_DEADLINE", default_value_t = 60.0, value_name = "SECONDS")]
    health_deadline: f64,
    /// Size of a hyperv container's writable disk
    #[arg(long, global = true, env = "CASEMATE_SCRATCH_SIZE", default_value = "20g", value_name = "SIZE")]
    scratch_size: Bytes,
    /// Isolation of containers that name none: process or hyperv
    #[arg(long, global = true, env = "CASEMATE_ISOLATION", default_value_t = Isolation::Process, value_name = "NAME")]
    default_isolation: Isolation,
}

impl Global {
    pub(crate) fn run_dir(&self) -> &Path {
        &self.run
    }

    pub(crate) fn root_dir(&self) -> &Path {
        &self.root
    }

    pub(crate) fn settings(self) -> std::io::Result<Settings> {
        let program = std::env::current_exe()?;
        let beside = || program.parent()?.parent().map(|prefix| prefix.join("lib/casemate"));
        let lib = self.lib.or_else(beside).unwrap_or_else(|| PathBuf::from("/usr/local/lib/casemate"));
        Ok(Settings {
            root: std::path::absolute(self.root)?,
            run: std::path::absolute(self.run)?,
            lib: std::path::absolute(lib)?,
            program,
            qemu: self.qemu,
            accelerator: self.accelerator,
            boot_timeout_ms: millis(self.boot_timeout),
            health_deadline_ms: millis(self.health_deadline),
            scratch_size: self.scratch_size.0,
            isolation: self.default_isolation,
            log: LogRecord::default(),
            registries: casemate_registry::Settings::default(),
            max_downloads: MAX_DOWNLOADS,
            networks: NetworkSettings::default(),
        })
    }
}

/// dockerd's `max-concurrent-downloads`.
const MAX_DOWNLOADS: usize = 3;

/// From a tenth of a second to a day.
pub(crate) fn millis(seconds: f64) -> u64 {
    (seconds.clamp(0.1, 86_400.0) * 1000.0) as u64
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve the Docker Engine API
    Daemon(Box<DaemonArgs>),
    /// Create and run a new container from an image
    Run(Box<RunArgs>),
    /// Create a new container
    Create(Box<CreateArgs>),
    /// Start one or more stopped containers
    Start(ContainersArgs),
    /// Attach local standard input, output, and error streams to a running container
    Attach(AttachArgs),
    /// Execute a command in a running container
    Exec(ExecArgs),
    /// List containers
    Ps(PsArgs),
    /// Kill one or more running containers
    Kill(KillArgs),
    /// Stop one or more running containers
    Stop(StopArgs),
    /// Restart one or more containers
    Restart(StopArgs),
    /// Pause all processes within one or more containers
    Pause(ContainersArgs),
    /// Unpause all processes within one or more containers
    Unpause(ContainersArgs),
    /// Block until one or more containers stop, then print their exit codes
    Wait(ContainersArgs),
    /// Rename a container
    Rename { container: String, name: String },
    /// Remove one or more containers
    Rm(RmArgs),
    /// Fetch the logs of a container
    Logs(LogsArgs),
    /// Show a container in full
    Inspect(InspectArgs),
    /// Show the running processes of a container, or the host's for it
    Top(TopArgs),
    /// List port mappings or a specific mapping for the container
    Port(PortArgs),
    /// List what listens in containers, what of it is published, and who is connected
    #[command(after_help = PORTS_JSON)]
    Ports(SeeArgs),
    /// List the firewall's rules that are there because of containers, and why
    #[command(after_help = FIREWALL_JSON)]
    Firewall(SeeArgs),
    /// Manage networks
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Download an image from a registry
    Pull(PullArgs),
    /// Load images from a docker save or OCI layout archive
    Load(LoadArgs),
    /// List images
    Images(ImagesArgs),
    /// Remove one or more images
    Rmi(RmiArgs),
    /// Show the versions of this program and of the daemon
    Version(FormatArgs),
    /// Show what this engine runs on
    Info(FormatArgs),
    /// Check the host, and say how to mend what is missing
    Doctor(FormatArgs),
    /// Print a completion script for a shell
    Completion { shell: clap_complete::Shell },
    /// Write the manual pages into a directory
    Man { dir: PathBuf },
    /// Keep one container (started by the engine)
    #[command(hide = true)]
    Keeper(KeeperArgs),
    /// Write the guest's initramfs around an agent and an init for containers (used by the build)
    #[command(hide = true)]
    Initramfs { agent: PathBuf, docker_init: PathBuf, out: PathBuf },
}

/// dockerd's, where it has the same thing.
#[derive(Clone, Debug, Args)]
pub(crate) struct DaemonArgs {
    /// Daemon socket(s) to connect to: unix:///PATH, tcp://ADDRESS:PORT or fd:// [default: docker.sock in the run
    /// directory]
    #[arg(short = 'H', long, value_name = "ADDRESS")]
    pub(crate) host: Vec<String>,
    /// Daemon configuration file [default: /etc/casemate/daemon.json]
    #[arg(long, value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Path to use for daemon PID file [default: casemate.pid in the run directory]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,
    /// Group for the unix socket [default: casemate, if there is one]
    #[arg(short = 'G', long, value_name = "GROUP")]
    pub(crate) group: Option<String>,
    /// Runtime execution options: isolation=process|hyperv|default for containers that name none
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) exec_opt: Vec<String>,
    /// Use TLS over TCP; implied by --tlsverify
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) tls: Option<bool>,
    /// Use TLS over TCP and verify the clients' certificates
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) tlsverify: Option<bool>,
    /// Trust clients with certificates signed only by this CA [default: /etc/casemate/ca.pem]
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscacert: Option<PathBuf>,
    /// Path to TLS certificate file [default: /etc/casemate/cert.pem]
    #[arg(long, value_name = "FILE")]
    pub(crate) tlscert: Option<PathBuf>,
    /// Path to TLS key file [default: /etc/casemate/key.pem]
    #[arg(long, value_name = "FILE")]
    pub(crate) tlskey: Option<PathBuf>,
    /// Enable debug mode
    #[arg(short = 'D', long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub(crate) debug: Option<bool>,
    /// Set the logging level: debug, info, warn, error or fatal [default: info]
    #[arg(short, long, value_name = "LEVEL")]
    pub(crate) log_level: Option<String>,
    /// Set the logging format: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub(crate) log_format: Option<String>,
    /// Default driver for container logs: json-file, local or none [default: json-file]
    #[arg(long, value_name = "NAME")]
    pub(crate) log_driver: Option<String>,
    /// Default log driver options for containers
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) log_opt: Vec<String>,
    /// Registry that may have an unknown certificate or none: HOST[:PORT] or a network
    #[arg(long, value_name = "REGISTRY")]
    pub(crate) insecure_registry: Vec<String>,
    /// Mirror of Docker Hub to ask first
    #[arg(long, value_name = "URL")]
    pub(crate) registry_mirror: Vec<String>,
    /// Layers that are downloaded at once [default: 3]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_concurrent_downloads: Option<usize>,
    /// Address and prefix of the bridge network's bridge [default: from the default address pools]
    #[arg(long, value_name = "CIDR")]
    pub(crate) bip: Option<String>,
    /// Where subnets of networks come from: base=10.10.0.0/16,size=24
    #[arg(long, value_name = "POOL")]
    pub(crate) default_address_pool: Vec<String>,
    /// Network of containers that name none: process=NAME or hyperv=NAME [default: process=bridge, hyperv=sealed]
    #[arg(long, value_name = "ISOLATION=NAME")]
    pub(crate) default_network: Vec<String>,
    /// Seconds that requests get to be answered when the daemon is stopped [default: 15]
    #[arg(long, value_name = "SECONDS")]
    pub(crate) shutdown_timeout: Option<u64>,
    /// Validate daemon configuration and exit
    #[arg(long)]
    pub(crate) validate: bool,
    /// Leave the session of the command that starts it
    #[arg(long, hide = true)]
    pub(crate) on_demand: bool,
}

#[derive(Debug, Args)]
#[command(disable_help_flag = true, override_usage = "casemate run [OPTIONS] IMAGE [COMMAND] [ARG]...")]
pub(crate) struct RunArgs {
    /// Run the container in the background and print its ID
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<DetachKeys>,
    #[command(flatten)]
    pub(crate) create: CreateArgs,
}

/// What is checked by the daemon is passed on as it is written.
#[derive(Debug, Args)]
#[command(disable_help_flag = true, override_usage = "casemate create [OPTIONS] IMAGE [COMMAND] [ARG]...")]
pub(crate) struct CreateArgs {
    /// Container isolation: process, hyperv, or default for the daemon's
    #[arg(long, value_name = "NAME")]
    pub(crate) isolation: Option<String>,
    /// Keep STDIN open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Remove the container when it exits
    #[arg(long)]
    pub(crate) rm: bool,
    /// Assign a name to the container
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Set an environment variable (NAME=VALUE, or NAME for the value it has here)
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Set meta data on the container
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User name or UID (USER[:GROUP])
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Container host name
    #[arg(short = 'h', long, value_name = "NAME")]
    pub(crate) hostname: Option<String>,
    /// Memory limit (512m, 2g)
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<Bytes>,
    /// Number of CPUs
    #[arg(long, value_name = "DECIMAL")]
    pub(crate) cpus: Option<NanoCpus>,
    /// Replace the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<String>,
    /// Mount the container's root filesystem as read only
    #[arg(long)]
    pub(crate) read_only: bool,
    /// Run an init inside the container that forwards signals and reaps processes
    #[arg(long)]
    pub(crate) init: bool,
    /// Give extended privileges to the container; under hyperv, inside its VM
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Add Linux capabilities
    #[arg(long, value_name = "NAME")]
    pub(crate) cap_add: Vec<String>,
    /// Drop Linux capabilities
    #[arg(long, value_name = "NAME")]
    pub(crate) cap_drop: Vec<String>,
    /// Restart policy to apply when the container exits: no, on-failure[:N], always or unless-stopped
    #[arg(long, value_name = "POLICY")]
    pub(crate) restart: Option<String>,
    /// Pull the image before creating: always, missing or never
    #[arg(long, value_name = "WHEN", value_parser = ["always", "missing", "never"], default_value = "missing")]
    pub(crate) pull: String,
    /// Platform of the image, if it has several
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    pub(crate) platform: Option<String>,
    /// Signal to stop the container
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Seconds to wait after it before killing, -1 for ever
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) stop_timeout: Option<i64>,
    #[command(flatten)]
    pub(crate) network: NetworkArgs,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    /// Image to run, and the command and its arguments [default: the image's]
    // One list: whatever follows the image is the command's, flags too.
    #[arg(required = true, trailing_var_arg = true, value_name = "IMAGE")]
    pub(crate) image_and_command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ContainersArgs {
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct AttachArgs {
    /// Override the key sequence for detaching a container
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<DetachKeys>,
    /// Do not attach STDIN
    #[arg(long)]
    pub(crate) no_stdin: bool,
    pub(crate) container: String,
}

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// Download all tagged images in the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Platform of the image, if it has several
    #[arg(long, value_name = "OS/ARCHITECTURE")]
    pub(crate) platform: Option<String>,
    /// Suppress verbose output
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[arg(value_name = "NAME[:TAG|@DIGEST]")]
    pub(crate) name: String,
}

#[derive(Debug, Args)]
#[command(override_usage = "casemate exec [OPTIONS] CONTAINER COMMAND [ARG]...")]
pub(crate) struct ExecArgs {
    /// Run the command in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Override the key sequence for detaching from the command
    #[arg(long, value_name = "KEYS")]
    pub(crate) detach_keys: Option<DetachKeys>,
    /// Keep STDIN open
    #[arg(short, long)]
    pub(crate) interactive: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// Working directory inside the container
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User name or UID (USER[:GROUP])
    #[arg(short, long)]
    pub(crate) user: Option<String>,
    /// Container to run in, and the command and its arguments
    // One list: whatever follows the container is the command's, flags too.
    #[arg(required = true, num_args = 2.., trailing_var_arg = true, value_name = "CONTAINER")]
    pub(crate) container_and_command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show what has this only: network=NAME, publish=PORT[/PROTO], expose=PORT[/PROTO], name=NAME, status=STATUS, …
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) filter: Vec<Filter>,
    /// Only display container IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// 'table', 'table {{.ID}}\t{{.Ports}}', 'json', or a line for each: '{{.Names}}'
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: ListFormat,
}

#[derive(Debug, Args)]
pub(crate) struct FormatArgs {
    /// 'json' for programs
    #[arg(long, value_name = "FORMAT", value_parser = ["table", "json"], default_value = "table")]
    pub(crate) format: String,
}

impl FormatArgs {
    pub(crate) fn json(&self) -> bool {
        self.format == "json"
    }
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    /// Signal to send to the container
    #[arg(short, long, default_value = "SIGKILL")]
    pub(crate) signal: String,
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Signal to send to the container [default: the container's, or SIGTERM]
    #[arg(short, long)]
    pub(crate) signal: Option<String>,
    /// Seconds to wait before killing the container, -1 for ever [default: the container's, or 10]
    #[arg(short = 't', long = "timeout", alias = "time", allow_negative_numbers = true, value_name = "SECONDS")]
    pub(crate) timeout: Option<i64>,
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Force the removal of a running container
    #[arg(short, long)]
    pub(crate) force: bool,
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Show what each line carries besides ('--log-opt labels', 'env', 'tag')
    #[arg(long)]
    pub(crate) details: bool,
    /// Follow log output
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show timestamps
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Number of lines to show from the end of the logs
    #[arg(short = 'n', long, default_value = "all", value_name = "NUMBER")]
    pub(crate) tail: String,
    pub(crate) container: String,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Print fields only: '{{.State.ExitCode}}', '{{json .State}}'
    #[arg(short, long)]
    pub(crate) format: Option<String>,
    #[arg(required = true)]
    pub(crate) containers: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Show the host's processes for the container, and what they cost
    #[arg(long)]
    pub(crate) host: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    pub(crate) container: String,
    /// As for ps: '-ef', 'aux', '-o pid,cmd'
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ps OPTIONS")]
    pub(crate) ps: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    /// Read from a file instead of STDIN
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Suppress the load output
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImagesArgs {
    /// Only show image IDs
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Don't truncate output
    #[arg(long)]
    pub(crate) no_trunc: bool,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RmiArgs {
    /// Force removal of the image
    #[arg(short, long)]
    pub(crate) force: bool,
    #[arg(required = true)]
    pub(crate) images: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct KeeperArgs {
    #[arg(long)]
    pub(crate) id: String,
    #[arg(long)]
    pub(crate) name: ContainerName,
    #[arg(long)]
    pub(crate) auto_remove: bool,
    #[arg(long)]
    pub(crate) log_file_size: u64,
    #[arg(long)]
    pub(crate) log_files: u32,
    #[arg(long)]
    pub(crate) health_deadline_ms: u64,
    #[arg(long)]
    pub(crate) keeper_root: PathBuf,
    #[arg(long)]
    pub(crate) keeper_run: PathBuf,
}
