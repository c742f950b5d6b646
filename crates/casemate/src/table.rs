//! Tables as Docker's: columns at least three blanks apart.

use std::io::{self, Write};

use tabwriter::{Alignment, TabWriter};

/// Docker's columns are ten wide at least, with what stands between them.
const GAP: usize = 3;
const NARROWEST: usize = 10 - GAP;

/// The rows under their headings.
pub(crate) fn render(headings: &[&str], rows: &[Vec<String>]) -> io::Result<String> {
    let mut writer = TabWriter::new(Vec::new()).padding(GAP).minwidth(NARROWEST).alignment(Alignment::Left);
    writeln!(writer, "{}", headings.join("\t"))?;
    for row in rows {
        let cells: Vec<String> = row.iter().map(|cell| printable(cell)).collect();
        writeln!(writer, "{}", cells.join("\t"))?;
    }
    let text = writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
    Ok(String::from_utf8_lossy(&text).lines().map(|line| format!("{}\n", line.trim_end())).collect())
}

/// Prints them. A last column that would wrap on a terminal is cut.
pub(crate) fn print(headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = crate::terminal::width(io::stdout());
    let mut out = io::stdout().lock();
    for line in render(headings, rows)?.lines() {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_dockers() {
        let rows = [vec!["0123456789ab".to_owned(), "a\tb".to_owned(), "local".to_owned()]];
        let expected = "ID             NAME      SCOPE\n0123456789ab   a b       local\n";
        assert_eq!(render(&["ID", "NAME", "SCOPE"], &rows).unwrap(), expected);
    }
}
