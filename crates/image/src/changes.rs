//! Changes to an image's configuration as instructions of a Dockerfile: what
//! `--change` of `docker import` and `docker commit` takes.

mod error;
mod healthcheck;
mod words;

pub use error::ChangeError;

use casemate_model::Signal;

use crate::image::ImageConfig;
use words::{expand, split};

/// What runs a command that is given as one text.
const SHELL: [&str; 2] = ["/bin/sh", "-c"];
/// A range of ports is a list of them in the configuration.
const MAX_PORTS: usize = 65536;

impl ImageConfig {
    /// Applies the instructions in their order; each text may hold several
    /// lines. On failure some of them may have been applied.
    pub fn change(&mut self, changes: &[String]) -> Result<(), ChangeError> {
        let mut has_command = false;
        for line in lines(&changes.join("\n")) {
            let (name, rest) = line.split_once([' ', '\t']).unwrap_or((&line, ""));
            let (name, rest) = (name.to_ascii_lowercase(), rest.trim());
            match name.as_str() {
                "cmd" => {
                    self.cmd = self.command(rest);
                    has_command |= !self.cmd.is_empty();
                }
                "entrypoint" => {
                    self.entrypoint = self.command(rest);
                    // The old command was the old entrypoint's arguments.
                    if !has_command {
                        self.cmd.clear();
                    }
                }
                "env" => {
                    for (key, value) in self.pairs("ENV", rest)? {
                        set_variable(&mut self.env, &key, &value);
                    }
                }
                "label" => self.labels.extend(self.pairs("LABEL", rest)?),
                "expose" => self.expose(rest)?,
                "volume" => self.add_volumes(rest)?,
                "workdir" => {
                    let directory = self.one("WORKDIR", rest)?;
                    self.working_dir = Some(join(self.working_dir.as_deref(), &directory));
                }
                "user" => self.user = Some(self.one("USER", rest)?),
                "stopsignal" => {
                    let signal = self.one("STOPSIGNAL", rest)?;
                    signal.parse::<Signal>().map_err(ChangeError::Signal)?;
                    self.stop_signal = Some(signal);
                }
                "healthcheck" => self.healthcheck = Some(healthcheck::parse(rest)?),
                "onbuild" => self.on_build.push(trigger(rest)?),
                _ => return Err(ChangeError::Instruction { name }),
            }
        }
        Ok(())
    }

    /// A list of words in JSON, or a text for the shell.
    fn command(&self, text: &str) -> Vec<String> {
        if let Some(words) = json_words(text) {
            return words;
        }
        if text.is_empty() {
            return Vec::new();
        }
        let shell: Vec<String> =
            if self.shell.is_empty() { SHELL.map(str::to_owned).to_vec() } else { self.shell.clone() };
        shell.into_iter().chain([text.to_owned()]).collect()
    }

    fn expand(&self, text: &str) -> Result<String, ChangeError> {
        expand(text, &|name| {
            let entries = self.env.iter().filter_map(|entry| entry.split_once('='));
            entries.filter(|(known, _)| *known == name).map(|(_, value)| value.to_owned()).next_back()
        })
    }

    /// `KEY=VALUE …`, or the old form `KEY VALUE` in which the value is the rest
    /// of the line.
    fn pairs(&self, instruction: &'static str, text: &str) -> Result<Vec<(String, String)>, ChangeError> {
        let words = split(text);
        let Some(first) = words.first() else {
            return Err(ChangeError::NoArgument { instruction });
        };
        if !first.contains('=') {
            let value = text[first.len()..].trim_start();
            if value.is_empty() {
                return Err(ChangeError::OneArgumentOfTwo { instruction });
            }
            return Ok(vec![(self.expand(first)?, self.expand(value)?)]);
        }
        let pair = |word: &&str| {
            let (key, value) = word.split_once('=').ok_or_else(|| ChangeError::Pair { word: (*word).to_owned() })?;
            match key.is_empty() {
                true => Err(ChangeError::BlankName { instruction }),
                false => Ok((self.expand(key)?, self.expand(value)?)),
            }
        };
        words.iter().map(pair).collect()
    }

    fn one(&self, instruction: &'static str, text: &str) -> Result<String, ChangeError> {
        match self.expand(text)? {
            value if value.is_empty() => Err(ChangeError::NotOneArgument { instruction }),
            value => Ok(value),
        }
    }

    fn expose(&mut self, text: &str) -> Result<(), ChangeError> {
        let words = split(text);
        if words.is_empty() {
            return Err(ChangeError::NoArgument { instruction: "EXPOSE" });
        }
        for word in words {
            for specification in self.expand(word)?.split_whitespace() {
                self.exposed_ports.extend(ports(specification)?);
            }
        }
        self.exposed_ports.sort();
        self.exposed_ports.dedup();
        Ok(())
    }

    fn add_volumes(&mut self, text: &str) -> Result<(), ChangeError> {
        let words = json_words(text).unwrap_or_else(|| split(text).into_iter().map(str::to_owned).collect());
        if words.is_empty() {
            return Err(ChangeError::NoArgument { instruction: "VOLUME" });
        }
        for word in words {
            match self.expand(&word)? {
                path if path.is_empty() => return Err(ChangeError::EmptyVolume),
                path => self.volumes.push(path),
            }
        }
        self.volumes.sort();
        self.volumes.dedup();
        Ok(())
    }
}

/// The instructions, one to a line: without comments and empty lines, those
/// that go on after a backslash put together.
fn lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut begun = String::new();
    for line in text.lines() {
        let trimmed = line.trim_start();
        if trimmed.starts_with('#') {
            continue;
        }
        match line.trim_end().strip_suffix('\\') {
            Some(part) => begun.push_str(part),
            None => {
                begun.push_str(line);
                found.push(std::mem::take(&mut begun));
            }
        }
    }
    found.push(begun);
    found.iter().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

fn json_words(text: &str) -> Option<Vec<String>> {
    text.starts_with('[').then(|| serde_json::from_str(text).ok()).flatten()
}

fn set_variable(env: &mut Vec<String>, name: &str, value: &str) {
    let entry = format!("{name}={value}");
    match env.iter_mut().find(|known| known.split('=').next() == Some(name)) {
        Some(known) => *known = entry,
        None => env.push(entry),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`.
fn ports(text: &str) -> Result<Vec<String>, ChangeError> {
    let malformed = || ChangeError::Port { text: text.to_owned() };
    let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(malformed());
    }
    let port = |text: &str| text.parse::<u16>().map_err(|_| malformed());
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(range)?, port(range)?),
    };
    if first > last {
        return Err(malformed());
    }
    Ok((first..=last).take(MAX_PORTS).map(|port| format!("{port}/{protocol}")).collect())
}

/// A directory as seen from another, without `.` and `..`.
fn join(from: Option<&str>, to: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let from = if to.starts_with('/') { "" } else { from.unwrap_or_default() };
    for part in from.split('/').chain(to.split('/')) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

fn trigger(text: &str) -> Result<String, ChangeError> {
    let name = text.split_whitespace().next().unwrap_or_default().to_ascii_uppercase();
    match name.as_str() {
        "" => Err(ChangeError::NoArgument { instruction: "ONBUILD" }),
        "ONBUILD" => Err(ChangeError::ChainedOnBuild),
        "MAINTAINER" | "FROM" => Err(ChangeError::Trigger { name }),
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn changed(from: ImageConfig, changes: &[&str]) -> Result<ImageConfig, String> {
        let mut config = from;
        let changes: Vec<String> = changes.iter().map(|change| (*change).to_owned()).collect();
        config.change(&changes).map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn every_instruction_does_what_it_does_in_a_dockerfile() {
        let from = ImageConfig { env: vec!["PATH=/bin".into()], cmd: vec!["old".into()], ..ImageConfig::default() };
        let changes = [
            "CMD [\"a\", \"b\"]",
            "entrypoint run $IT",
            "ENV PATH=$PATH:/sbin A=\"x y\" B='$A'",
            "ENV OLD form  of it",
            "ENV LATER=${A}-${NONE:-none}-${A:+set}",
            "EXPOSE 80 443/tcp 5000-5002/udp",
            "LABEL k=v \"two words\"=\"and more\"",
            "VOLUME [\"/data\", \"/more\"]",
            "VOLUME /data /third",
            "WORKDIR /w",
            "WORKDIR sub/../dir",
            "USER $OLD",
            "STOPSIGNAL SIGQUIT",
            "# not one\nONBUILD RUN make \\\n  all",
            "HEALTHCHECK --interval=1m30s --retries=2 CMD curl -f http://localhost/",
        ];
        let config = changed(from, &changes).unwrap();
        assert_eq!(config.cmd, ["a", "b"]);
        assert_eq!(config.entrypoint, ["/bin/sh", "-c", "run $IT"]);
        let env = ["PATH=/bin:/sbin", "A=x y", "B=$A", "OLD=form  of it", "LATER=x y-none-set"];
        assert_eq!(config.env, env);
        assert_eq!(config.exposed_ports, ["443/tcp", "5000/udp", "5001/udp", "5002/udp", "80/tcp"]);
        let labels: Vec<_> = config.labels.iter().map(|(key, value)| format!("{key}|{value}")).collect();
        assert_eq!(labels, ["k|v", "two words|and more"]);
        assert_eq!(config.volumes, ["/data", "/more", "/third"]);
        assert_eq!((config.working_dir.as_deref(), config.user.as_deref()), (Some("/w/dir"), Some("form  of it")));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(config.on_build, ["RUN make   all"]);
        let check = config.healthcheck.unwrap();
        assert_eq!(check.test, ["CMD-SHELL", "curl -f http://localhost/"]);
        assert_eq!((check.interval, check.timeout, check.retries), (Some(Duration::from_secs(90)), None, Some(2)));
    }

    #[test]
    fn an_entrypoint_drops_the_command_that_was_there() {
        let from = || ImageConfig { cmd: vec!["old".into()], ..ImageConfig::default() };
        assert!(changed(from(), &["ENTRYPOINT [\"x\"]"]).unwrap().cmd.is_empty());
        assert_eq!(changed(from(), &["CMD [\"new\"]", "ENTRYPOINT [\"x\"]"]).unwrap().cmd, ["new"]);
        let shell = ImageConfig { shell: vec!["ash".into(), "-ec".into()], ..ImageConfig::default() };
        assert_eq!(changed(shell, &["CMD a b"]).unwrap().cmd, ["ash", "-ec", "a b"]);
        assert!(changed(from(), &["CMD []"]).unwrap().cmd.is_empty());
        let none = changed(from(), &["HEALTHCHECK NONE"]).unwrap().healthcheck.unwrap();
        assert_eq!(none.test, ["NONE"]);
    }

    #[test]
    fn mistakes_are_told_in_dockers_words() {
        for (change, words) in [
            ("RUN make", "run is not a valid change command"),
            ("nonsense", "nonsense is not a valid change command"),
            ("ENV", "ENV requires at least one argument"),
            ("ENV A", "ENV must have two arguments"),
            ("ENV A=1 B", "Syntax error - can't find = in \"B\". Must be of the form: name=value"),
            ("LABEL =x", "LABEL names can not be blank"),
            ("USER", "USER requires exactly one argument"),
            ("WORKDIR", "WORKDIR requires exactly one argument"),
            ("VOLUME [\"\"]", "VOLUME specified can not be an empty string"),
            ("EXPOSE 70000", "invalid containerPort: 70000"),
            ("EXPOSE 80/icmp", "invalid containerPort: 80/icmp"),
            ("EXPOSE 9-8", "invalid containerPort: 9-8"),
            ("STOPSIGNAL NONE", "Invalid signal: NONE"),
            ("ONBUILD ONBUILD x", "Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed"),
            ("ONBUILD from x", "FROM isn't allowed as an ONBUILD trigger"),
            ("HEALTHCHECK CMD", "Missing command after HEALTHCHECK CMD"),
            ("HEALTHCHECK SHELL x", "Unknown type \"SHELL\" in HEALTHCHECK (try CMD)"),
            ("HEALTHCHECK NONE x", "HEALTHCHECK NONE takes no arguments"),
            ("HEALTHCHECK --every=1s CMD x", "unknown flag: --every"),
            ("HEALTHCHECK --interval=1 CMD x", "invalid duration \"1\" for --interval"),
            ("HEALTHCHECK --interval=1us CMD x", "Interval \"interval\" cannot be less than 1ms"),
            ("HEALTHCHECK --retries=-1 CMD x", "--retries cannot be negative (-1)"),
            ("ENV A=\"x", "unexpected end of statement while looking for matching double-quote"),
            ("ENV A=${x", "syntax error: missing '}'"),
        ] {
            assert_eq!(changed(ImageConfig::default(), &[change]), Err(words.to_owned()), "{change}");
        }
    }

    proptest! {
        #[test]
        fn any_text_does_no_harm(text in "(env|label|expose|volume|healthcheck|workdir|cmd)? ?[\\PC\n\"'$\\\\{}:]{0,80}") {
            let _ = changed(ImageConfig::default(), &[&text]);
        }
    }
}
