//! `casemate load`.

use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::process::ExitCode;

use casemate_engine::Engine;
use casemate_image::LoadProgress;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::LoadArgs;
use crate::report::CliError;

pub(crate) fn run(engine: &Engine, args: &LoadArgs) -> Result<ExitCode, CliError> {
    let archive: Box<dyn Read> = match &args.input {
        Some(path) => {
            Box::new(File::open(path).map_err(|source| CliError::Read { what: path.display().to_string(), source })?)
        }
        None if io::stdin().is_terminal() => return Err(CliError::LoadFromTerminal),
        None => Box::new(io::stdin().lock()),
    };
    let mut bars = Bars::new(args.quiet);
    let loaded = engine.images().load(archive, &mut |progress| bars.show(&progress));
    bars.finish();
    let mut text = String::new();
    for image in loaded? {
        match image.names.as_slice() {
            [] => text.push_str(&format!("Loaded image ID: {}\n", image.id)),
            names => names.iter().for_each(|name| text.push_str(&format!("Loaded image: {name}\n"))),
        }
    }
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// One bar at a time: the archive as it comes in, then each layer. Nothing
/// where standard error is no terminal.
struct Bars {
    hidden: bool,
    bar: ProgressBar,
    layer: Option<usize>,
}

impl Bars {
    fn new(quiet: bool) -> Self {
        Self { hidden: quiet || !io::stderr().is_terminal(), bar: ProgressBar::hidden(), layer: None }
    }

    fn show(&mut self, progress: &LoadProgress<'_>) {
        if self.hidden {
            return;
        }
        match progress {
            LoadProgress::Reading { bytes } => {
                if self.bar.is_hidden() {
                    self.begin(ProgressBar::new_spinner(), "{spinner} Reading archive  {bytes} {bytes_per_sec}");
                }
                self.bar.set_position(*bytes);
            }
            LoadProgress::Unpacking { layer, layers, diff_id, bytes, of } => {
                if self.layer != Some(*layer) {
                    self.layer = Some(*layer);
                    self.begin(
                        ProgressBar::new(*of),
                        "{msg}: Loading layer [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec}",
                    );
                    self.bar.set_message(format!("{} ({layer}/{layers})", diff_id.short()));
                }
                self.bar.set_position(*bytes);
            }
            LoadProgress::Exists { layer, layers, diff_id } => {
                self.bar.println(format!("{} ({layer}/{layers}): Layer already exists", diff_id.short()));
            }
        }
    }

    fn begin(&mut self, bar: ProgressBar, style: &str) {
        self.bar.finish_and_clear();
        // The styles are constants; a mistake in one shows a plain bar.
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        self.bar = bar;
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
