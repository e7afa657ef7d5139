//! The real binary, as a person or a service manager runs it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test waits for another process

use rustix::fs::OFlags;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::os::fd::{AsRawFd as _, IntoRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use strandline_client::{Client, ClientOptions};
use strandline_runtime::Runtime;

fn strandline(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_strandline"));
    command.args(args);
    // Whatever the machine has set is not what is tried here.
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STRANDLINE_")) {
        command.env_remove(name);
    }
    command
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

/// A pipe that nobody reads.
fn closed() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

/// A pipe that is full, and whose reader is there and does not read.
fn unread() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    let again = format!("/proc/self/fd/{}", writer.as_raw_fd());
    let mut full = File::options().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(again).unwrap();
    while full.write(b"x").is_ok() {}
    // Open for as long as this process is.
    let _ = reader.into_raw_fd();
    writer.into()
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Each is given once, and none is among those that the system gives to connections.
fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(101);
    loop {
        let number = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % 18_000;
        let port = 12_000 + number as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn get(http: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(http).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

fn becomes_ready(http: &str) -> bool {
    comes_true(|| get(http, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")))
}

/// Within some 20 seconds.
fn comes_true(is_so: impl Fn() -> bool) -> bool {
    (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(100));
        is_so()
    })
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_node_whose_log_lines_cannot_be_written_goes_on() {
    let full: fn() -> Stdio = full;
    for stderr in [full, closed, unread] {
        let data = tempfile::tempdir().unwrap();
        let (kafka, http) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let data = data.path().to_str().unwrap();
        let args =
            ["run", "--data", data, "--listen", &kafka, "--http", &http, "--set", "log=trace", "--set", "min_free_bytes=0"];
        let mut node = Running(strandline(&args).stderr(stderr()).stdout(Stdio::null()).spawn().unwrap());
        assert!(becomes_ready(&http), "it does not serve: {:?}", node.0.try_wait());
        let created = strandline(&["topic", "create", "t", "-b", &kafka]).output().unwrap();
        assert!(created.status.success(), "{}", text(&created));
        let tells = || get(&http, "/metrics").is_some_and(|page| page.contains("strandline_log_lines_lost_total "));
        assert!(comes_true(tells), "nothing tells that lines are lost");
        send(&kafka, "t", "a record\n");
        assert_eq!(node.0.try_wait().unwrap(), None);
    }
}

#[test]
fn output_that_cannot_be_written_is_no_panic() {
    let print = ["run", "--print-config"];
    let gone = strandline(&print).stdout(closed()).output().unwrap();
    assert_eq!((gone.status.code(), text(&gone)), (Some(0), String::new()));
    let full_disk = strandline(&print).stdout(full()).output().unwrap();
    assert_eq!(full_disk.status.code(), Some(1));
    assert!(text(&full_disk).starts_with("strandline: standard output cannot be written"), "{}", text(&full_disk));
    let wrong = ["run", "--set", "nonsense=1"];
    for stderr in [full(), closed()] {
        assert_eq!(strandline(&wrong).stderr(stderr).output().unwrap().status.code(), Some(1));
    }
}

/// A node of its own, ready, with its data folder.
fn node(settings: &[&str]) -> (Running, tempfile::TempDir, String, String) {
    let data = tempfile::tempdir().unwrap();
    let (kafka, http) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
    let folder = data.path().to_str().unwrap();
    let mut args = vec!["run", "--data", folder, "--listen", &kafka, "--http", &http, "--set", "min_free_bytes=0"];
    args.extend(settings);
    let node = Running(strandline(&args).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
    assert!(becomes_ready(&http), "it does not serve");
    (node, data, kafka, http)
}

fn ends_within(child: &mut Child, longest: Duration) -> Option<i32> {
    for _ in 0..longest.as_millis() / 50 {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    None
}

#[test]
fn commands_say_plainly_what_is_wrong_and_end() {
    let nowhere = format!("127.0.0.1:{}", free_port());
    let (_node, _data, kafka, _) = node(&["--advertise", &nowhere, "--set", "group_initial_rebalance_delay_ms=0"]);
    // It takes a topic by its own address; whatever is asked of a leader goes to the advertised one.
    let created = strandline(&["topic", "create", "t", "-b", &kafka]).output().unwrap();
    let said = text(&created);
    assert!(said.contains(&format!("{kafka} answers, but tells clients to connect to {nowhere}")), "{said}");
    assert_eq!(created.status.code(), Some(1));
}

#[test]
fn a_member_that_is_asked_to_stop_leaves_its_group() {
    let (_node, _data, kafka, _) = node(&["--set", "group_initial_rebalance_delay_ms=0"]);
    let run = |args: &[&str]| text(&strandline(args).args(["-b", &kafka]).output().unwrap());
    run(&["topic", "create", "t"]);
    let unknown = run(&["topic", "alter", "t", "--set", "retention.mss=1"]);
    assert!(unknown.contains("did you mean `retention.ms`?"), "{unknown}");
    let mut member = Running(strandline(&["consume", "t", "--group", "g", "-b", &kafka]).stdout(Stdio::null()).spawn().unwrap());
    comes_to_say(&kafka, "1 member,");
    // Where it begins is known to the group before anything came: what comes while nobody reads is read later.
    comes_to_say(&kafka, "lag in all: 0");
    signal(&member.0, "-TERM");
    assert_eq!(ends_within(&mut member.0, Duration::from_secs(10)), Some(0));
    let left = run(&["group", "describe", "g"]);
    assert!(!left.contains("1 member"), "{left}");
    send(&kafka, "t", "1\n2\n3\n");
    let read = strandline(&["consume", "t", "--group", "g", "--max", "3", "--idle", "20s", "-b", &kafka]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&read.stdout), "1\n2\n3\n", "{}", text(&read));
}

/// What is said of group `g`, sooner or later.
fn comes_to_say(kafka: &str, what: &str) {
    let describe = || text(&strandline(&["group", "describe", "g", "-b", kafka]).output().unwrap());
    assert!(comes_true(|| describe().contains(what)), "{}", describe());
}

/// A member of group `g` that prints into a file.
fn printing_member(kafka: &str, topics: &[&str], into: &Path) -> Running {
    let mut member = strandline(&["consume", "--group", "g", "--from-beginning", "-b", kafka]);
    Running(member.args(topics).stdout(File::create(into).unwrap()).spawn().unwrap())
}

#[test]
fn each_record_is_printed_once_while_members_come_and_go() {
    let (_node, data, kafka, _) = node(&["--set", "group_initial_rebalance_delay_ms=0"]);
    assert!(strandline(&["topic", "create", "t", "--partitions", "4", "-b", &kafka]).output().unwrap().status.success());
    // A hundred for each partition in turn.
    let send = |hundreds: Range<u32>| {
        for hundred in hundreds {
            let lines: String = (hundred * 100..hundred * 100 + 100).map(|number| format!("{number}\n")).collect();
            let partition = (hundred % 4).to_string();
            send_by(strandline(&["produce", "t", "--quiet", "--partition", &partition, "-b", &kafka]), &lines);
        }
    };
    let printed = ["a", "b"].map(|name| data.path().join(name));
    send(0..1);
    let mut first = printing_member(&kafka, &["t"], &printed[0]);
    comes_to_say(&kafka, "1 member,");
    comes_to_say(&kafka, "lag in all: 0");
    let mut second = printing_member(&kafka, &["t"], &printed[1]);
    comes_to_say(&kafka, "2 members,");
    send(1..5);
    comes_to_say(&kafka, "lag in all: 0");
    signal(&first.0, "-TERM");
    send(5..6);
    assert_eq!(ends_within(&mut first.0, Duration::from_secs(20)), Some(0));
    comes_to_say(&kafka, "1 member,");
    send(6..7);
    comes_to_say(&kafka, "lag in all: 0");
    signal(&second.0, "-TERM");
    assert_eq!(ends_within(&mut second.0, Duration::from_secs(20)), Some(0));
    let [first, second] = printed.map(|path| std::fs::read_to_string(path).unwrap());
    let mut all: Vec<u32> =
        [&first, &second].into_iter().flat_map(|text| text.lines()).map(|line| line.parse().unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..700).collect::<Vec<_>>());
    assert!(second.lines().count() > 200, "the second member read nothing beside the first");
}

#[test]
fn a_member_reads_on_where_one_of_its_topics_is_deleted() {
    let (_node, data, kafka, _) = node(&["--set", "group_initial_rebalance_delay_ms=0"]);
    for topic in ["t", "u"] {
        assert!(strandline(&["topic", "create", topic, "--partitions", "1", "-b", &kafka]).output().unwrap().status.success());
        send(&kafka, topic, "1\n");
    }
    let printed = data.path().join("a");
    let mut member = printing_member(&kafka, &["t", "u"], &printed);
    comes_to_say(&kafka, "1 member,");
    comes_to_say(&kafka, "lag in all: 0");
    assert!(strandline(&["topic", "delete", "u", "-b", &kafka]).output().unwrap().status.success());
    let has_printed = |lines: usize| {
        let all = || std::fs::read_to_string(&printed).unwrap();
        assert!(comes_true(|| all().lines().count() >= lines), "{}", all());
    };
    send(&kafka, "t", "2\n");
    has_printed(3);
    // Beyond its next heartbeats, and once it has asked for its topics again.
    std::thread::sleep(Duration::from_secs(5));
    send(&kafka, "t", "3\n");
    has_printed(4);
    signal(&member.0, "-TERM");
    assert_eq!(ends_within(&mut member.0, Duration::from_secs(20)), Some(0));
}

/// Lines as records.
fn send(kafka: &str, topic: &str, lines: &str) {
    send_by(strandline(&["produce", topic, "--quiet", "-b", kafka]), lines);
}

fn send_by(mut produce: Command, lines: &str) {
    let mut produce = produce.stdin(Stdio::piped()).spawn().unwrap();
    produce.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(produce.wait().unwrap().success());
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn what_could_not_be_printed_is_not_committed() {
    let (_node, _data, kafka, _) = node(&["--set", "group_initial_rebalance_delay_ms=0"]);
    let run = |args: &[&str]| text(&strandline(args).args(["-b", &kafka]).output().unwrap());
    run(&["topic", "create", "t", "--partitions", "1"]);
    send(&kafka, "t", "1\n2\n3\n");
    let args = ["consume", "t", "--group", "g", "--from-beginning", "-b", &kafka];
    let mut member = Running(strandline(&args).stdout(Stdio::piped()).spawn().unwrap());
    let mut printed = BufReader::new(member.0.stdout.take().unwrap());
    let mut line = String::new();
    for _ in 0..3 {
        assert!(printed.read_line(&mut line).unwrap() > 0);
    }
    assert_eq!(line, "1\n2\n3\n");
    drop(printed);
    send(&kafka, "t", &"more\n".repeat(100));
    assert_eq!(ends_within(&mut member.0, Duration::from_secs(20)), Some(0));
    let read = strandline(&["consume", "t", "--group", "g", "--max", "100", "--idle", "20s", "-b", &kafka]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&read.stdout), "more\n".repeat(100), "{}", text(&read));
}

#[test]
fn a_record_that_is_refused_is_said_though_no_other_line_comes() {
    let (_node, _data, kafka, _) = node(&[]);
    assert!(
        strandline(&["topic", "create", "t", "--config", "max.message.bytes=200", "-b", &kafka])
            .output()
            .unwrap()
            .status
            .success()
    );
    let mut produce = strandline(&["produce", "t", "-b", &kafka]);
    let mut produce = Running(produce.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = produce.0.stdin.take().unwrap();
    lines.write_all(format!("{}\n", "x".repeat(1_000)).as_bytes()).unwrap();
    assert_eq!(ends_within(&mut produce.0, Duration::from_secs(20)), Some(1));
    let mut said = String::new();
    produce.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("MESSAGE_TOO_LARGE") && said.contains("max.message.bytes"), "{said}");
    drop(lines);
}

#[test]
fn a_producer_that_goes_slowly_stops_when_it_is_asked_to() {
    let (_node, data, kafka, _) = node(&[]);
    assert!(strandline(&["topic", "create", "t", "-b", &kafka]).output().unwrap().status.success());
    let file = data.path().join("lines");
    std::fs::write(&file, "line\n".repeat(10_000)).unwrap();
    let mut produce = strandline(&["produce", "t", "--rate", "50", "--file", file.to_str().unwrap(), "-b", &kafka]);
    let mut produce = Running(produce.stderr(Stdio::piped()).spawn().unwrap());
    // Once something is there it listens for signals.
    let begun = || {
        let first = strandline(&["consume", "t", "--from-beginning", "--exit-at-end", "-b", &kafka]).output().unwrap();
        !first.stdout.is_empty()
    };
    assert!(comes_true(begun));
    signal(&produce.0, "-INT");
    assert_eq!(ends_within(&mut produce.0, Duration::from_secs(4)), Some(0));
    let mut said = String::new();
    produce.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(said.contains("delivered in"), "{said}");
}

#[test]
fn offsets_from_the_end_begin_with_the_first_there_is() {
    let (_node, _data, kafka, _) = node(&[]);
    let created = strandline(&["topic", "create", "t", "--partitions", "1", "-b", &kafka]).output().unwrap();
    assert!(created.status.success());
    send(&kafka, "t", "1\n2\n3\n");
    let gone = async {
        let client = Client::tcp(Runtime::system(), ClientOptions::new(&kafka)).unwrap();
        client.admin().delete_records(BTreeMap::from([(("t".to_owned(), 0), 1)])).await.unwrap()
    };
    let gone = tokio::runtime::Runtime::new().unwrap().block_on(gone);
    assert!(gone.values().all(Result::is_ok), "{gone:?}");
    for (from, expected) in [("-1", "3\n"), ("-100", "2\n3\n")] {
        let read = strandline(&["consume", "t", "--from-offset", from, "--exit-at-end", "-b", &kafka]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&read.stdout), expected, "{}", text(&read));
    }
}

#[test]
fn a_producer_that_gets_nothing_through_says_why_and_can_be_stopped() {
    let (_node, _data, kafka, _) = node(&["--set", "min_free_bytes=18446744073709551615"]);
    assert!(strandline(&["topic", "create", "t", "-b", &kafka]).output().unwrap().status.success());
    let mut produce = strandline(&["produce", "t", "-b", &kafka]);
    let mut produce = Running(produce.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    produce.0.stdin.take().unwrap().write_all(b"a\n").unwrap();
    let mut said = [0; 512];
    let length = produce.0.stderr.as_mut().unwrap().read(&mut said).unwrap();
    let said = String::from_utf8_lossy(&said[..length]);
    assert!(said.contains("KAFKA_STORAGE_ERROR") && said.contains("trying again"), "{said}");
    signal(&produce.0, "-TERM");
    assert_eq!(ends_within(&mut produce.0, Duration::from_secs(20)), Some(1));
}
