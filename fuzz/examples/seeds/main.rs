//! Writes the corpus and the dictionaries anew from real messages: run
//! `cargo run --example seeds` in this directory after the vocabulary changed.

mod archives;
mod transcripts;

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use casemate_fuzz::connection::{container, create, process};
use casemate_fuzz::double::Answers;
use casemate_model::{Bytes, ErrorClass, ProcessRef};
use casemate_wire::message::{ExitStatus, OutputStream, Request, Response};
use casemate_wire::{Create, HostPlace, Place, VmPlace};
use serde_json::Value;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let requests: Vec<Value> = requests().iter().map(json).collect();
    let responses: Vec<Value> = responses().iter().map(json).collect();
    let mut frames = Vec::new();
    for (selector, messages) in [(b'0', &requests), (b'2', &responses)] {
        for message in messages {
            let text = message.to_string().into_bytes();
            frames.push([&[selector], &casemate_fuzz::frames::framed(&text)[..]].concat());
            frames.push([&[selector + 1], &text[..]].concat());
        }
    }
    write_corpus(&root.join("corpus/frames"), &frames)?;
    write_corpus(&root.join("corpus/connection"), &transcripts::all())?;
    write_corpus(&root.join("corpus/archive"), &archives::all())?;

    let mut words = BTreeSet::new();
    requests.iter().chain(&responses).for_each(|message| collect_words(message, &mut words));
    words.extend(["null", "true", "18446744073709551615", "\\u0000", "\\u001b"].map(str::to_owned));
    words.extend([ErrorClass::InvalidArgument, ErrorClass::Protocol].map(|class| class.name().to_owned()));
    let mut messages: Vec<String> = words.iter().map(|word| entry(word.as_bytes())).collect();
    write_lines(&root.join("dictionaries/frames"), &messages)?;
    messages.extend(transcripts::headers().iter().map(|header| entry(header)));
    write_lines(&root.join("dictionaries/connection"), &messages)?;
    write_lines(&root.join("dictionaries/archive"), &archives::words().map(|word| entry(word.as_bytes())))
}

/// Replaces the files of a directory; each is named by its place in the list.
fn write_corpus(directory: &Path, seeds: &[Vec<u8>]) -> io::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(format!("{index:02}")), seed)?;
    }
    Ok(())
}

fn write_lines(path: &Path, lines: &[String]) -> io::Result<()> {
    fs::write(path, lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

/// A line of libFuzzer's dictionaries.
fn entry(word: &[u8]) -> String {
    let escaped = word.iter().map(|&byte| match byte {
        b'"' | b'\\' => format!("\\{}", char::from(byte)),
        b' '..=b'~' => char::from(byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn json(message: &impl serde::Serialize) -> Value {
    serde_json::to_value(message).expect("every message can be written")
}

/// The names of fields and variants, in their quotes.
fn collect_words(value: &Value, words: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                words.insert(format!("\"{name}\":"));
                collect_words(value, words);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| collect_words(value, words)),
        Value::String(text) if text.len() < 12 => drop(words.insert(format!("\"{text}\""))),
        _ => {}
    }
}

fn places() -> [Place; 3] {
    [
        Place::Host(HostPlace {
            lowers: vec!["/layers/b".into(), "/layers/a".into()],
            upper: "/upper".into(),
            work: "/work".into(),
        }),
        Place::Vm(VmPlace {
            qemu: Some("/usr/bin/qemu-system-x86_64".into()),
            kernel: "/vmlinux".into(),
            initrd: "/initrd.img".into(),
            layers: vec!["/a.erofs".into(), "/b.erofs".into()],
            scratch: "/scratch.img".into(),
            scratch_size: Bytes::mib(1024),
            scratch_cache: "/cache".into(),
            uid: 200_001,
            accelerator: "auto".into(),
            boot_timeout_ms: 60_000,
        }),
        create().place,
    ]
}

fn requests() -> Vec<Request> {
    let init = (&ProcessRef::Init).into();
    let exec: casemate_wire::message::ProcessRef = (&ProcessRef::Exec(Answers::default().exec)).into();
    let creates = places().map(|place| Request::Create(Box::new((&Create { container: container(), place }).into())));
    let others = [
        Request::Start,
        Request::Exec(Box::new((&process()).into())),
        Request::Signal { process: exec.clone(), signal: 15 },
        Request::Resize { process: exec.clone(), rows: 24, columns: 80 },
        Request::Wait { process: init },
        Request::Stop { signal: 15, timeout_ms: Some(10_000) },
        Request::Processes,
        Request::Stats,
        Request::Facts,
        Request::Shutdown,
        Request::Stdin { process: exec.clone() },
        Request::Output { process: exec, stream: OutputStream::Stderr },
    ];
    creates.into_iter().chain(others).collect()
}

fn responses() -> Vec<Response> {
    let Answers { started, exec, exited, processes, stats, facts, .. } = Answers::default();
    vec![
        Response::Done,
        started.into(),
        Response::Exec { id: exec.as_str().to_owned() },
        exited.expect("the default has ended").into(),
        Response::Exited { status: ExitStatus::Signal(9), oom_killed: true, reason: None },
        Response::Processes(processes.into_iter().map(Into::into).collect()),
        stats.into(),
        facts.into(),
        Response::Failed { class: "not-found".into(), message: "no such process".into(), hint: Some("look".into()) },
    ]
}
