//! The core verbs through bollard.

use std::collections::HashMap;

use bollard::Docker as Client;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigIsolationEnum};
use bollard::query_parameters as query;
use casemate_e2e::{Docker, both_modes};
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;

fn connect(docker: &Docker) -> Client {
    let socket = docker.socket();
    Client::connect_with_unix(socket.to_str().unwrap(), 60, bollard::API_DEFAULT_VERSION).expect("a client")
}

fn body(docker: &Docker, command: &[&str]) -> ContainerCreateBody {
    let isolation = match docker.engine().is_hyperv() {
        true => HostConfigIsolationEnum::HYPERV,
        false => HostConfigIsolationEnum::PROCESS,
    };
    ContainerCreateBody {
        image: Some("busybox".into()),
        cmd: Some(command.iter().map(|word| (*word).to_owned()).collect()),
        host_config: Some(HostConfig { isolation: Some(isolation), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    }
}

fn named(name: &str) -> Option<query::CreateContainerOptions> {
    Some(query::CreateContainerOptions { name: Some(name.to_owned()), ..Default::default() })
}

fn code(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

fn text(outputs: &[LogOutput], wanted: fn(&LogOutput) -> bool) -> String {
    let bytes: Vec<u8> =
        outputs.iter().filter(|output| wanted(output)).flat_map(|output| output.as_ref().to_vec()).collect();
    String::from_utf8(bytes).expect("text")
}

fn out(outputs: &[LogOutput]) -> String {
    text(outputs, |output| matches!(output, LogOutput::StdOut { .. }))
}

fn err(outputs: &[LogOutput]) -> String {
    text(outputs, |output| matches!(output, LogOutput::StdErr { .. }))
}

async fn core_verbs(docker: &Docker) -> Result<(), Error> {
    let client = connect(docker).negotiate_version().await?;
    assert_eq!(client.version().await?.api_version.as_deref(), Some("1.50"));

    // Attached before the start, to the end.
    let mut interactive = body(docker, &["sh", "-c", "read name; echo hello $name; echo why >&2; exit 3"]);
    interactive.open_stdin = Some(true);
    interactive.stdin_once = Some(true);
    client.create_container(named("asks"), interactive).await?;
    let attach =
        query::AttachContainerOptions { stdin: true, stdout: true, stderr: true, stream: true, ..Default::default() };
    let AttachContainerResults { output, mut input } = client.attach_container("asks", Some(attach)).await?;
    client.start_container("asks", None).await?;
    input.write_all(b"casemate\n").await?;
    input.shutdown().await?;
    let outputs: Vec<LogOutput> = output.try_collect().await?;
    assert_eq!((out(&outputs).as_str(), err(&outputs).as_str()), ("hello casemate\n", "why\n"));
    let waited: Vec<_> = client.wait_container("asks", None).collect().await;
    assert!(
        matches!(&waited[..], [Err(Error::DockerContainerWaitError { code: 3, .. })]),
        "a code that is not zero is this client's error: {waited:?}"
    );
    let logs = query::LogsOptions { stdout: true, stderr: true, ..Default::default() };
    let logged: Vec<LogOutput> = client.logs("asks", Some(logs)).try_collect().await?;
    assert_eq!((out(&logged).as_str(), err(&logged).as_str()), ("hello casemate\n", "why\n"));

    // In the background, and what runs in it besides.
    client.create_container(named("web"), body(docker, &["sleep", "100000"])).await?;
    client.start_container("web", None).await?;
    let inspected = client.inspect_container("web", None).await?;
    assert_eq!(inspected.state.as_ref().and_then(|state| state.running), Some(true));
    let isolation = inspected.host_config.and_then(|config| config.isolation).map(|isolation| isolation.to_string());
    assert_eq!(isolation.as_deref(), Some(docker.isolation()));
    let filters = HashMap::from([("name".to_owned(), vec!["web".to_owned()])]);
    let listed = client
        .list_containers(Some(query::ListContainersOptions { filters: Some(filters), ..Default::default() }))
        .await?;
    assert_eq!(listed.len(), 1);
    let exec = CreateExecOptions {
        cmd: Some(vec!["sh", "-c", "echo in; exit 5"]),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..Default::default()
    };
    let exec = client.create_exec("web", exec).await?.id;
    let StartExecResults::Attached { output, .. } = client.start_exec(&exec, None::<StartExecOptions>).await? else {
        panic!("an exec that was not detached");
    };
    let outputs: Vec<LogOutput> = output.try_collect().await?;
    assert_eq!(out(&outputs), "in\n");
    assert_eq!(client.inspect_exec(&exec).await?.exit_code, Some(5));
    let top = client.top_processes("web", None::<query::TopOptions>).await?;
    assert!(top.processes.is_some_and(|rows| rows.iter().any(|row| row.join(" ").contains("sleep 100000"))));

    // Refusals keep their statuses.
    let again = client.create_container(named("web"), body(docker, &["true"])).await.unwrap_err();
    assert_eq!(code(&again), Some(409), "{again}");
    let running = client.remove_container("web", None).await.unwrap_err();
    assert_eq!(code(&running), Some(409), "{running}");
    let nobody = client.inspect_container("nobody", None).await.unwrap_err();
    assert_eq!(code(&nobody), Some(404), "{nobody}");

    client.rename_container("web", query::RenameContainerOptions { name: "renamed".to_owned() }).await?;
    client.stop_container("renamed", Some(query::StopContainerOptions { t: Some(0), ..Default::default() })).await?;
    client.start_container("renamed", None).await?;
    client.kill_container("renamed", None).await?;
    client.remove_container("renamed", None).await?;
    client.remove_container("asks", None).await?;
    Ok(())
}

both_modes! {
    fn runs_the_core_verbs(docker: &Docker) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(core_verbs(docker)).expect("a client that is content");
    }
}
