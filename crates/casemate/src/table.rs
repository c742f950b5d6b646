//! Tables as Docker's: columns at least three blanks apart.

use std::io::{self, Write};

use tabwriter::{Alignment, TabWriter};

/// Prints the rows under their headings. A last column that would wrap on a
/// terminal is cut.
pub(crate) fn print(headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let mut writer = TabWriter::new(Vec::new()).padding(3).minwidth(10).alignment(Alignment::Left);
    writeln!(writer, "{}", headings.join("\t"))?;
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| printable(cell)).collect();
        writeln!(writer, "{}", cells.join("\t"))?;
    }
    let text = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    let width = crate::terminal::width(io::stdout());
    let mut out = io::stdout().lock();
    for line in String::from_utf8_lossy(&text).lines() {
        let line = line.trim_end();
        match width {
            Some(width) if line.chars().count() > width => {
                let head: String = line.chars().take(width.saturating_sub(1)).collect();
                writeln!(out, "{head}…")?;
            }
            _ => writeln!(out, "{line}")?,
        }
    }
    out.flush()
}

fn printable(cell: &str) -> String {
    cell.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The text, at most this many characters long, as Docker shortens commands.
pub(crate) fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}
