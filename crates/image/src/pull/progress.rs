//! What a pull tells of itself, in the words of `docker pull`.

use std::fmt;
use std::time::{Duration, Instant};

use casemate_model::Digest;
use tokio::sync::mpsc;

use crate::reference::Reference;

/// In the order in which `docker` shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullProgress {
    /// `latest: Pulling from library/busybox`.
    PullingFrom { tag_or_digest: String, repository: String },
    /// A layer, by the digest of its blob; `docker` shows its first 12 digits.
    Layer { blob: Digest, state: LayerProgress },
    /// `Digest: sha256:…`: of what the registry has under the name.
    Digest(Digest),
    /// `WARNING: …`.
    Warning(String),
    /// `Status: …`, the last.
    Status { reference: Reference, is_new: bool },
}

/// Bytes are those of the blob, as the registry has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerProgress {
    AlreadyExists,
    PullingFsLayer,
    /// Until fewer layers are being downloaded.
    Waiting,
    Downloading {
        current: u64,
        total: u64,
    },
    Retrying {
        seconds: u64,
    },
    VerifyingChecksum,
    DownloadComplete,
    Extracting {
        current: u64,
        total: u64,
    },
    PullComplete,
}

impl LayerProgress {
    /// Bytes done, and in all.
    pub fn bytes(self) -> Option<(u64, u64)> {
        match self {
            Self::Downloading { current, total } | Self::Extracting { current, total } => Some((current, total)),
            _ => None,
        }
    }
}

impl fmt::Display for LayerProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyExists => f.write_str("Already exists"),
            Self::PullingFsLayer => f.write_str("Pulling fs layer"),
            Self::Waiting => f.write_str("Waiting"),
            Self::Downloading { .. } => f.write_str("Downloading"),
            Self::Retrying { seconds: 1 } => f.write_str("Retrying in 1 second"),
            Self::Retrying { seconds } => write!(f, "Retrying in {seconds} seconds"),
            Self::VerifyingChecksum => f.write_str("Verifying Checksum"),
            Self::DownloadComplete => f.write_str("Download complete"),
            Self::Extracting { .. } => f.write_str("Extracting"),
            Self::PullComplete => f.write_str("Pull complete"),
        }
    }
}

/// The status line; a layer's, or the whole text of the rest.
impl fmt::Display for PullProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PullingFrom { repository, .. } => write!(f, "Pulling from {repository}"),
            Self::Layer { state, .. } => state.fmt(f),
            Self::Digest(digest) => write!(f, "Digest: {digest}"),
            Self::Warning(text) => write!(f, "WARNING: {text}"),
            Self::Status { reference, is_new: true } => write!(f, "Status: Downloaded newer image for {reference}"),
            Self::Status { reference, is_new: false } => write!(f, "Status: Image is up to date for {reference}"),
        }
    }
}

/// From downloads and threads to whoever listens. What comes often is
/// throttled where it arises, so the queue stays short.
#[derive(Clone, Debug)]
pub(super) struct Report(mpsc::UnboundedSender<PullProgress>);

impl Report {
    pub(super) fn new() -> (Self, mpsc::UnboundedReceiver<PullProgress>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender), receiver)
    }

    pub(super) fn layer(&self, blob: &Digest, state: LayerProgress) {
        // Nobody listens any more when the pull is over.
        let _ = self.0.send(PullProgress::Layer { blob: blob.clone(), state });
    }
}

/// Lets ten a second through, as Docker does.
#[derive(Debug, Default)]
pub(super) struct Throttle(Option<Instant>);

impl Throttle {
    const PAUSE: Duration = Duration::from_millis(100);

    pub(super) fn is_due(&mut self, always: bool) -> bool {
        let now = Instant::now();
        let due = always || self.0.is_none_or(|last| now.duration_since(last) >= Self::PAUSE);
        if due {
            self.0 = Some(now);
        }
        due
    }
}
