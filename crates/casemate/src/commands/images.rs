//! `casemate images`.

use casemate_client::{Client, path};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::ImagesArgs;
use crate::human;
use crate::report::CliError;

const NONE: &str = "<none>";

pub(crate) async fn run(client: &Client, args: &ImagesArgs) -> Result<(), CliError> {
    let images: Vec<Value> = client.get(path(&["images", "json"])).send().await?.json().await?;
    let rows: Vec<Row> = images.iter().flat_map(|image| Row::all_of(image, args.no_trunc)).collect();
    if args.quiet {
        let mut ids: Vec<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        ids.dedup();
        let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
        return super::print(&lines);
    }
    if args.format.json() {
        let lines: String = rows.iter().map(|row| format!("{}\n", row.json())).collect();
        return super::print(&lines);
    }
    let rows: Vec<Vec<String>> = rows.into_iter().map(Row::cells).collect();
    super::print_table(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows)
}

/// One of an image's names.
struct Row {
    repository: String,
    tag: String,
    id: String,
    created: Timestamp,
    size: u64,
}

impl Row {
    fn all_of(image: &Value, whole: bool) -> Vec<Self> {
        let id = image["Id"].as_str().unwrap_or_default();
        let id = if whole { id.to_owned() } else { human::short_id(id).to_owned() };
        let names: Vec<&str> = image["RepoTags"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let names = if names.is_empty() { vec!["<none>:<none>"] } else { names };
        let row = |name: &str| {
            let (repository, tag) = name.rsplit_once(':').unwrap_or((name, NONE));
            Self {
                repository: repository.to_owned(),
                tag: tag.to_owned(),
                id: id.clone(),
                created: Timestamp::from_second(image["Created"].as_i64().unwrap_or(0)).unwrap_or_default(),
                size: image["Size"].as_u64().unwrap_or(0),
            }
        };
        names.into_iter().map(row).collect()
    }

    /// An image that does not say when it was made is of no age.
    fn age(&self) -> String {
        match self.created.as_second() {
            0 => "N/A".to_owned(),
            _ => format!("{} ago", human::since(self.created)),
        }
    }

    fn cells(self) -> Vec<String> {
        let (age, size) = (self.age(), human::size(self.size));
        vec![self.repository, self.tag, self.id, age, size]
    }

    fn json(&self) -> Value {
        json!({
            "Repository": self.repository,
            "Tag": self.tag,
            "ID": self.id,
            "CreatedAt": self.created.to_string(),
            "CreatedSince": self.age(),
            "Size": human::size(self.size),
        })
    }
}
