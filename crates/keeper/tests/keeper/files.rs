//! Files of containers that run, and of those that do not.

use std::collections::BTreeMap;
use std::io::Read;
use std::rc::Rc;
use std::time::{Duration, Instant};

use casemate_model::{Container, ErrorClass, ExitStatus, Failure, Isolation, ProcessRef, Signal};
use casemate_tree::{Entry, EntryKind, Mtime, TarReader, TarWriter};
use casemate_wire::{Change, ChangeKind, Client, CopyIn, Download, PathStat, Upload};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::{Bed, Running, both_modes, process};

both_modes![
    of_a_running_container,
    in_dockers_words,
    what_is_no_file_is_not_opened,
    of_one_that_does_not_run,
    changes_and_layers,
    large_ones_byte_for_byte,
    many_small_ones,
    what_is_given_up_leaves_nothing,
    a_copy_outlives_its_container,
    a_removal_does_not_wait_for_a_copy,
    of_a_paused_container,
    while_the_container_plays_tricks,
];

/// A script's work done, and then nothing.
fn idle(script: &str) -> String {
    format!("{script}\necho ready; sleep 100000 & wait")
}

async fn ready(bed: &Bed, script: &str) -> Running {
    bed.running(&bed.container(&idle(script)), "ready").await
}

async fn sh(running: &Running, script: &str) -> String {
    let (_, output, status) = running.exec(&process(&["sh", "-c", script])).await.unwrap();
    assert_eq!(status, ExitStatus::Code(0), "{script}: {output}");
    output
}

/// Each entry of an archive by its name.
type Entries = BTreeMap<String, (Entry, Vec<u8>)>;

fn entries(bytes: &[u8]) -> Entries {
    let mut reader = TarReader::new(bytes);
    let mut found = Entries::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let mut data = Vec::new();
        reader.read_to_end(&mut data).unwrap();
        found.insert(String::from_utf8_lossy(&entry.path).into_owned(), (entry, data));
    }
    found
}

fn names(entries: &Entries) -> Vec<&str> {
    entries.keys().map(String::as_str).collect()
}

async fn whole(mut download: Download) -> Vec<u8> {
    let mut bytes = Vec::new();
    download.read_to_end(&mut bytes).await.unwrap();
    bytes
}

async fn out(client: &Client, path: &str) -> (PathStat, Entries) {
    let (stat, download) = client.copy_out(path).await.unwrap();
    (stat, entries(&whole(download).await))
}

fn file(path: &str, data: &[u8]) -> (Entry, Vec<u8>) {
    let entry = Entry {
        path: path.as_bytes().to_vec(),
        kind: EntryKind::File,
        mode: 0o640,
        uid: 12,
        gid: 34,
        mtime: Mtime { seconds: 1_234_567_890, nanoseconds: 0 },
        xattrs: Vec::new(),
        size: data.len() as u64,
        sparse: None,
    };
    (entry, data.to_vec())
}

fn archive(entries: &[(Entry, Vec<u8>)]) -> Vec<u8> {
    let mut writer = TarWriter::new(Vec::new());
    for (entry, data) in entries {
        writer.begin(entry).unwrap();
        writer.data(data).unwrap();
    }
    writer.finish().unwrap()
}

fn into(path: &str) -> CopyIn {
    CopyIn { path: path.to_owned(), no_overwrite_dir_non_dir: false, copy_uid_gid: false }
}

async fn copy_in(client: &Client, copy: &CopyIn, archive: &[u8]) -> Result<(), Failure> {
    let mut upload = client.copy_in(copy).await?;
    // Whoever refuses it need not take all of it.
    let _ = upload.write_all(archive).await;
    Ok(upload.finish().await?)
}

fn refused<T: std::fmt::Debug>(result: Result<T, impl Into<Failure>>) -> (ErrorClass, String) {
    let Failure { class, message, .. } = result.unwrap_err().into();
    (class, message)
}

async fn of_a_running_container(bed: Rc<Bed>) {
    let script = "mkdir -p /data/sub; echo one > /data/one; ln -s /data/one /data/link; chown 7:8 /data/one
        chmod 4755 /data/one; touch -d @1000000000 /data/one; ln /data/one /data/sub/hard; mknod /data/null c 1 3
        mkfifo /data/fifo; ln -s data /door; ln -s /nowhere /broken; echo secret > /dev/shm/hidden";
    let running = ready(&bed, script).await;
    let client = &running.client;

    let stat = client.stat_path("/data/one").await.unwrap();
    let expected = PathStat {
        name: "one".to_owned(),
        size: 4,
        mode: 0o104_755,
        mtime: (1_000_000_000, 0),
        link_target: String::new(),
    };
    assert_eq!(stat, expected);
    let stat = client.stat_path("/door/link").await.unwrap();
    assert_eq!((stat.name.as_str(), stat.link_target.as_str(), stat.mode >> 12), ("link", "/data/one", 0o12));
    assert_eq!(client.stat_path("/broken").await.unwrap().link_target, "/nowhere");
    // A slash asks for what the link leads to.
    assert_eq!(client.stat_path("/door/").await.unwrap().mode >> 12, 0o4);

    let (stat, all) = out(client, "/data").await;
    assert_eq!((stat.name.as_str(), stat.go_mode()), ("data", 0x8000_01ed));
    let all_names = ["data/", "data/fifo", "data/link", "data/null", "data/one", "data/sub/", "data/sub/hard"];
    assert_eq!(names(&all), all_names);
    let (one, data) = &all["data/one"];
    assert_eq!(
        (one.mode, one.uid, one.gid, one.mtime.seconds, data.as_slice()),
        (0o4755, 7, 8, 1_000_000_000, &b"one\n"[..])
    );
    assert_eq!(all["data/link"].0.kind, EntryKind::Symlink { target: b"/data/one".to_vec() });
    assert_eq!(all["data/sub/hard"].0.kind, EntryKind::HardLink { target: b"data/one".to_vec() });
    assert_eq!(all["data/null"].0.kind, EntryKind::CharDevice { major: 1, minor: 3 });
    assert_eq!(names(&out(client, "/door").await.1), ["door"]);
    assert_eq!(names(&out(client, "/door/one").await.1), ["one"]);
    assert_eq!(names(&out(client, "/data/../data/sub/").await.1), ["sub/", "sub/hard"]);
    assert_eq!(names(&out(client, "/data/sub/.").await.1), ["./", "./hard"]);
    // The engine's files as the container has them, the kernel's not at all.
    assert_eq!(out(client, "/etc/hosts").await.1["hosts"].1, b"127.0.0.1\tlocalhost\n");
    for kernels in ["proc", "sys", "dev"] {
        assert_eq!(names(&out(client, kernels).await.1), [format!("{kernels}/")]);
    }

    let sent = [file("new/way/file", b"from outside"), file("one", b"changed")];
    copy_in(client, &into("/door"), &archive(&sent)).await.unwrap();
    let seen =
        sh(&running, "cat /data/new/way/file /data/one; stat -c ' %a %u %g %Y' /data/one; stat -c %u:%a /data/new")
            .await;
    assert_eq!(seen, "from outsidechanged 640 12 34 1234567890\n0:755\n");
    let for_user = CopyIn { copy_uid_gid: true, ..into("/data") };
    copy_in(client, &for_user, &archive(&sent)).await.unwrap();
    assert_eq!(sh(&running, "stat -c %u:%g /data/one").await, "12:34\n", "the container has no user of its own");
    running.end().await;

    let mut container = bed.container(&idle(""));
    container.init.user = "1000:50".parse().unwrap();
    let running = bed.running(&container, "ready").await;
    copy_in(&running.client, &CopyIn { path: "/tmp".to_owned(), ..for_user }, &archive(&sent)).await.unwrap();
    assert_eq!(sh(&running, "stat -c %u:%g /tmp/one").await, "1000:50\n");
    running.end().await;
}

async fn in_dockers_words(bed: Rc<Bed>) {
    let running = ready(&bed, "mkdir -p /d/dir; touch /d/file").await;
    let client = &running.client;
    let id = running.paths.dir.file_name().unwrap().to_string_lossy().into_owned();
    let missing = |path: &str| (ErrorClass::NotFound, format!("Could not find the file {path} in container {id}"));
    assert_eq!(refused(client.stat_path("/no/such").await), missing("/no/such"));
    assert_eq!(refused(client.copy_out("no").await.map(drop)), missing("no"));
    assert_eq!(refused(client.copy_in(&into("/no/such")).await), missing("/no/such"));
    let no_directory = (ErrorClass::Internal, "lstat /d/file/: not a directory".to_owned());
    assert_eq!(refused(client.stat_path("/d/file/").await), no_directory);
    let no_point = (ErrorClass::InvalidArgument, "extraction point is not a directory".to_owned());
    assert_eq!(refused(client.copy_in(&into("/d/file")).await), no_point);
    let strict = CopyIn { no_overwrite_dir_non_dir: true, ..into("/d/dir/..") };
    let result = copy_in(client, &strict, &archive(&[file("dir", b"x")])).await;
    let message = r#"cannot overwrite directory "dir" with non-directory "/d""#.to_owned();
    assert_eq!(refused(result), (ErrorClass::Internal, message));
    let result = copy_in(client, &into("/d"), &archive(&[file("../out", b"x")])).await;
    assert_eq!(refused(result).0, ErrorClass::Protocol);
    let result = copy_in(client, &into("/d"), &[b'x'; 100_000]).await;
    assert_eq!(refused(result).0, ErrorClass::Protocol);
    // Cut off in the middle of a file.
    let result = copy_in(client, &into("/d"), &archive(&[file("a", &[1; 5000])])[..3000]).await;
    assert_eq!(refused(result).0, ErrorClass::Protocol);
    // What is mounted there is not replaced.
    let result = copy_in(client, &into("/etc"), &archive(&[file("hosts", b"x")])).await;
    assert!(refused(result).1.contains("busy"));
    assert_eq!(sh(&running, "cat /etc/hosts; ls /d").await.lines().next(), Some("127.0.0.1\tlocalhost"));
    running.end().await;

    let container = Container { read_only: true, ..bed.container(&idle("")) };
    let running = bed.running(&container, "ready").await;
    let read_only = (ErrorClass::InvalidArgument, "container rootfs is marked read-only".to_owned());
    assert_eq!(refused(running.client.copy_in(&into("/")).await), read_only);
    assert_eq!(refused(running.client.copy_in(&into("/nowhere")).await).0, ErrorClass::NotFound);
    running.end().await;
}

/// Nobody waits for a pipe without a writer, and no name is too odd.
async fn what_is_no_file_is_not_opened(bed: Rc<Bed>) {
    let script = "mkdir /odd; cd /odd; mkfifo fifo; mknod disk b 259 7; mknod tty c 5 0
        touch \"$(printf 'a\\nb')\" \"$(printf '\\377\\001')\" -- -rf ' '
        long=$(printf '%0255d' 0); mkdir -p $long/$long/$long; echo deep > $long/$long/$long/$long";
    let running = ready(&bed, script).await;
    let (_, all) = out(&running.client, "/odd").await;
    assert_eq!(all.len(), 12);
    let kind = |name: &str| all[&format!("odd/{name}")].0.kind.clone();
    assert_eq!((kind("fifo"), kind("disk")), (EntryKind::Fifo, EntryKind::BlockDevice { major: 259, minor: 7 }));
    let deep = vec!["0".repeat(255); 4].join("/");
    assert_eq!(all[&format!("odd/{deep}")].1, b"deep\n");
    // There and back.
    let (_, download) = running.client.copy_out("/odd/.").await.unwrap();
    let bytes = whole(download).await;
    sh(&running, "mkdir /copy").await;
    copy_in(&running.client, &into("/copy"), &bytes).await.unwrap();
    let listing = "find . -exec stat -c '%n %F %a %u %g %t %T' {} + | sort | md5sum";
    let listed = |dir: &str| format!("cd /{dir}; chmod 755 .; {listing}");
    assert_eq!(sh(&running, &listed("copy")).await, sh(&running, &listed("odd")).await);
    running.end().await;
}

/// Its state, its exit code and its log are what they were.
async fn of_one_that_does_not_run(bed: Rc<Bed>) {
    // Before its first start.
    let container = bed.container("cat /before; echo written > /after; exit 3");
    let visited = bed.open_files(&container).await.unwrap();
    copy_in(&visited.client, &into("/"), &archive(&[file("before", b"copied in\n")])).await.unwrap();
    assert_eq!(out(&visited.client, "/etc/hostname").await.1["hostname"].1, b"box\n");
    assert_eq!(visited.client.changes().await.unwrap().len(), 1);
    assert_eq!(refused(visited.client.start().await).0, ErrorClass::Conflict);
    assert_eq!(refused(visited.client.processes().await).0, ErrorClass::Conflict);
    visited.leave().await;
    assert!(!bed.paths().state().exists());

    let (output, exited) = bed.run(&container).await.unwrap();
    assert_eq!((output.as_str(), exited.status), ("copied in\n", ExitStatus::Code(3)));
    let state = bed.state();
    let log = std::fs::read(bed.paths().log()).unwrap();

    // After its end: two at once, one that is given up, and a copy in.
    let visited = bed.open_files(&container).await.unwrap();
    let other = bed.connect().await;
    let ((_, first), (_, second)) = tokio::join!(out(&visited.client, "/after"), out(&other, "/before"));
    assert_eq!((first["after"].1.as_slice(), second["before"].1.as_slice()), (&b"written\n"[..], &b"copied in\n"[..]));
    drop(other.copy_out("/").await.unwrap());
    copy_in(&other, &into("/"), &archive(&[file("before", b"again\n")])).await.unwrap();
    drop(other);
    visited.shut_down().await;
    assert_eq!(bed.state(), state);

    // A container that cannot be prepared is no other than before.
    let mut wrong = container.clone();
    wrong.init.cwd = "nowhere".to_owned();
    assert_eq!(refused(bed.open_files(&wrong).await.map(|_| ())).0, ErrorClass::InvalidArgument);
    assert_eq!((bed.state(), std::fs::read(bed.paths().log()).unwrap()), (state, log));

    let (output, _) = bed.run(&container).await.unwrap();
    assert_eq!(output, "again\n");
    let read_only = Container { read_only: true, ..container };
    let visited = bed.open_files(&read_only).await.unwrap();
    assert_eq!(refused(visited.client.copy_in(&into("/")).await).0, ErrorClass::InvalidArgument);
    visited.leave().await;
}

async fn changes_and_layers(bed: Rc<Bed>) {
    let script = "mkdir /new; echo x > /new/file; rm /bin/vi; echo more >> /etc/passwd; mkdir /tmp/d; chmod 711 /root
        ln -s new /alias; truncate -s 1024G /new/holes";
    let running = ready(&bed, script).await;
    let client = &running.client;
    let line = |Change { kind, path }: Change| match kind {
        ChangeKind::Modified => format!("C {path}"),
        ChangeKind::Added => format!("A {path}"),
        ChangeKind::Deleted => format!("D {path}"),
    };
    let changes: Vec<String> = client.changes().await.unwrap().into_iter().map(line).collect();
    let expected = [
        "A /alias",
        "C /bin",
        "D /bin/vi",
        "C /etc",
        "C /etc/passwd",
        "A /new",
        "A /new/file",
        "A /new/holes",
        "C /root",
        "C /tmp",
        "A /tmp/d",
    ];
    assert_eq!(changes, expected);

    let bytes = whole(client.layer().await.unwrap()).await;
    assert!(bytes.len() < 100_000, "a hole is no data: {}", bytes.len());
    let layer = entries(&bytes);
    let expected = [
        "alias",
        "bin/",
        "bin/.wh.vi",
        "etc/",
        "etc/passwd",
        "new/",
        "new/file",
        "new/holes",
        "root/",
        "tmp/",
        "tmp/d/",
    ];
    assert_eq!(names(&layer), expected);
    assert_eq!((layer["root/"].0.mode, layer["new/holes"].0.size), (0o711, 1 << 40));
    assert!(String::from_utf8_lossy(&layer["etc/passwd"].1).ends_with("more\n"));
    sh(&running, "rm /new/holes").await;

    let root = entries(&whole(client.export().await.unwrap()).await);
    assert!(root.contains_key("bin/busybox") && !root.contains_key("bin/vi"));
    assert_eq!(root["new/file"].1, b"x\n");
    let within = |dir: &str| root.keys().filter(|name| name.starts_with(dir)).count();
    assert_eq!((within("proc/"), within("sys/"), within("dev/")), (1, 1, 1));
    // What is the engine's is no part of it.
    assert!(root.get("etc/hosts").is_none_or(|(_, data)| data.is_empty()));
    running.end().await;
}

fn some_bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

async fn large_ones_byte_for_byte(bed: Rc<Bed>) {
    let running = ready(&bed, "mkdir /d").await;
    let bytes = some_bytes((48 << 20) + 77);
    copy_in(&running.client, &into("/d"), &archive(&[file("large", &bytes)])).await.unwrap();
    let (stat, all) = out(&running.client, "/d/large").await;
    assert_eq!(stat.size, bytes.len() as u64);
    assert!(all["large"].1 == bytes);
    running.end().await;
}

async fn many_small_ones(bed: Rc<Bed>) {
    const COUNT: usize = 20_000;
    let running = ready(&bed, "mkdir /d").await;
    let files: Vec<_> = (0..COUNT).map(|n| file(&format!("{}/file-{n}", n % 7), b"")).collect();
    copy_in(&running.client, &into("/d"), &archive(&files)).await.unwrap();
    assert_eq!(out(&running.client, "/d").await.1.len(), COUNT + 8);
    let changes = running.client.changes().await.unwrap();
    assert_eq!(changes.iter().filter(|change| change.path.contains("/file-")).count(), COUNT);
    running.end().await;
}

/// Waits until the keeper has no child but the container's init. (Under hyperv
/// isolation those who work are the agent's children, which nobody outside sees.)
async fn until_idle(bed: &Bed, running: &Running) {
    if bed.isolation == Isolation::Hyperv {
        return;
    }
    let keeper = running.process.id();
    let children = || std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while children().split_whitespace().count() > 1 {
        assert!(Instant::now() < deadline, "still at work: {}", children());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn what_is_given_up_leaves_nothing(bed: Rc<Bed>) {
    let running = ready(&bed, "mkdir /d; truncate -s 8G /d/endless").await;
    let client = bed.connect().await;
    let (_, mut download) = client.copy_out("/d").await.unwrap();
    download.read_exact(&mut [0; 100_000]).await.unwrap();
    drop(download);
    until_idle(&bed, &running).await;

    let begun = async |client: &Client| -> Upload {
        let mut upload = client.copy_in(&into("/d")).await.unwrap();
        let bytes = archive(&[file("half", &[1; 1 << 20])]);
        upload.write_all(&bytes[..bytes.len() / 2]).await.unwrap();
        upload.flush().await.unwrap();
        upload
    };
    drop(begun(&client).await);
    until_idle(&bed, &running).await;

    // The whole client goes, with one of each under way.
    let upload = begun(&client).await;
    let (_, mut download) = client.copy_out("/d").await.unwrap();
    download.read_exact(&mut [0; 100_000]).await.unwrap();
    drop((client, upload, download));
    until_idle(&bed, &running).await;
    assert_eq!(sh(&running, "ls /d").await, "endless\nhalf\n");
    assert_eq!(out(&running.client, "/etc/hostname").await.1["hostname"].1, b"box\n");
    running.end().await;
}

async fn a_copy_outlives_its_container(bed: Rc<Bed>) {
    let running =
        ready(&bed, "mkdir /d; dd if=/dev/urandom of=/d/file bs=1M count=8 2>/dev/null; md5sum < /d/file > /d/sum")
            .await;
    let (_, mut download) = running.client.copy_out("/d").await.unwrap();
    let mut bytes = vec![0; 1000];
    download.read_exact(&mut bytes).await.unwrap();
    running.client.signal(&ProcessRef::Init, Signal::KILL).await.unwrap();
    running.client.wait(&ProcessRef::Init).await.unwrap();
    assert_eq!(bed.state().exit_code, Some(137));
    assert_eq!(refused(running.client.copy_out("/d").await.map(drop)).0, ErrorClass::Conflict);
    download.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(entries(&bytes)["d/file"].1.len(), 8 << 20);
    running.exited().await;
}

async fn a_removal_does_not_wait_for_a_copy(bed: Rc<Bed>) {
    let running = ready(&bed, "mkdir /d; truncate -s 8G /d/endless").await;
    let other = bed.connect().await;
    let (_, mut download) = other.copy_out("/d").await.unwrap();
    download.read_exact(&mut [0; 1000]).await.unwrap();
    let started = Instant::now();
    running.end().await;
    assert!(started.elapsed() < Duration::from_secs(30));
    let mut rest = Vec::new();
    let broken = download.read_to_end(&mut rest).await.unwrap_err();
    assert!(broken.get_ref().is_some_and(|inner| inner.is::<Failure>()), "a broken copy looks whole: {broken}");
}

async fn of_a_paused_container(bed: Rc<Bed>) {
    let script =
        "trap '' TERM; i=0; echo $i > /tmp/count; echo ready; while :; do i=$((i+1)); echo $i > /tmp/count; done";
    let running = bed.running(&bed.container(script), "ready").await;
    running.client.pause().await.unwrap();
    let count = async || out(&running.client, "/tmp/count").await.1["count"].1.clone();
    let first = count().await;
    copy_in(&running.client, &into("/tmp"), &archive(&[file("new", b"x")])).await.unwrap();
    let layer = entries(&whole(running.client.layer().await.unwrap()).await);
    assert_eq!(layer["tmp/new"].1, b"x");
    // It stood still all the time.
    assert_eq!(count().await, first);
    assert!(bed.state().paused);
    // With a copy under way it can be paused again, and go on.
    running.client.unpause().await.unwrap();
    sh(&running, "truncate -s 1G /tmp/endless").await;
    let (_, mut download) = running.client.copy_out("/tmp").await.unwrap();
    download.read_exact(&mut [0; 100_000]).await.unwrap();
    running.client.pause().await.unwrap();
    download.read_exact(&mut vec![0; 8 << 20]).await.unwrap();
    drop(download);
    running.client.unpause().await.unwrap();
    sh(&running, "rm /tmp/endless").await;
    running.end().await;
}

/// Everything that the container does with its own files stays with them.
async fn while_the_container_plays_tricks(bed: Rc<Bed>) {
    let script = "mkdir -p /d/a /safe; echo safe > /safe/file; echo ready
        while :; do
            mv /d/a /d/b; ln -s /proc/1/root /d/a; rm /d/a; ln -s / /d/a; rm /d/a; mv /d/b /d/a
            mkfifo /d/a/f; rm /d/a/f; echo x > /d/a/f; rm -f /d/a/f; mknod /d/a/f c 5 1; rm -f /d/a/f
        done 2>/dev/null";
    let running = bed.running(&bed.container(script), "ready").await;
    let sent = archive(&[file("a/f", b"overwritten"), file("a/safe/file", b"overwritten"), file("a/sub/x", b"x")]);
    for _ in 0..20 {
        let (_, download) = running.client.copy_out("/d").await.unwrap();
        let all = entries(&whole(download).await);
        // Whatever it found, it was in there.
        assert!(all.keys().all(|name| name.starts_with("d/")));
        assert!(!all.contains_key("d/a/bin/") && !all.contains_key("d/a/etc/"), "a link was followed");
        let _ = copy_in(&running.client, &into("/d"), &sent).await;
    }
    assert_eq!(sh(&running, "cat /safe/file").await, "safe\n");
    running.end().await;
}
