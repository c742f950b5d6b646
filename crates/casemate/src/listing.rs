//! Lists in the formats of Docker's `--format`: its table, a table of other
//! columns, JSON, or a line of one's own for each entry.

use std::convert::Infallible;
use std::str::FromStr;

use serde_json::Value;

use crate::commands::print;
use crate::report::CliError;
use crate::{table, template};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListFormat {
    Table,
    Json,
    /// `table {{.ID}}\t{{.Name}}`
    Columns(String),
    /// `{{.ID}}: {{.Name}}`
    Lines(String),
}

impl FromStr for ListFormat {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        // As they are typed in a shell.
        let unescaped = |template: &str| template.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        Ok(match text {
            "table" | "" => Self::Table,
            "json" => Self::Json,
            _ => match text.strip_prefix("table") {
                Some(columns) => Self::Columns(unescaped(columns)),
                None => Self::Lines(unescaped(text)),
            },
        })
    }
}

/// What kind of list it is.
#[derive(Debug)]
pub(crate) struct List<'a> {
    /// The heading of each field.
    pub(crate) headings: Value,
    /// The columns that are shown if nothing else is asked for.
    pub(crate) columns: &'a str,
}

impl List<'_> {
    /// Prints the entries, of which each has all fields.
    pub(crate) fn print(&self, format: &ListFormat, entries: &[Value]) -> Result<(), CliError> {
        print(&self.render(format, entries)?)
    }

    fn render(&self, format: &ListFormat, entries: &[Value]) -> Result<String, CliError> {
        match format {
            ListFormat::Table => self.table(self.columns, entries),
            ListFormat::Columns(columns) => self.table(columns, entries),
            ListFormat::Json => Ok(entries.iter().map(|entry| format!("{entry}\n")).collect()),
            ListFormat::Lines(line) => entries.iter().map(|entry| Ok(template::render(line, entry)? + "\n")).collect(),
        }
    }

    /// Not cut to the terminal, as in Docker: what a container is called stands last.
    fn table(&self, columns: &str, entries: &[Value]) -> Result<String, CliError> {
        let cells = |entry: &Value| -> Result<Vec<String>, CliError> {
            columns.split('\t').map(|column| Ok(template::render(column, entry)?)).collect()
        };
        let headings = cells(&self.headings)?;
        let headings: Vec<&str> = headings.iter().map(String::as_str).collect();
        let rows = entries.iter().map(cells).collect::<Result<Vec<_>, _>>()?;
        let table = table::render(&headings, &rows);
        table.map_err(|source| CliError::Write { what: "standard output".into(), source })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn in_each_format() {
        let list = List { headings: json!({ "ID": "BOX ID", "Name": "NAME" }), columns: "{{.ID}}\t{{.Name}}" };
        let entries = [json!({ "ID": "1", "Name": "one" }), json!({ "ID": "2", "Name": "two" })];
        for (format, expected) in [
            ("table", "BOX ID    NAME\n1         one\n2         two\n"),
            ("", "BOX ID    NAME\n1         one\n2         two\n"),
            (r"table {{.Name}}\t{{.ID}}", "NAME      BOX ID\none       1\ntwo       2\n"),
            ("json", "{\"ID\":\"1\",\"Name\":\"one\"}\n{\"ID\":\"2\",\"Name\":\"two\"}\n"),
            (r"{{.ID}}:\t{{.Name}}", "1:\tone\n2:\ttwo\n"),
            ("{{.ID}}", "1\n2\n"),
        ] {
            assert_eq!(list.render(&format.parse().unwrap(), &entries).unwrap(), expected, "{format}");
        }
        for format in ["{{.Size}}", "table {{.Size}}"] {
            assert!(list.render(&format.parse().unwrap(), &entries).is_err(), "{format}");
        }
    }
}
