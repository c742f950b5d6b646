//! The bodies of requests, taken from bytes that anybody may have sent.

use casemate_engine::{ContainerConfig, CreateRequest};
use casemate_image::ImageConfig;
use hyper::StatusCode;

use crate::error::ApiError;
use crate::request::read_json;
use crate::{containers, exec};

/// A fuzz target: the first byte chooses whose body the others are (`0` create,
/// `1` a new exec, `2` an exec's start), and all is done with it that needs no
/// daemon. It panics if one of the promises does not hold: what is accepted is
/// in checked types, and can be handed to a process.
pub fn fuzz_body(data: &[u8]) {
    let Some((selector, body)) = data.split_first() else {
        return;
    };
    match selector {
        b'0' => {
            let made = read_json(body).and_then(|body| containers::request(None, body));
            match made {
                Ok(request) => check_create(&request),
                Err(error) => check_refusal(&error),
            }
        }
        b'1' => match read_json(body).and_then(exec::request) {
            Ok(request) => {
                let words = request.command.iter().chain(&request.env).chain(&request.working_dir);
                assert!(words.into_iter().all(|word| !word.contains('\0')), "{request:?}");
            }
            Err(error) => check_refusal(&error),
        },
        _ => drop(read_json::<exec::StartBody>(body)),
    }
}

/// The client's fault, or what this daemon has not.
fn check_refusal(error: &ApiError) {
    let is_due = error.status.is_client_error() || error.status == StatusCode::NOT_IMPLEMENTED;
    assert!(is_due && !error.message.is_empty(), "{error}");
}

/// As far as the request alone says, and then together with an image.
fn check_create(request: &CreateRequest) {
    assert!(!request.image.is_empty());
    let image = ImageConfig { cmd: vec!["sh".to_owned()], ..ImageConfig::default() };
    let Ok(config) = ContainerConfig::new(request, &image, "0123456789ab") else {
        return;
    };
    let ContainerConfig { command, env, cwd, user, hostname, memory, cpus, stop_signal, labels, health } = config;
    assert!(memory.is_none_or(|memory| memory.0 > 0) && cpus.is_none_or(|cpus| cpus.0 > 0));
    assert!(!command.args.is_empty() && command.entrypoint_length <= command.args.len());
    assert!(cwd.starts_with('/') && (1..=64).contains(&hostname.len()) && (1..=64).contains(&stop_signal.number()));
    assert!(env.iter().all(|entry| entry.find('=').is_some_and(|at| at > 0)), "{env:?}");
    let user = user.to_string();
    assert_eq!(labels, request.labels);
    let probe = health.iter().flat_map(|check| &check.test);
    let words = command.args.iter().chain(&env).chain(probe).chain([&cwd, &user, &hostname]);
    assert!(words.into_iter().all(|word| !word.contains('\0')), "{request:?}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::fuzz_body;

    /// Values of every kind under the names that are read.
    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            prop_oneof![Just(String::new()), Just("/a\0b".to_owned()), Just("A=b".to_owned()), any::<String>()]
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 8, 3, |inner| prop::collection::vec(inner, 0..3).prop_map(Value::from))
    }

    fn object(names: &'static [&'static str]) -> impl Strategy<Value = Value> {
        prop::collection::btree_map(prop::sample::select(names), value(), 0..4).prop_map(|fields| json!(fields))
    }

    const CREATE: &[&str] = &[
        "Hostname",
        "User",
        "Tty",
        "OpenStdin",
        "StdinOnce",
        "Env",
        "Cmd",
        "Entrypoint",
        "WorkingDir",
        "Labels",
        "StopSignal",
        "StopTimeout",
        "Healthcheck",
        "HostConfig",
    ];
    const HOST: &[&str] = &["Isolation", "AutoRemove", "Memory", "NanoCpus", "RestartPolicy", "ReadonlyRootfs"];
    const EXEC: &[&str] =
        &["Cmd", "Env", "User", "WorkingDir", "DetachKeys", "Tty", "AttachStdin", "ConsoleSize", "Detach"];

    proptest! {
        #[test]
        fn any_body_is_refused_or_keeps_its_promises(
            create in object(CREATE), host in object(HOST), exec in object(EXEC), bytes in any::<Vec<u8>>(),
        ) {
            let mut create = create;
            create["Image"] = json!("busybox");
            create["HostConfig"] = host;
            for (selector, body) in [("0", create.to_string()), ("1", exec.to_string()), ("2", exec.to_string())] {
                fuzz_body(&[selector.as_bytes(), body.as_bytes()].concat());
            }
            fuzz_body(&bytes);
        }
    }
}
