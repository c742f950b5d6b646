//! `GET /containers/{id}/top`: what `ps` would show, with its options.
//!
//! Docker has the host's `ps` look; it cannot look into a VM, so the rows are
//! made here of what the container's kernel tells, in both isolations.

use casemate_engine::daemon::Entry;
use casemate_wire::ContainerProcess;
use jiff::Timestamp;
use serde_json::json;

use crate::error::ApiError;
use crate::reply::{self, Reply};
use crate::request::Call;

pub(crate) async fn top(call: &Call, id: &str) -> Reply {
    let entry = call.container(id)?;
    if !entry.status().is_up() {
        return Err(ApiError::conflict(format!("container {} is not running", entry.id)));
    }
    let columns = columns(call.query.get("ps_args").unwrap_or_default()).map_err(ApiError::bad_request)?;
    let processes = entry.processes().await?;
    call.daemon.note_use(&entry, "top");
    let host = Host { now: Timestamp::now().as_second(), memory: memory(&entry) };
    let row = |process| columns.iter().map(|column| (column.cell)(process, &host)).collect();
    let rows: Vec<Vec<String>> = processes.iter().map(row).collect();
    let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
    reply::json(&json!({ "Titles": titles, "Processes": rows }))
}

/// What the processes run on.
struct Host {
    /// Seconds since 1970.
    now: i64,
    /// Bytes.
    memory: u64,
}

fn memory(entry: &Entry) -> u64 {
    let container = entry.container();
    container.state.vm.as_ref().map_or_else(
        || {
            let system = rustix::system::sysinfo();
            #[allow(clippy::unnecessary_cast, reason = "narrower on some architectures")]
            let bytes = system.totalram as u64 * u64::from(system.mem_unit);
            bytes
        },
        |vm| vm.memory,
    )
}

#[derive(Clone, Copy)]
struct Column {
    title: &'static str,
    cell: fn(&ContainerProcess, &Host) -> String,
}

/// More than there are names of.
const MOST_COLUMNS: usize = 64;

/// `-ef` if nothing is said.
const FULL: [&str; 8] = ["uid", "pid", "ppid", "c", "stime", "tty", "time", "cmd"];
/// `aux`.
const BY_USER: [&str; 11] = ["user", "pid", "%cpu", "%mem", "vsz", "rss", "tty", "stat", "start", "time", "command"];
/// Without `f`, `u` or `o`.
const SHORT: [&str; 4] = ["pid", "tty", "time", "comm"];

/// Of the options of `ps` those which people use with it: `-ef`, `aux`, `-o`
/// with a list. Which processes are shown is not theirs to choose.
fn columns(args: &str) -> Result<Vec<Column>, String> {
    let mut names: Vec<&str> = if args.trim_ascii().is_empty() { FULL.to_vec() } else { SHORT.to_vec() };
    let mut listed = Vec::new();
    let mut words = args.split_ascii_whitespace();
    while let Some(word) = words.next() {
        let options = word.strip_prefix('-').unwrap_or(word);
        for (at, option) in options.char_indices() {
            match option {
                'e' | 'A' | 'a' | 'x' | 'w' => {}
                'f' => names = FULL.to_vec(),
                'u' => names = BY_USER.to_vec(),
                'o' => {
                    let list = match &options[at + 1..] {
                        "" => words.next().unwrap_or_default(),
                        rest => rest,
                    };
                    listed.extend(list.split(',').map(|name| (name, column(name))));
                    break;
                }
                _ => return Err(format!("ps argument {word:?} is not supported: there are -ef, aux and -o")),
            }
        }
    }
    if listed.is_empty() {
        listed = names.into_iter().map(|name| (name, column(name))).collect();
    }
    let columns: Vec<Column> = listed
        .into_iter()
        .map(|(name, column)| column.ok_or_else(|| format!("ps column {name:?} is not known")))
        .collect::<Result<_, _>>()?;
    if columns.len() > MOST_COLUMNS {
        return Err(format!("ps argument: there are no {} columns to show", columns.len()));
    }
    if columns.iter().all(|column| column.title != "PID") {
        return Err("Couldn't find PID field in ps output".to_owned());
    }
    Ok(columns)
}

/// As in ps(1), section "standard format specifiers".
fn column(name: &str) -> Option<Column> {
    let (title, cell): (_, fn(&ContainerProcess, &Host) -> String) = match name {
        "pid" => ("PID", |process, _| process.pid.to_string()),
        "ppid" => ("PPID", |process, _| process.parent.to_string()),
        "uid" | "euid" => ("UID", |process, _| process.uid.to_string()),
        // Names are the container's own; nobody else knows them.
        "user" | "euser" | "uname" => ("USER", |process, _| process.uid.to_string()),
        "c" => ("C", |process, _| process.cpu_percent.min(99).to_string()),
        "%cpu" | "pcpu" => ("%CPU", |process, _| format!("{:.1}", f64::from(process.cpu_percent))),
        "%mem" | "pmem" => ("%MEM", |process, host| {
            format!("{:.1}", process.resident_memory.0 as f64 * 100.0 / host.memory.max(1) as f64)
        }),
        "vsz" | "vsize" => ("VSZ", |process, _| (process.virtual_memory.0 >> 10).to_string()),
        "rss" | "rssize" | "rsz" => ("RSS", |process, _| (process.resident_memory.0 >> 10).to_string()),
        "stat" | "state" | "s" => ("STAT", |process, _| process.state.to_string()),
        "tty" | "tt" | "tname" => {
            ("TTY", |process, _| process.tty.map_or("?".to_owned(), |number| format!("pts/{number}")))
        }
        "stime" => ("STIME", |process, host| start_time(seconds(process.started), host.now)),
        "start" | "start_time" | "bsdstart" => {
            ("START", |process, host| start_time(seconds(process.started), host.now))
        }
        "etimes" => ("ELAPSED", |process, host| (host.now - seconds(process.started)).max(0).to_string()),
        "time" | "cputime" => ("TIME", |process, _| clock(process.cpu_ms / 1000)),
        "cmd" => ("CMD", |process, _| process.command.clone()),
        "args" | "command" => ("COMMAND", |process, _| process.command.clone()),
        "comm" | "ucmd" => ("COMMAND", |process, _| {
            let program = process.command.split(' ').next().unwrap_or_default();
            program.rsplit('/').next().unwrap_or_default().to_owned()
        }),
        _ => return None,
    };
    Some(Column { title, cell })
}

fn seconds(since_1970: u64) -> i64 {
    i64::try_from(since_1970).unwrap_or(0)
}

fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// As `ps` has it: the hour of today, the day of this year, or the year.
fn start_time(started: i64, now: i64) -> String {
    let Ok(time) = Timestamp::from_second(started) else {
        return "?".to_owned();
    };
    let format = if now - started < 86_400 { "%H:%M" } else { "%b%d" };
    time.strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn titles(args: &str) -> Result<String, String> {
        Ok(columns(args)?.iter().map(|column| column.title).collect::<Vec<_>>().join(" "))
    }

    /// Each costs an answer's memory for each process.
    #[test]
    fn there_are_no_more_columns_than_names() {
        let many = |count: usize| columns(&format!("-o pid{}", ",cmd".repeat(count - 1))).map(|columns| columns.len());
        assert_eq!(many(MOST_COLUMNS), Ok(64));
        assert_eq!(many(16_000), Err("ps argument: there are no 16000 columns to show".to_owned()));
    }

    #[test]
    fn options_choose_the_columns() {
        let full = "UID PID PPID C STIME TTY TIME CMD";
        for args in ["", "-ef", "-e -f", "-fe"] {
            assert_eq!(titles(args).as_deref(), Ok(full), "{args}");
        }
        assert_eq!(titles("aux").as_deref(), Ok("USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND"));
        assert_eq!(titles("-e").as_deref(), Ok("PID TTY TIME COMMAND"));
        for args in ["-o pid,cmd", "-opid,cmd", "-o pid -o cmd", "o pid,cmd", "-eo pid,cmd"] {
            assert_eq!(titles(args).as_deref(), Ok("PID CMD"), "{args}");
        }
    }

    #[test]
    fn what_ps_would_not_do_is_refused() {
        assert_eq!(titles("-o cmd").unwrap_err(), "Couldn't find PID field in ps output");
        assert_eq!(titles("-o").unwrap_err(), "ps column \"\" is not known");
        assert_eq!(titles("-o pid,colour").unwrap_err(), "ps column \"colour\" is not known");
        assert_eq!(
            titles("--forest").unwrap_err(),
            "ps argument \"--forest\" is not supported: there are -ef, aux and -o"
        );
        assert!(titles("-é").is_err() && titles("-oé").is_err());
    }
}
