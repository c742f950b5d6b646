//! Bodies as Docker's clients send them.

use serde_json::{Value, json};

pub(crate) fn all() -> Vec<Vec<u8>> {
    let create = json!({
        "Hostname": "castle", "Domainname": "", "User": "5:6", "AttachStdin": false, "AttachStdout": true,
        "AttachStderr": true, "Tty": true, "OpenStdin": true, "StdinOnce": true, "Env": ["A=b", "HOME"],
        "Cmd": ["sh", "-c", "echo hello"], "Image": "busybox", "Volumes": {}, "WorkingDir": "/tmp",
        "Entrypoint": ["nice"], "OnBuild": null, "Labels": { "tier": "wall" }, "StopSignal": "SIGUSR1", "StopTimeout": 3,
        "Healthcheck": {
            "Test": ["CMD-SHELL", "true"], "Interval": 1_000_000_000, "Timeout": 1_000_000_000, "StartPeriod": 0,
            "StartInterval": 1_000_000, "Retries": 3,
        },
        "HostConfig": {
            "Binds": null, "ContainerIDFile": "", "LogConfig": { "Type": "", "Config": {} }, "NetworkMode": "default",
            "PortBindings": {}, "RestartPolicy": { "Name": "on-failure", "MaximumRetryCount": 3 }, "AutoRemove": false,
            "Isolation": "hyperv", "Memory": 134_217_728, "NanoCpus": 500_000_000, "ReadonlyRootfs": true,
        },
        "NetworkingConfig": { "EndpointsConfig": {} },
    });
    let least = json!({ "Image": "busybox", "Cmd": "true", "HostConfig": { "AutoRemove": true } });
    let exec = json!({
        "User": "5", "Privileged": false, "Tty": true, "ConsoleSize": [24, 80], "AttachStdin": true, "AttachStderr": true,
        "AttachStdout": true, "DetachKeys": "ctrl-a,x", "Env": ["A=b"], "WorkingDir": "/tmp", "Cmd": ["sh", "-c", "true"],
    });
    let start = json!({ "Detach": false, "Tty": true, "ConsoleSize": [24, 80] });
    let seed = |selector: u8, body: &Value| [&[selector], body.to_string().as_bytes()].concat();
    vec![seed(b'0', &create), seed(b'0', &least), seed(b'1', &exec), seed(b'2', &start)]
}

pub(crate) fn words() -> [&'static str; 12] {
    [
        "\"HostConfig\":",
        "\"Isolation\":\"process\"",
        "\"Entrypoint\":",
        "\"Healthcheck\":",
        "\"RestartPolicy\":",
        "\"unless-stopped\"",
        "\"CMD-SHELL\"",
        "\"NONE\"",
        "\"StopSignal\":",
        "\"SIGRTMIN+3\"",
        "ctrl-",
        "\\u0000",
    ]
}
