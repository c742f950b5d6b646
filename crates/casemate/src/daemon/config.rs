//! The daemon's configuration: flags, the environment and the file made into
//! one checked whole.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use casemate_api::TlsFiles;
use casemate_engine::networks::{NetworkSettings, ParseAddressPoolError};
use casemate_engine::{InvalidOption, Settings};
use casemate_model::{Bytes, Isolation};
use casemate_record::LogRecord;
use casemate_registry::{InsecureRegistries, Mirror, ParseSettingError};

use crate::cli::{DaemonArgs, Global, millis};

use super::file::{File, FileError, Pool};
use super::given::Given;
use super::host::{Host, HostError};
use super::log::{Format, Level, LogConfig, LogError};

const FILE: &str = "/etc/casemate/daemon.json";

/// Where keys lie if nothing says where.
const KEYS: &str = "/etc/casemate";

/// The socket's, as dockerd's is `docker`.
const GROUP: &str = "casemate";

/// dockerd's, in seconds.
const SHUTDOWN_TIMEOUT: u64 = 15;

#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) settings: Settings,
    pub(super) hosts: Vec<Host>,
    /// Who besides root may use the sockets.
    pub(super) group: Option<Group>,
    pub(super) pidfile: PathBuf,
    /// None: TCP is not encrypted.
    pub(super) tls: Option<TlsFiles>,
    pub(super) log: LogConfig,
    /// How long requests get to be answered when the daemon is stopped.
    pub(super) shutdown_timeout: Duration,
    /// Keys of the file.
    pub(super) of_no_effect: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// There may be none of this name.
    Default(&'static str),
    Named(String),
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    #[error("unable to configure the daemon with file {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("unable to configure the daemon with file {path}")]
    File { path: PathBuf, source: FileError },
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("failed to set log opts")]
    LogOptions(#[source] InvalidOption),
    #[error("unable to parse key/value option: {0}")]
    KeyValue(String),
    #[error("Invalid exec-opt value for 'isolation':'{0}'")]
    Isolation(String),
    #[error("invalid exec-opt {0}: control groups are made with cgroupfs")]
    CgroupDriver(String),
    #[error("Unrecognised exec-opt '{0}'")]
    UnknownExecOption(String),
    #[error(transparent)]
    Accelerator(#[from] casemate_vm::UnknownAccelerator),
    #[error("invalid scratch-size {0:?}")]
    ScratchSize(String),
    #[error(transparent)]
    Registry(#[from] ParseSettingError),
    #[error("invalid bip {0:?}: it is an address with the length of its prefix, as 192.168.5.1/24")]
    Bip(String),
    #[error(transparent)]
    AddressPool(#[from] ParseAddressPoolError),
    #[error("invalid default network for {0:?}: it is process=NAME or hyperv=NAME")]
    DefaultNetwork(String),
    #[error("invalid max concurrent downloads: {0}")]
    MaxDownloads(usize),
    #[error("cannot tell where {path:?} is")]
    Path { path: PathBuf, source: io::Error },
}

/// What a configuration is made from, each time that it is read.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    global: Global,
    args: DaemonArgs,
    given: Given,
}

impl Sources {
    pub(crate) fn new(global: Global, args: DaemonArgs, given: Given) -> Self {
        Self { global, args, given }
    }

    pub(super) fn on_demand(&self) -> bool {
        self.args.on_demand
    }

    pub(super) fn only_validate(&self) -> bool {
        self.args.validate
    }

    pub(super) fn file(&self) -> &Path {
        self.args.config_file.as_deref().unwrap_or_else(|| Path::new(FILE))
    }

    /// A file that is named must be there.
    pub(super) fn load(&self) -> Result<Config, ConfigError> {
        let path = self.file();
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound && self.args.config_file.is_none() => String::new(),
            Err(source) => return Err(ConfigError::Read { path: path.to_owned(), source }),
        };
        let file = File::parse(&text, &self.given);
        let file = file.map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        let mut config = self.merge(file)?;
        config.of_no_effect = File::ignored(&text);
        Ok(config)
    }

    fn merge(&self, mut file: File) -> Result<Config, ConfigError> {
        let Self { global, args, given } = self;
        let absolute = |path: PathBuf| std::path::absolute(&path).map_err(|source| ConfigError::Path { path, source });
        let networks = networks(args, &mut file)?;
        let program = |source| ConfigError::Path { path: "/proc/self/exe".into(), source };
        let mut settings = global.clone().settings().map_err(program)?;
        settings.networks = networks;
        if let Some(root) = file.data_root.filter(|_| given.leaves("root")) {
            settings.root = absolute(root)?;
        }
        if let Some(run) = file.exec_root.filter(|_| given.leaves("run")) {
            settings.run = absolute(run)?;
        }
        if let Some(lib) = file.lib.filter(|_| given.leaves("lib")) {
            settings.lib = absolute(lib)?;
        }
        if let Some(qemu) = file.qemu.filter(|_| given.leaves("qemu")) {
            settings.qemu = Some(qemu);
        }
        if let Some(accelerator) = file.accelerator.filter(|_| given.leaves("accelerator")) {
            settings.accelerator = accelerator;
        }
        settings.accelerator.parse::<casemate_vm::AcceleratorChoice>()?;
        if let Some(seconds) = file.boot_timeout.filter(|_| given.leaves("boot_timeout")) {
            settings.boot_timeout_ms = millis(seconds);
        }
        if let Some(seconds) = file.health_deadline.filter(|_| given.leaves("health_deadline")) {
            settings.health_deadline_ms = millis(seconds);
        }
        if let Some(size) = file.scratch_size.filter(|_| given.leaves("scratch_size")) {
            let Ok(Bytes(bytes)) = size.parse() else {
                return Err(ConfigError::ScratchSize(size));
            };
            settings.scratch_size = bytes;
        }
        let options = if args.exec_opt.is_empty() { file.exec_opts.unwrap_or_default() } else { args.exec_opt.clone() };
        if let Some(isolation) = isolation(&options)? {
            settings.isolation = isolation;
        }

        settings.log = LogRecord {
            driver: args.log_driver.clone().or(file.log_driver).unwrap_or_default(),
            options: match args.log_opt.is_empty() {
                true => file.log_opts.unwrap_or_default(),
                false => args.log_opt.iter().map(|option| pair(option)).collect::<Result<_, _>>()?,
            },
        };
        casemate_engine::check_log_options(&settings.log).map_err(ConfigError::LogOptions)?;

        let several = |flags: &Vec<String>, keys: Option<Vec<String>>| match flags.is_empty() {
            true => keys.unwrap_or_default(),
            false => flags.clone(),
        };
        let insecure = several(&args.insecure_registry, file.insecure_registries);
        settings.registries.insecure = InsecureRegistries::parse(insecure.iter().map(String::as_str))?;
        let mirrors = several(&args.registry_mirror, file.registry_mirrors);
        settings.registries.mirrors = mirrors.iter().map(|text| Mirror::parse(text)).collect::<Result<_, _>>()?;
        settings.max_downloads = match args.max_concurrent_downloads.or(file.max_concurrent_downloads) {
            None => settings.max_downloads,
            Some(0) => return Err(ConfigError::MaxDownloads(0)),
            Some(downloads) => downloads,
        };

        let verify = args.tlsverify.or(file.tlsverify).unwrap_or(false);
        // As in dockerd: to verify is to encrypt.
        let encrypt = verify || args.tls.or(file.tls).unwrap_or(false);
        let key = |flag: &Option<PathBuf>, key: Option<PathBuf>, name: &str| {
            flag.clone().or(key).unwrap_or_else(|| Path::new(KEYS).join(name))
        };
        let authority = key(&args.tlscacert, file.tlscacert, "ca.pem");
        let tls = encrypt.then(|| TlsFiles {
            certificate: key(&args.tlscert, file.tlscert, "cert.pem"),
            key: key(&args.tlskey, file.tlskey, "key.pem"),
            client_authority: verify.then_some(authority),
        });

        let hosts = if args.host.is_empty() { file.hosts.unwrap_or_default() } else { args.host.clone() };
        let default_socket = settings.run.join("docker.sock");
        let hosts = match hosts.is_empty() {
            true => vec![Host::Unix(default_socket)],
            false => {
                hosts.iter().map(|host| Host::parse(host.trim(), &default_socket, encrypt)).collect::<Result<_, _>>()?
            }
        };
        let group = match args.group.clone().or(file.group) {
            None => Some(Group::Default(GROUP)),
            Some(name) if name.is_empty() => None,
            Some(name) => Some(Group::Named(name)),
        };
        let pidfile = args.pidfile.clone().or(file.pidfile);
        let seconds = args.shutdown_timeout.or(file.shutdown_timeout).unwrap_or(SHUTDOWN_TIMEOUT);
        Ok(Config {
            pidfile: absolute(pidfile.unwrap_or_else(|| settings.run.join("casemate.pid")))?,
            log: LogConfig {
                level: Level::of(
                    args.debug.or(file.debug).unwrap_or(false),
                    args.log_level.as_deref().or(file.log_level.as_deref()),
                )?,
                format: Format::of(args.log_format.as_deref().or(file.log_format.as_deref()))?,
            },
            shutdown_timeout: Duration::from_secs(seconds),
            of_no_effect: Vec::new(),
            settings,
            hosts,
            group,
            tls,
        })
    }
}

fn networks(args: &DaemonArgs, file: &mut File) -> Result<NetworkSettings, ConfigError> {
    let mut networks = NetworkSettings::default();
    if let Some(bip) = args.bip.clone().or(file.bip.take()) {
        networks.bip = Some(bip.parse().map_err(|_| ConfigError::Bip(bip))?);
    }
    let pools = match args.default_address_pool.is_empty() {
        true => {
            let of_file = file.default_address_pools.take().unwrap_or_default();
            of_file.into_iter().map(|Pool { base, size }| format!("base={base},size={size}")).collect()
        }
        false => args.default_address_pool.clone(),
    };
    if !pools.is_empty() {
        networks.pools = pools.iter().map(|pool| pool.parse()).collect::<Result<_, _>>()?;
    }
    let of_file = file.default_network.take().unwrap_or_default().into_iter();
    let defaults = match args.default_network.is_empty() {
        true => of_file.collect(),
        false => args.default_network.iter().map(|option| pair(option)).collect::<Result<Vec<_>, _>>()?,
    };
    for (isolation, name) in defaults {
        match isolation.parse().map_err(|_| ConfigError::DefaultNetwork(isolation))? {
            Isolation::Process => networks.process = name,
            Isolation::Hyperv => networks.hyperv = name,
        }
    }
    Ok(networks)
}

fn pair(option: &str) -> Result<(String, String), ConfigError> {
    let (key, value) = option.split_once('=').ok_or_else(|| ConfigError::KeyValue(option.to_owned()))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

/// The engine's default, by dockerd's key for it. The last of several counts.
fn isolation(options: &[String]) -> Result<Option<Isolation>, ConfigError> {
    let mut isolation = None;
    for option in options {
        let (key, value) = pair(option)?;
        match (key.to_ascii_lowercase().as_str(), value.as_str()) {
            ("isolation", value) => {
                let parsed = Isolation::parse_or_default(value);
                let parsed = parsed.map_err(|_| ConfigError::Isolation(value.to_owned()))?;
                isolation = Some(parsed.unwrap_or(Isolation::Process));
            }
            ("native.cgroupdriver", "cgroupfs" | "") => {}
            ("native.cgroupdriver", _) => return Err(ConfigError::CgroupDriver(option.clone())),
            _ => return Err(ConfigError::UnknownExecOption(key)),
        }
    }
    Ok(isolation)
}

impl Config {
    /// Keys whose values differ and that a running daemon cannot change.
    pub(super) fn fixed_that_differ(&self, other: &Self) -> Vec<&'static str> {
        let Self { settings, hosts, group, pidfile, tls, log, shutdown_timeout: _, of_no_effect: _ } = self;
        let Settings {
            root,
            run,
            lib,
            program: _,
            qemu,
            accelerator,
            boot_timeout_ms,
            health_deadline_ms,
            scratch_size,
            isolation: _,
            log: container_log,
            registries,
            max_downloads,
            networks,
        } = settings;
        let now = &other.settings;
        [
            ("data-root", *root != now.root),
            ("exec-root", *run != now.run),
            ("lib", *lib != now.lib),
            ("qemu", *qemu != now.qemu),
            ("accelerator", *accelerator != now.accelerator),
            ("boot-timeout", *boot_timeout_ms != now.boot_timeout_ms),
            ("health-deadline", *health_deadline_ms != now.health_deadline_ms),
            ("scratch-size", *scratch_size != now.scratch_size),
            ("log-driver", container_log.driver != now.log.driver),
            ("log-opts", container_log.options != now.log.options),
            ("insecure-registries", registries.insecure != now.registries.insecure),
            ("registry-mirrors", registries.mirrors != now.registries.mirrors),
            ("max-concurrent-downloads", *max_downloads != now.max_downloads),
            ("bip", networks.bip != now.networks.bip),
            ("default-address-pools", networks.pools != now.networks.pools),
            ("default-network", (&networks.process, &networks.hyperv) != (&now.networks.process, &now.networks.hyperv)),
            ("hosts", *hosts != other.hosts),
            ("group", *group != other.group),
            ("pidfile", *pidfile != other.pidfile),
            ("tls", *tls != other.tls),
            ("log-format", log.format != other.log.format),
        ]
        .into_iter()
        .filter_map(|(key, differs)| differs.then_some(key))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use casemate_model::chain;
    use clap::{CommandFactory, FromArgMatches};

    use crate::cli::{Cli, Command};

    use super::*;

    /// What the command line and a file together mean.
    fn load(flags: &[&str], file: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("daemon.json");
        fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let words = ["casemate", "daemon", "--config-file", path].into_iter().chain(flags.iter().copied());
        let matches = Cli::command().try_get_matches_from(words).map_err(|error| error.to_string())?;
        let given = Given::of(matches.subcommand_matches("daemon").unwrap());
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let Command::Daemon(args) = cli.command else { panic!("not the daemon's command") };
        Sources::new(cli.global, *args, given).load().map_err(|error| chain(&error).replace(path, "FILE"))
    }

    #[test]
    fn nothing_said_is_the_default() {
        let config = load(&[], "").unwrap();
        assert_eq!(config.hosts, [Host::Unix("/run/casemate/docker.sock".into())]);
        assert_eq!(config.group, Some(Group::Default("casemate")));
        assert_eq!(config.pidfile, Path::new("/run/casemate/casemate.pid"));
        assert_eq!(config.tls, None);
        assert_eq!(config.log, LogConfig { level: Level::Info, format: Format::Text });
        assert_eq!(config.shutdown_timeout, Duration::from_secs(15));
        assert_eq!(config.settings.isolation, Isolation::Process);
    }

    #[test]
    fn flags_are_dockerds() {
        let config = load(
            &[
                "-H",
                "unix:///a",
                "--host=tcp://:7",
                "--data-root",
                "/r",
                "--exec-root",
                "/x",
                "-p",
                "/p",
                "-G",
                "g",
                "-D",
                "-l",
                "warn",
                "--log-driver",
                "local",
                "--log-opt",
                "max-size=1m",
                "--log-format",
                "json",
                "--exec-opt",
                "isolation=hyperv",
                "--tlsverify",
                "--tlscacert",
                "/ca",
                "--tlscert",
                "/c",
                "--tlskey=/k",
                "--shutdown-timeout",
                "3",
            ],
            "",
        )
        .unwrap();
        assert_eq!(config.settings.log, local_megabyte());
        assert_eq!(config.hosts, [Host::Unix("/a".into()), Host::Tcp("127.0.0.1:7".parse().unwrap())]);
        assert_eq!((config.settings.root, config.settings.run), ("/r".into(), "/x".into()));
        assert_eq!((config.pidfile, config.group), ("/p".into(), Some(Group::Named("g".into()))));
        assert_eq!(config.log, LogConfig { level: Level::Debug, format: Format::Json });
        assert_eq!(config.settings.isolation, Isolation::Hyperv);
        let files = TlsFiles { certificate: "/c".into(), key: "/k".into(), client_authority: Some("/ca".into()) };
        assert_eq!((config.tls, config.shutdown_timeout), (Some(files), Duration::from_secs(3)));
    }

    fn local_megabyte() -> LogRecord {
        LogRecord { driver: "local".to_owned(), options: [("max-size".to_owned(), "1m".to_owned())].into() }
    }

    #[test]
    fn the_file_says_the_same() {
        let config = load(
            &[],
            r#"{"hosts": ["unix:///a", "tcp://0.0.0.0"], "data-root": "/r", "exec-root": "/x", "pidfile": "/p",
                "group": "g", "debug": true, "log-level": "warn", "log-format": "json",
                "exec-opts": ["isolation=HyperV", "native.cgroupdriver=cgroupfs"], "tls": true, "tlscert": "/c",
                "tlskey": "/k", "shutdown-timeout": 3, "lib": "/l", "qemu": "/q", "accelerator": "tcg",
                "boot-timeout": 1.5, "health-deadline": 2, "scratch-size": "1g",
                "log-driver": "local", "log-opts": {"max-size": "1m"}, "insecure-registries": ["a:5000", "10.0.0.0/8"],
                "registry-mirrors": ["https://mirror.example"], "max-concurrent-downloads": 5}"#,
        )
        .unwrap();
        let registries = &config.settings.registries;
        assert_eq!(registries.insecure, InsecureRegistries::parse(["a:5000", "10.0.0.0/8"]).unwrap());
        assert_eq!(registries.mirrors, [Mirror::parse("https://mirror.example").unwrap()]);
        assert_eq!(config.settings.max_downloads, 5);
        assert_eq!(config.settings.log, local_megabyte());
        assert_eq!(config.hosts, [Host::Unix("/a".into()), Host::Tcp("0.0.0.0:2376".parse().unwrap())]);
        let Settings { root, run, lib, qemu, accelerator, boot_timeout_ms, health_deadline_ms, scratch_size, .. } =
            config.settings;
        assert_eq!([root, run, lib, qemu.unwrap()], ["/r", "/x", "/l", "/q"].map(PathBuf::from));
        assert_eq!((accelerator.as_str(), boot_timeout_ms, health_deadline_ms), ("tcg", 1500, 2000));
        assert_eq!((scratch_size, config.settings.isolation), (1 << 30, Isolation::Hyperv));
        assert_eq!((config.pidfile, config.group), ("/p".into(), Some(Group::Named("g".into()))));
        assert_eq!(config.log, LogConfig { level: Level::Debug, format: Format::Json });
        let files = TlsFiles { certificate: "/c".into(), key: "/k".into(), client_authority: None };
        assert_eq!((config.tls, config.shutdown_timeout), (Some(files), Duration::from_secs(3)));
    }

    #[test]
    fn a_key_by_flag_and_file_is_an_error_in_dockerds_words() {
        let error = load(&["-D", "-H", "unix:///a"], r#"{"debug": false, "hosts": ["unix:///b", "fd://"]}"#);
        assert_eq!(
            error.unwrap_err(),
            "unable to configure the daemon with file FILE: the following directives are specified both as a flag \
             and in the configuration file: debug: (from flag: true, from file: false), hosts: (from flag: \
             [unix:///a], from file: [unix:///b fd://])"
        );
        let error = load(&["--data-root", "/a"], r#"{"data-root": "/b"}"#).unwrap_err();
        assert!(error.ends_with("data-root: (from flag: /a, from file: /b)"), "{error}");
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (flags, file, expected) in [
            (&["-l", "loud"][..], "", "invalid logging level: loud"),
            (&["--log-format", "xml"], "", "invalid log format: xml"),
            (
                &["--log-driver", "syslog"],
                "",
                "failed to set log opts: logger: no log driver named 'syslog' is registered",
            ),
            (&["--insecure-registry", "ftp://x"], "", "insecure registry ftp://x should not contain '://'"),
            (&["--registry-mirror", "mirror"], "", "invalid mirror: no scheme specified for \"mirror\""),
            (&["--max-concurrent-downloads", "0"], "", "invalid max concurrent downloads: 0"),
            (&["--log-opt", "max-file"], "", "unable to parse key/value option: max-file"),
            (&[], r#"{"log-opts": {"max-file": "none"}}"#, "invalid value for max-file: none"),
            (&["--exec-opt", "isolation"], "", "unable to parse key/value option: isolation"),
            (&["--exec-opt", "isolation=vm"], "", "Invalid exec-opt value for 'isolation':'vm'"),
            (&["--exec-opt", "x=y"], "", "Unrecognised exec-opt 'x'"),
            (&[], r#"{"exec-opts": ["native.cgroupdriver=systemd"]}"#, "native.cgroupdriver=systemd"),
            (&["-H", "http://x"], "", "unsupported proto 'http'"),
            (&[], r#"{"accelerator": "xen"}"#, "xen"),
            (&[], r#"{"scratch-size": "much"}"#, "invalid scratch-size \"much\""),
            (&[], "{", "unable to configure the daemon with file FILE: invalid JSON"),
        ] {
            let error = load(flags, file).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_named_file_must_be_there() {
        let words = ["casemate", "daemon", "--config-file", "/nowhere/daemon.json"];
        let matches = Cli::command().try_get_matches_from(words).unwrap();
        let cli = Cli::from_arg_matches(&matches).unwrap();
        let Command::Daemon(args) = cli.command else { panic!("not the daemon's command") };
        let error = Sources::new(cli.global, *args, Given::default()).load().unwrap_err();
        assert!(chain(&error).starts_with("unable to configure the daemon with file /nowhere/daemon.json: No such"));
    }

    #[test]
    fn what_a_reload_cannot_change_is_named() {
        let before = load(&[], r#"{"hosts": ["unix:///a"], "debug": true}"#).unwrap();
        let after = load(&[], r#"{"hosts": ["unix:///b"], "exec-opts": ["isolation=hyperv"], "group": "x"}"#).unwrap();
        assert_eq!(before.fixed_that_differ(&after), ["hosts", "group"]);
        assert!(before.fixed_that_differ(&before).is_empty());
    }

    #[test]
    fn default_isolation_is_process_whatever_came_before() {
        let isolation = |options: &[&str]| isolation(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>());
        assert_eq!(isolation(&["isolation=hyperv", "isolation=default"]).unwrap(), Some(Isolation::Process));
        assert_eq!(isolation(&[]).unwrap(), None);
    }
}
