//! `casemate pull`, and the pull that `run` does for an image it lacks.

use std::collections::HashMap;
use std::io::{self, IsTerminal};

use casemate_client::{Client, path};
use casemate_image::Reference;
use futures::StreamExt;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::Value;

use crate::cli::PullArgs;
use crate::credentials;
use crate::report::{CliError, Out};

pub(crate) async fn run(client: &Client, args: &PullArgs) -> Result<(), CliError> {
    let out = if args.quiet { Out::Nowhere } else { Out::Stdout };
    let wanted = Pull { name: &args.name, platform: args.platform.as_deref(), all_tags: args.all_tags, out };
    pull(client, &wanted).await?;
    super::print(&format!("{}\n", canonical(&args.name, args.all_tags)?))
}

/// What is to be pulled, and where it is told.
#[derive(Debug)]
pub(crate) struct Pull<'a> {
    pub(crate) name: &'a str,
    pub(crate) platform: Option<&'a str>,
    pub(crate) all_tags: bool,
    pub(crate) out: Out,
}

pub(crate) async fn pull(client: &Client, wanted: &Pull<'_>) -> Result<(), CliError> {
    let name = canonical(wanted.name, wanted.all_tags)?;
    let mut call = client.post(path(&["images", "create"])).query("fromImage", &name);
    if let Some(platform) = wanted.platform {
        call = call.query("platform", platform);
    }
    if let Some(auth) = credentials::of(&registry_of(&name)).await? {
        call = call.header("x-registry-auth", auth);
    }
    let mut messages = call.send().await?.messages();
    let mut progress = Progress::new(wanted.out);
    while let Some(message) = messages.next().await {
        let message = message?;
        check(&message)?;
        progress.show(&message);
    }
    progress.finish();
    Ok(())
}

/// What a daemon tells of what failed after its answer had begun.
pub(crate) fn check(message: &Value) -> Result<(), CliError> {
    match message["errorDetail"]["message"].as_str().or(message["error"].as_str()) {
        Some(error) => Err(CliError::Usage(error.to_owned())),
        None => Ok(()),
    }
}

fn parse(name: &str) -> Result<Reference, CliError> {
    name.parse().map_err(|_| CliError::Usage(format!("invalid reference format: {name}")))
}

/// `busybox` is `docker.io/library/busybox:latest`.
fn canonical(name: &str, all_tags: bool) -> Result<String, CliError> {
    let reference = parse(name)?;
    Ok(if all_tags { reference.canonical() } else { reference.or_latest().canonical() })
}

/// As Docker names an image to its user.
pub(crate) fn with_tag(name: &str) -> String {
    parse(name).map_or_else(|_| name.to_owned(), |reference| reference.or_latest().to_string())
}

fn registry_of(canonical: &str) -> String {
    canonical.split('/').next().unwrap_or_default().to_owned()
}

/// An image's name may have slashes of its own.
pub(crate) fn image_path(name: &str, what: Option<&str>) -> String {
    let segments: Vec<&str> = ["images"].into_iter().chain(name.split('/')).chain(what).collect();
    path(&segments)
}

/// A bar for each layer on a terminal; lines of what has come to its end
/// elsewhere, as Docker has it.
struct Progress {
    out: Out,
    bars: Option<MultiProgress>,
    layers: HashMap<String, ProgressBar>,
}

impl Progress {
    fn new(out: Out) -> Self {
        let on_terminal = match out {
            Out::Stdout => io::stdout().is_terminal(),
            Out::Stderr => io::stderr().is_terminal(),
            Out::Nowhere => false,
        };
        Self { out, bars: (on_terminal && io::stderr().is_terminal()).then(MultiProgress::new), layers: HashMap::new() }
    }

    fn show(&mut self, message: &Value) {
        let (status, id) = (message["status"].as_str().unwrap_or_default(), message["id"].as_str());
        let detail = &message["progressDetail"];
        let Some(bars) = &self.bars else {
            if detail["current"].is_null() {
                let line = id.map_or_else(|| status.to_owned(), |id| format!("{id}: {status}"));
                self.out.line(&line);
            }
            return;
        };
        let (Some(id), true) = (id, message.get("progressDetail").is_some()) else {
            let line = id.map_or_else(|| status.to_owned(), |id| format!("{id}: {status}"));
            let _ = bars.println(line);
            return;
        };
        let bar = self.layers.entry(id.to_owned()).or_insert_with(|| bars.add(layer(id)));
        bar.set_message(status.to_owned());
        match (detail["current"].as_u64(), detail["total"].as_u64()) {
            (Some(current), Some(total)) => {
                bar.set_style(style(BUSY));
                bar.set_length(total);
                bar.set_position(current);
            }
            _ => bar.set_style(style(PLAIN)),
        }
        bar.tick();
    }

    /// What was drawn stays, as with Docker.
    fn finish(&self) {
        for bar in self.layers.values() {
            bar.abandon();
        }
    }
}

const PLAIN: &str = "{prefix}: {msg}";
const BUSY: &str = "{prefix}: {msg} [{bar:30}] {bytes}/{total_bytes}";

/// The styles are constants; a mistake in one shows a plain bar.
fn style(template: &str) -> ProgressStyle {
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    style.progress_chars("=> ")
}

fn layer(id: &str) -> ProgressBar {
    ProgressBar::new(0).with_style(style(PLAIN)).with_prefix(id.to_owned())
}
