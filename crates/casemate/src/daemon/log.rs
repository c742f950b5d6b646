//! The daemon's log: on standard error, where a service's belongs.

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::reload::{self, Handle};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LogConfig {
    pub(super) level: Level,
    pub(super) format: Format,
}

/// dockerd's; nothing here is worse than an error and goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text,
    Json,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("invalid logging level: {0}")]
    Level(String),
    #[error("invalid log format: {0}")]
    Format(String),
}

impl Level {
    pub(super) fn of(debug: bool, name: Option<&str>) -> Result<Self, LogError> {
        let level = match name.unwrap_or("info").to_ascii_lowercase().as_str() {
            "debug" => Self::Debug,
            "info" => Self::Info,
            "warn" | "warning" => Self::Warn,
            "error" | "fatal" | "panic" => Self::Error,
            other => return Err(LogError::Level(other.to_owned())),
        };
        Ok(if debug { Self::Debug } else { level })
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

impl Format {
    pub(super) fn of(name: Option<&str>) -> Result<Self, LogError> {
        match name.unwrap_or("text") {
            "text" | "" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(LogError::Format(other.to_owned())),
        }
    }
}

impl LogConfig {
    pub(super) fn is_debug(&self) -> bool {
        self.level == Level::Debug
    }

    /// The project's own words at the level; of what it is built from, only
    /// what is wrong.
    fn filter(&self) -> EnvFilter {
        let level = self.level.as_str();
        EnvFilter::new(if self.level == Level::Error { level.to_owned() } else { format!("warn,casemate={level}") })
    }
}

/// The log that is written, and its level.
pub(super) struct Log {
    /// None: the environment says what is logged, and goes on saying so.
    level: Option<Handle<EnvFilter, Registry>>,
}

impl Log {
    pub(super) fn start(config: &LogConfig) -> Self {
        let from_environment = crate::log_filter();
        let is_fixed = from_environment.is_some();
        let (filter, handle) = reload::Layer::new(from_environment.unwrap_or_else(|| config.filter()));
        let lines = fmt::layer().with_ansi(false).with_writer(std::io::stderr);
        let lines = match config.format {
            Format::Text => lines.boxed(),
            Format::Json => lines.json().flatten_event(true).boxed(),
        };
        tracing_subscriber::registry().with(filter).with(lines).init();
        Self { level: (!is_fixed).then_some(handle) }
    }

    pub(super) fn set(&self, config: &LogConfig) {
        match &self.level {
            // It is there as long as the log is.
            Some(level) => drop(level.reload(config.filter())),
            None => tracing::info!("the environment says what is logged, not the configuration"),
        }
    }
}
