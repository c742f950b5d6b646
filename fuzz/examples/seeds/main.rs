//! Writes the corpus and the dictionaries anew from real messages: run
//! `cargo run --example seeds` in this directory after the vocabulary changed.

mod archives;
mod bodies;
mod messages;
mod transcripts;

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use casemate_fuzz::seeds;
use casemate_model::ErrorClass;
use serde_json::Value;

fn main() -> io::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    write_corpus(&root.join("corpus/frames"), &seeds::frames())?;
    write_corpus(&root.join("corpus/connection"), &transcripts::all())?;
    write_corpus(&root.join("corpus/archive"), &archives::all())?;
    write_corpus(&root.join("corpus/body"), &bodies::all())?;
    write_corpus(&root.join("corpus/dns"), &messages::all())?;

    let mut words = BTreeSet::new();
    seeds::requests().iter().for_each(|request| collect_words(&json(request), &mut words));
    seeds::responses().iter().for_each(|response| collect_words(&json(response), &mut words));
    words.extend(["null", "true", "18446744073709551615", "\\u0000", "\\u001b"].map(str::to_owned));
    words.extend([ErrorClass::InvalidArgument, ErrorClass::Protocol].map(|class| class.name().to_owned()));
    let mut messages: Vec<String> = words.iter().map(|word| entry(word.as_bytes())).collect();
    write_lines(&root.join("dictionaries/frames"), &messages)?;
    messages.extend(transcripts::headers().iter().map(|header| entry(header)));
    write_lines(&root.join("dictionaries/connection"), &messages)?;
    write_lines(&root.join("dictionaries/body"), &bodies::words().map(|word| entry(word.as_bytes())))?;
    write_lines(&root.join("dictionaries/archive"), &archives::words().map(|word| entry(word.as_bytes())))
}

/// Replaces the files of a directory; each is named by its place in the list.
fn write_corpus(directory: &Path, seeds: &[Vec<u8>]) -> io::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory)?;
    }
    fs::create_dir_all(directory)?;
    for (index, seed) in seeds.iter().enumerate() {
        fs::write(directory.join(seeds::name(index)), seed)?;
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
