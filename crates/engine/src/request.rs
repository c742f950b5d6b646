//! What a keeper is asked to create, and the processes in it.

use std::fmt::Write;

use casemate_model::{Bytes, Capabilities, Container as Launchable, EtcFiles, Process, Seccomp, TerminalSize};
use casemate_record::HostRecord;
use casemate_wire::Create;

use crate::Engine;
use crate::container::Container;
use crate::error::StartError;
use crate::options::{Options, SeccompChoice};

/// Until the first resize says better, as in Docker.
const NO_SIZE: TerminalSize = TerminalSize { rows: 0, columns: 0 };

impl Engine {
    pub(crate) fn create_request(
        &self,
        container: &Container,
        terminal: Option<TerminalSize>,
    ) -> Result<Create, StartError> {
        let record = &container.record;
        let host = &record.host;
        let options = self.options(container)?;
        let terminal = record.tty.then(|| terminal.unwrap_or(NO_SIZE));
        let process = self.process_with(container, &options, record.args.clone(), terminal)?;
        let (limits, _told) = self.supported(container.isolation, options.limits.clone());
        let hostname = record.hostname.clone();
        Ok(Create {
            container: Launchable {
                id: container.id.clone(),
                init: Process { stdin: record.open_stdin, ..process },
                stdin_once: record.stdin_once,
                reaper: host.init,
                read_only: record.read_only,
                ephemeral: record.auto_remove,
                etc: EtcFiles {
                    hosts: hosts(&hostname, &host.domainname, &options),
                    hostname: format!("{hostname}\n"),
                    resolv_conf: resolv_conf(host),
                },
                hostname,
                domainname: host.domainname.clone(),
                limits,
                shm_size: Some(host.shm_size).filter(|size| *size > 0).map(Bytes),
                tmpfs: options.tmpfs,
                sysctls: options.sysctls,
                namespaces: options.namespaces,
                privileged: options.privileged,
                devices: options.devices,
                device_rules: options.device_rules,
                masked_paths: options.masked_paths,
                readonly_paths: options.readonly_paths,
            },
            place: self.place(container)?,
        })
    }

    fn options(&self, container: &Container) -> Result<Options, StartError> {
        Options::of(&container.record, container.isolation).map_err(StartError::Option)
    }

    /// A process in a container as its options have it: its init, or the
    /// ground for an exec.
    pub fn process(
        &self,
        container: &Container,
        args: Vec<String>,
        terminal: Option<TerminalSize>,
    ) -> Result<Process, StartError> {
        self.process_with(container, &self.options(container)?, args, terminal)
    }

    fn process_with(
        &self,
        container: &Container,
        options: &Options,
        args: Vec<String>,
        terminal: Option<TerminalSize>,
    ) -> Result<Process, StartError> {
        let record = &container.record;
        Ok(Process {
            args,
            env: record.env.clone(),
            cwd: record.cwd.clone(),
            user: record.user.parse().unwrap_or_default(),
            additional_groups: record.host.group_add.clone(),
            terminal,
            stdin: false,
            capabilities: options.capabilities,
            no_new_privileges: options.no_new_privileges,
            seccomp: self.seccomp(&options.seccomp, options.capabilities)?,
            rlimits: options.rlimits.clone(),
            oom_score_adj: record.host.oom_score_adj,
        })
    }

    fn seccomp(&self, choice: &SeccompChoice, capabilities: Capabilities) -> Result<Option<Seccomp>, StartError> {
        match choice {
            SeccompChoice::Unconfined => Ok(None),
            SeccompChoice::Default => crate::seccomp::docker_default(self.layout().root(), capabilities).map(Some),
            SeccompChoice::Given(json) => crate::seccomp::given(json, capabilities).map(Some),
        }
    }
}

/// Docker's `/etc/hosts` for a container without a network: loopback, what it
/// was given, and its own name.
fn hosts(hostname: &str, domainname: &str, options: &Options) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\n\
         ff02::1\tip6-allnodes\n\
         ff02::2\tip6-allrouters\n"
        .to_owned();
    for (name, address) in &options.extra_hosts {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{address}\t{name}");
    }
    let _ = match domainname {
        "" => writeln!(text, "127.0.0.1\t{hostname}"),
        domain => writeln!(text, "127.0.0.1\t{hostname}.{domain} {hostname}"),
    };
    text
}

fn resolv_conf(host: &HostRecord) -> String {
    let mut text: String = host.dns.iter().map(|server| format!("nameserver {server}\n")).collect();
    // A lone dot asks for no search list.
    if !host.dns_search.is_empty() && host.dns_search != ["."] {
        let _ = writeln!(text, "search {}", host.dns_search.join(" "));
    }
    if !host.dns_options.is_empty() {
        let _ = writeln!(text, "options {}", host.dns_options.join(" "));
    }
    text
}
