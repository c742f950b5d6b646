//! What a keeper is asked to create, and the processes in it.

use casemate_model::{Bytes, Capabilities, Container as Launchable, EtcFiles, Process, Seccomp, TerminalSize};
use casemate_wire::Create;

use crate::Engine;
use crate::container::Container;
use crate::error::StartError;
use crate::networks::Wiring;
use crate::options::{Options, SeccompChoice};

/// Until the first resize says better, as in Docker.
const NO_SIZE: TerminalSize = TerminalSize { rows: 0, columns: 0 };

impl Engine {
    pub(crate) fn create_request(
        &self,
        container: &Container,
        terminal: Option<TerminalSize>,
        wiring: Wiring,
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
                    hosts: wiring.hosts,
                    hostname: format!("{hostname}\n"),
                    resolv_conf: wiring.resolv_conf,
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
            place: self.place(container, wiring.network)?,
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
