//! From what a user asked for and what the image says to a container's
//! configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use casemate_image::{Healthcheck, ImageConfig, Platform};
use casemate_model::{Bytes, ContainerName, Isolation, NanoCpus, Signal, UserSpec};

use casemate_record::{HostRecord, NetworkingRecord};

use crate::daemon::RestartPolicy;
use crate::error::CreateError;

/// Docker's path for an image that has none (moby `system.DefaultPathEnv`).
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A container as it was asked for; what is absent comes from the image.
#[derive(Clone, Debug, Default)]
pub struct CreateRequest {
    pub image: String,
    /// What its image has to be for.
    pub platform: Option<Platform>,
    pub name: Option<ContainerName>,
    pub isolation: Option<Isolation>,
    pub command: Vec<String>,
    /// A single empty word resets the image's.
    pub entrypoint: Option<Vec<String>>,
    /// `NAME=value`, or `NAME` to take it out.
    pub env: Vec<String>,
    pub working_dir: Option<String>,
    pub user: Option<String>,
    pub hostname: Option<String>,
    pub tty: bool,
    pub open_stdin: bool,
    /// The input ends with the first client that ends it.
    pub stdin_once: bool,
    pub read_only: bool,
    pub auto_remove: bool,
    pub memory: Option<Bytes>,
    pub cpus: Option<NanoCpus>,
    pub stop_signal: Option<Signal>,
    pub stop_timeout_s: Option<i64>,
    pub labels: BTreeMap<String, String>,
    pub restart: RestartPolicy,
    pub health: Option<Healthcheck>,
    pub host: HostRecord,
    pub networking: NetworkingRecord,
}

/// The command line of a container's init.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub args: Vec<String>,
    /// How many of `args` are the entrypoint.
    pub entrypoint_length: usize,
}

/// What is left to be run once request and image are put together.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    pub command: Command,
    pub env: Vec<String>,
    pub cwd: String,
    pub user: UserSpec,
    pub hostname: String,
    /// None: no limit.
    pub memory: Option<Bytes>,
    pub cpus: Option<NanoCpus>,
    pub stop_signal: Signal,
    pub labels: BTreeMap<String, String>,
    pub health: Option<Healthcheck>,
}

/// A container's labels are in each of its events, and in memory: many times
/// what people and programs write there.
const MOST_LABELS: usize = 1024;
const MOST_LABEL_BYTES: usize = 256 << 10;

/// Of a health check's durations.
const SHORTEST: Duration = Duration::from_millis(1);

impl ContainerConfig {
    /// Without a hostname of its own it has its id's beginning.
    pub fn new(request: &CreateRequest, image: &ImageConfig, short_id: &str) -> Result<Self, CreateError> {
        // Nought is no limit, as in Docker.
        let memory = request.memory.filter(|memory| memory.0 > 0);
        let cpus = request.cpus.filter(|cpus| cpus.0 > 0);
        let hostname = request.hostname.clone().unwrap_or_else(|| short_id.to_owned());
        check_hostname(&hostname)?;
        let user = request.user.as_ref().or(image.user.as_ref()).map_or("", String::as_str);
        let cwd = request.working_dir.as_ref().or(image.working_dir.as_ref()).filter(|dir| !dir.is_empty());
        let cwd = cwd.map_or("/", String::as_str);
        if !cwd.starts_with('/') {
            return Err(CreateError::RelativeWorkingDir { path: cwd.to_owned() });
        }
        let health = health(request, image);
        check_health(health.as_ref())?;
        let probe = health.iter().flat_map(|health| &health.test).map(String::as_str);
        if let Some(text) = probe.chain([cwd]).find(|text| text.contains('\0')) {
            return Err(CreateError::NullByte { text: text.to_owned() });
        }
        let stop_signal = match (request.stop_signal, &image.stop_signal) {
            (Some(signal), _) => signal,
            (None, Some(text)) if !text.is_empty() => text.parse().map_err(CreateError::Signal)?,
            _ => Signal::TERM,
        };
        Ok(Self {
            command: command(request, image)?,
            env: environment(request, image, &hostname)?,
            cwd: cwd.to_owned(),
            user: user.parse().map_err(CreateError::User)?,
            hostname,
            memory,
            cpus,
            stop_signal,
            labels: labels(request, image)?,
            health,
        })
    }
}

/// The image's, and those of the request in their stead.
fn labels(request: &CreateRequest, image: &ImageConfig) -> Result<BTreeMap<String, String>, CreateError> {
    let both = image.labels.iter().chain(&request.labels);
    let labels: BTreeMap<_, _> = both.map(|(name, text)| (name.clone(), text.clone())).collect();
    let bytes: usize = labels.iter().map(|(name, text)| name.len() + text.len()).sum();
    match labels.len() > MOST_LABELS || bytes > MOST_LABEL_BYTES {
        true => Err(CreateError::Labels { count: labels.len(), bytes }),
        false => Ok(labels),
    }
}

/// An image is not held to what requests are (moby `validateHealthCheck`).
fn check_health(health: Option<&Healthcheck>) -> Result<(), CreateError> {
    let Some(Healthcheck { interval, timeout, start_period, start_interval, .. }) = health else { return Ok(()) };
    let named = [
        ("Interval", interval),
        ("Timeout", timeout),
        ("StartPeriod", start_period),
        ("StartInterval", start_interval),
    ];
    match named.iter().find(|(_, duration)| duration.is_some_and(|duration| duration < SHORTEST)) {
        Some((name, _)) => Err(CreateError::Health { name }),
        None => Ok(()),
    }
}

/// What is not asked for is as the image has it, field by field (moby `merge`).
fn health(request: &CreateRequest, image: &ImageConfig) -> Option<Healthcheck> {
    let (Some(asked), Some(of_image)) = (&request.health, &image.healthcheck) else {
        return request.health.clone().or_else(|| image.healthcheck.clone());
    };
    Some(Healthcheck {
        test: if asked.test.is_empty() { of_image.test.clone() } else { asked.test.clone() },
        interval: asked.interval.or(of_image.interval),
        timeout: asked.timeout.or(of_image.timeout),
        start_period: asked.start_period.or(of_image.start_period),
        start_interval: asked.start_interval.or(of_image.start_interval),
        retries: asked.retries.or(of_image.retries),
    })
}

/// Docker's rule: an entrypoint given anew drops the image's command too.
fn command(request: &CreateRequest, image: &ImageConfig) -> Result<Command, CreateError> {
    let (entrypoint, image_command) = match &request.entrypoint {
        Some(words) if words.iter().all(String::is_empty) => (Vec::new(), Vec::new()),
        Some(words) => (words.clone(), Vec::new()),
        None => (image.entrypoint.clone(), image.cmd.clone()),
    };
    let tail = if request.command.is_empty() { image_command } else { request.command.clone() };
    let entrypoint_length = entrypoint.len();
    let args: Vec<String> = entrypoint.into_iter().chain(tail).collect();
    if args.is_empty() {
        return Err(CreateError::NoCommand);
    }
    if let Some(arg) = args.iter().find(|arg| arg.contains('\0')) {
        return Err(CreateError::NullByte { text: arg.clone() });
    }
    Ok(Command { args, entrypoint_length })
}

fn environment(request: &CreateRequest, image: &ImageConfig, hostname: &str) -> Result<Vec<String>, CreateError> {
    let mut env = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if request.tty {
        env.push("TERM=xterm".to_owned());
    }
    for entry in image.env.iter().chain(&request.env) {
        let name = entry.split('=').next().unwrap_or_default();
        if name.is_empty() || entry.contains('\0') {
            return Err(CreateError::Environment { entry: entry.clone() });
        }
        let place = env.iter().position(|known| known.split('=').next() == Some(name));
        match (place, entry.contains('=')) {
            (Some(at), true) => env[at] = entry.clone(),
            (None, true) => env.push(entry.clone()),
            (Some(at), false) => drop(env.remove(at)),
            (None, false) => {}
        }
    }
    Ok(env)
}

/// What the kernel and `/etc/hosts` can hold: RFC 1123 labels, 64 bytes.
fn check_hostname(name: &str) -> Result<(), CreateError> {
    let label_ok = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    if name.len() <= 64 && name.split('.').all(label_ok) {
        Ok(())
    } else {
        Err(CreateError::Hostname { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn image() -> ImageConfig {
        ImageConfig {
            env: vec!["PATH=/bin".into(), "LANG=C".into()],
            cmd: vec!["serve".into()],
            entrypoint: vec!["/init".into(), "--".into()],
            working_dir: Some("/srv".into()),
            user: Some("daemon".into()),
            stop_signal: Some("SIGQUIT".into()),
            exposed_ports: Vec::new(),
            volumes: Vec::new(),
            labels: BTreeMap::new(),
            ..ImageConfig::default()
        }
    }

    fn config(request: CreateRequest) -> Result<ContainerConfig, CreateError> {
        ContainerConfig::new(&request, &image(), "0123456789ab")
    }

    #[test]
    fn the_image_fills_in_what_was_not_asked_for() {
        let config = config(CreateRequest::default()).unwrap();
        assert_eq!(config.command.args, ["/init", "--", "serve"]);
        assert_eq!(config.env, ["PATH=/bin", "HOSTNAME=0123456789ab", "LANG=C"]);
        assert_eq!((config.cwd.as_str(), config.user.to_string().as_str()), ("/srv", "daemon"));
        assert_eq!(config.stop_signal, Signal::QUIT);
    }

    #[test]
    fn labels_and_health_are_the_images_where_nothing_else_is_said() {
        let second = Duration::from_secs(1);
        let check =
            Healthcheck { test: vec!["CMD".into(), "true".into()], interval: Some(second), ..Default::default() };
        let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let labels = BTreeMap::from([label("a", "image"), label("b", "image")]);
        let image = ImageConfig { healthcheck: Some(check), labels, ..image() };
        let of = |health: Option<Healthcheck>, labels: BTreeMap<String, String>| {
            let request = CreateRequest { health, labels, ..CreateRequest::default() };
            ContainerConfig::new(&request, &image, "0123").unwrap()
        };
        let alone = of(None, BTreeMap::new());
        assert_eq!(alone.labels, image.labels);
        assert_eq!(alone.health.unwrap().interval, Some(second));
        let asked = Healthcheck { timeout: Some(second), interval: Some(second * 2), ..Default::default() };
        let both = of(Some(asked), BTreeMap::from([label("b", "own")]));
        assert_eq!(both.labels, BTreeMap::from([label("a", "image"), label("b", "own")]));
        let health = both.health.unwrap();
        assert_eq!((health.test.len(), health.interval, health.timeout), (2, Some(second * 2), Some(second)));
        let none = Healthcheck { test: vec!["NONE".into()], ..Default::default() };
        assert_eq!(of(Some(none), BTreeMap::new()).health.unwrap().test, ["NONE"]);
    }

    /// An image's author need not be a friend.
    #[test]
    fn an_image_is_held_to_what_requests_are() {
        let error = |image| ContainerConfig::new(&CreateRequest::default(), &image, "0123").unwrap_err().to_string();
        let many = (0..=MOST_LABELS).map(|number| (number.to_string(), String::new())).collect();
        assert!(
            error(ImageConfig { labels: many, ..image() }).starts_with("the labels of image and container are 1025")
        );
        let large = BTreeMap::from([("a".to_owned(), "x".repeat(MOST_LABEL_BYTES))]);
        assert!(error(ImageConfig { labels: large, ..image() }).contains("262145 bytes"));
        let busy = Healthcheck { interval: Some(Duration::from_nanos(1)), ..Default::default() };
        let busy = ImageConfig { healthcheck: Some(busy), ..image() };
        assert_eq!(error(busy), "Interval in Healthcheck cannot be less than 1ms");
    }

    #[test]
    fn commands_and_entrypoints_as_docker_combines_them() {
        let args = |entrypoint: Option<&str>, command: &[&str]| {
            let request = CreateRequest {
                entrypoint: entrypoint.map(|word| vec![word.to_owned()]),
                command: command.iter().map(|s| (*s).to_owned()).collect(),
                ..CreateRequest::default()
            };
            config(request).map(|config| config.command.args.join(" ")).map_err(|error| error.to_string())
        };
        assert_eq!(args(None, &["x"]).unwrap(), "/init -- x");
        assert_eq!(args(Some("sh"), &[]).unwrap(), "sh");
        assert_eq!(args(Some("sh"), &["-c", "y"]).unwrap(), "sh -c y");
        assert_eq!(args(Some(""), &["z"]).unwrap(), "z");
        assert_eq!(args(Some(""), &[]).unwrap_err(), "no command specified");
    }

    #[test]
    fn environments_override_and_remove() {
        let env = |entries: &[&str]| {
            let env = entries.iter().map(|s| (*s).to_owned()).collect();
            config(CreateRequest { env, tty: true, ..CreateRequest::default() }).map(|config| config.env)
        };
        assert_eq!(env(&["LANG", "A=b=c"]).unwrap(), ["PATH=/bin", "HOSTNAME=0123456789ab", "TERM=xterm", "A=b=c"]);
        assert!(env(&["=x"]).is_err());
    }

    #[test]
    fn a_limit_of_nought_is_none() {
        let request =
            |memory, cpus| CreateRequest { memory: Some(memory), cpus: Some(cpus), ..CreateRequest::default() };
        let limits = |request| config(request).map(|config| (config.memory, config.cpus)).unwrap();
        assert_eq!(limits(request(Bytes(0), NanoCpus(0))), (None, None));
        assert_eq!(limits(request(Bytes::mib(6), NanoCpus::ONE)), (Some(Bytes::mib(6)), Some(NanoCpus::ONE)));
    }

    #[test]
    fn bad_requests_are_refused_in_dockers_words() {
        let error = |request| config(request).unwrap_err().to_string();
        let base = CreateRequest::default;
        let relative = CreateRequest { working_dir: Some("x".into()), ..base() };
        assert!(error(relative).ends_with("it needs to be an absolute path"));
        for name in ["", "-a", "a..b", "a b", "ä", &"x".repeat(65)] {
            let named = CreateRequest { hostname: Some(name.into()), ..base() };
            assert!(error(named).starts_with("invalid hostname"), "{name}");
        }
    }
}
