//! `casemate load`.

use std::io::{self, IsTerminal};

use bytes::Bytes;
use casemate_client::{Client, path};
use futures::{Stream, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::fs::File;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;

use crate::cli::LoadArgs;
use crate::report::CliError;

/// What is sent at once.
const PIECE: usize = 64 << 10;

pub(crate) async fn run(client: &Client, args: &LoadArgs) -> Result<(), CliError> {
    let (archive, length): (Box<dyn AsyncRead + Send + Unpin>, Option<u64>) = match &args.input {
        Some(path) => {
            let failed = |source| CliError::Read { what: path.display().to_string(), source };
            let file = File::open(path).await.map_err(failed)?;
            let length = file.metadata().await.map_err(failed)?.len();
            (Box::new(file), Some(length))
        }
        None if io::stdin().is_terminal() => return Err(CliError::LoadFromTerminal),
        None => (Box::new(tokio::io::stdin()), None),
    };
    let bar = bar(length, args.quiet);
    let call = client.post(path(&["images", "load"])).query("quiet", 1).archive(counted(archive, bar.clone()));
    let answer = call.send().await;
    bar.finish_and_clear();
    let mut messages = answer?.messages();
    while let Some(message) = messages.next().await {
        let message = message?;
        super::pull::check(&message)?;
        if let Some(text) = message["stream"].as_str() {
            super::print(text)?;
        }
    }
    Ok(())
}

fn counted(
    archive: impl AsyncRead + Send + Unpin + 'static,
    bar: ProgressBar,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    ReaderStream::with_capacity(archive, PIECE).inspect(move |piece| {
        if let Ok(piece) = piece {
            bar.inc(piece.len() as u64);
        }
    })
}

/// Of the archive as it goes out. Nothing where standard error is no terminal.
fn bar(length: Option<u64>, quiet: bool) -> ProgressBar {
    if quiet || !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, style) = match length {
        Some(length) => {
            (ProgressBar::new(length), "Loading [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} {elapsed}")
        }
        None => (ProgressBar::new_spinner(), "{spinner} Loading {bytes} {bytes_per_sec} {elapsed}"),
    };
    // The styles are constants; a mistake in one shows a plain bar.
    match ProgressStyle::with_template(style) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}
