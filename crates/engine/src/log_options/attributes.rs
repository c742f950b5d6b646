//! What each line of a log carries beside its text: `--log-opt labels`, `env`,
//! `labels-regex`, `env-regex` and `tag` (moby `daemon/logger/loginfo.go`).

use std::collections::BTreeMap;

use casemate_record::{ContainerRecord, LogRecord};
use regex::bytes::{Regex, RegexBuilder};

use crate::options::InvalidOption;

/// The options that are looked at here.
pub(super) const OPTIONS: [&str; 5] = ["env", "env-regex", "labels", "labels-regex", "tag"];

/// Whether they can be read.
pub(super) fn check(log: &LogRecord) -> Result<(), InvalidOption> {
    expression(log, "labels-regex")?;
    expression(log, "env-regex")?;
    Tag::parse(option(log, "tag")).map(drop)
}

/// By name; empty unless something is asked for and there.
pub(crate) fn attributes(container: &ContainerRecord) -> Result<BTreeMap<String, String>, InvalidOption> {
    let log = &container.host.log;
    let labels = || container.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let env = || container.env.iter().filter_map(|entry| entry.split_once('='));
    let mut found = BTreeMap::new();
    select(log, ["labels", "labels-regex"], labels(), &mut found)?;
    select(log, ["env", "env-regex"], env(), &mut found)?;
    let tag = Tag::parse(option(log, "tag"))?.of(container);
    if !tag.is_empty() {
        found.insert("tag".to_owned(), tag);
    }
    Ok(found)
}

/// Takes the values that are listed, and those whose name the expression fits.
fn select<'a>(
    log: &LogRecord,
    [list, regex]: [&'static str; 2],
    values: impl Iterator<Item = (&'a str, &'a str)>,
    found: &mut BTreeMap<String, String>,
) -> Result<(), InvalidOption> {
    let expression = expression(log, regex)?;
    let fits = |name: &str| {
        option(log, list).split(',').any(|listed| listed == name)
            || expression.as_ref().is_some_and(|expression| expression.is_match(name.as_bytes()))
    };
    found.extend(values.filter(|(name, _)| fits(name)).map(|(name, value)| (name.to_owned(), value.to_owned())));
    Ok(())
}

fn option<'a>(log: &'a LogRecord, name: &str) -> &'a str {
    log.options.get(name).map_or("", String::as_str)
}

/// Go's expressions: classes are of ASCII, and no time is exponential.
fn expression(log: &LogRecord, name: &'static str) -> Result<Option<Regex>, InvalidOption> {
    let text = option(log, name);
    if text.is_empty() {
        return Ok(None);
    }
    let invalid = |_| InvalidOption::LogValue { option: name, value: text.to_owned() };
    RegexBuilder::new(text).unicode(false).size_limit(1 << 20).build().map(Some).map_err(invalid)
}

/// Of Go's templates only the fields: `{{.Name}}/{{.ID}}`.
struct Tag(Vec<Part>);

enum Part {
    Text(String),
    Field(fn(&ContainerRecord) -> String),
}

impl Tag {
    fn parse(template: &str) -> Result<Self, InvalidOption> {
        let invalid = || InvalidOption::LogValue { option: "tag", value: template.to_owned() };
        let mut parts = Vec::new();
        let mut rest = template;
        while let Some((text, action)) = rest.split_once("{{") {
            let (name, after) = action.split_once("}}").ok_or_else(invalid)?;
            parts.push(Part::Text(text.to_owned()));
            parts.push(Part::Field(field(name.trim()).ok_or_else(invalid)?));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    fn of(&self, container: &ContainerRecord) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => field(container),
        };
        self.0.iter().map(part).collect()
    }
}

fn field(name: &str) -> Option<fn(&ContainerRecord) -> String> {
    Some(match name {
        ".ID" => |container| short(&container.id),
        ".FullID" | ".ContainerID" => |container| container.id.clone(),
        ".Name" => |container| container.name.clone(),
        ".ContainerName" => |container| format!("/{}", container.name),
        ".Command" => |container| container.args.join(" "),
        ".ImageID" => |container| short(&container.image.id),
        ".ImageFullID" | ".ContainerImageID" => |container| container.image.id.clone(),
        ".ImageName" | ".ContainerImageName" => |container| container.image.name.clone(),
        ".Hostname" => |_| rustix::system::uname().nodename().to_string_lossy().into_owned(),
        // dockerd's own name, whatever its program's.
        ".DaemonName" => |_| "docker".to_owned(),
        _ => return None,
    })
}

fn short(id: &str) -> String {
    id.strip_prefix("sha256:").unwrap_or(id).chars().take(12).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(options: &[(&str, &str)]) -> ContainerRecord {
        let text = r#"{"version":1,"id":"0123456789abcdef","name":"web","created":"","image":{"name":"busybox:1",
            "id":"sha256:fedcba9876543210","layers":[],"entrypoint_length":0},"isolation":"process",
            "args":["httpd","-f"],"env":["PATH=/bin","MODE=a=b","FLAG"],"cwd":"/","user":"","hostname":"inside",
            "tty":false,"open_stdin":false,"read_only":false,"auto_remove":false,"memory":null,"nano_cpus":null,
            "stop_signal":15,"stop_timeout_s":null,"labels":{"tier":"front","team":"red"}}"#;
        let mut container: ContainerRecord = serde_json::from_str(text).unwrap();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        container.host.log.options = options.iter().map(own).collect();
        container
    }

    fn found(options: &[(&str, &str)]) -> String {
        let found = attributes(&container(options)).unwrap();
        found.iter().map(|(name, value)| format!("{name}={value};")).collect()
    }

    #[test]
    fn labels_and_variables_are_chosen_by_name() {
        assert_eq!(found(&[]), "");
        assert_eq!(found(&[("labels", "tier,none")]), "tier=front;");
        assert_eq!(found(&[("env", "MODE,FLAG,OTHER")]), "MODE=a=b;");
        assert_eq!(found(&[("labels-regex", "^t"), ("env-regex", "AT")]), "PATH=/bin;team=red;tier=front;");
        assert_eq!(found(&[("labels", ""), ("env-regex", "")]), "");
    }

    #[test]
    fn a_tag_is_a_template() {
        assert_eq!(found(&[("tag", "plain")]), "tag=plain;");
        assert_eq!(found(&[("tag", "{{.Name}}/{{ .ID }}!")]), "tag=web/0123456789ab!;");
        assert_eq!(
            found(&[("tag", "{{.ImageName}} {{.ImageID}} {{.Command}}")]),
            "tag=busybox:1 fedcba987654 httpd -f;"
        );
        assert_eq!(found(&[("tag", "")]), "");
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (option, value) in [
            ("tag", "{{.Name"),
            ("tag", "{{.Nothing}}"),
            ("tag", "{{upper .Name}}"),
            ("env-regex", "("),
            ("labels-regex", "(a{1000}){1000}"),
        ] {
            let error = check(&container(&[(option, value)]).host.log).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid value for {option}: {value}"));
        }
    }
}
