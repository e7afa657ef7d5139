//! The real binary, as a person or a service manager runs it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // a test waits for another process

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

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

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
    let is_ready = |_: &u32| {
        std::thread::sleep(Duration::from_millis(100));
        get(http, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    };
    (0..200).any(|turn| is_ready(&turn))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn a_node_whose_log_lines_cannot_be_written_goes_on() {
    let full: fn() -> Stdio = full;
    for stderr in [full, closed] {
        let data = tempfile::tempdir().unwrap();
        let (kafka, http) = (format!("127.0.0.1:{}", free_port()), format!("127.0.0.1:{}", free_port()));
        let data = data.path().to_str().unwrap();
        let args =
            ["run", "--data", data, "--listen", &kafka, "--http", &http, "--set", "log=trace", "--set", "min_free_bytes=0"];
        let mut node = Running(strandline(&args).stderr(stderr()).stdout(Stdio::null()).spawn().unwrap());
        assert!(becomes_ready(&http), "it does not serve: {:?}", node.0.try_wait());
        let created = strandline(&["topic", "create", "t", "-b", &kafka]).output().unwrap();
        assert!(created.status.success(), "{}", text(&created));
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
