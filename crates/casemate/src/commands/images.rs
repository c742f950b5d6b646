//! `casemate images`.

use std::process::ExitCode;

use casemate_engine::Engine;
use casemate_image::ImageRow;
use serde_json::json;

use crate::cli::ImagesArgs;
use crate::report::CliError;
use casemate_api::human;

pub(crate) fn run(engine: &Engine, args: &ImagesArgs) -> Result<ExitCode, CliError> {
    let images = engine.images().images()?;
    let id = |image: &ImageRow| match args.no_trunc {
        true => image.id.to_string(),
        false => image.id.short().to_owned(),
    };
    let none = || "<none>".to_owned();
    if args.quiet {
        let ids: String = images.iter().map(|image| id(image) + "\n").collect();
        super::print(&ids)?;
    } else if args.format.json() {
        let lines: String = images
            .iter()
            .map(|image| {
                let line = json!({
                    "Repository": image.repository.clone().unwrap_or_else(none),
                    "Tag": image.tag.clone().unwrap_or_else(none),
                    "ID": id(image),
                    "CreatedAt": image.created.map(|time| time.to_string()),
                    "CreatedSince": created(image),
                    "Size": human::size(image.size),
                });
                format!("{line}\n")
            })
            .collect();
        super::print(&lines)?;
    } else {
        let rows: Vec<Vec<String>> = images
            .iter()
            .map(|image| {
                vec![
                    image.repository.clone().unwrap_or_else(none),
                    image.tag.clone().unwrap_or_else(none),
                    id(image),
                    created(image),
                    human::size(image.size),
                ]
            })
            .collect();
        super::print_table(&["REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"], &rows)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn created(image: &ImageRow) -> String {
    image.created.map_or_else(|| "N/A".to_owned(), |time| format!("{} ago", human::since(&time.to_string())))
}
