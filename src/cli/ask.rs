//! How the operator's commands ask: a running node over its HTTP port, or one that is started on a folder for the question.

use crate::node::{Node, NodeOptions, Upkeep};
use anyhow::{Context as _, anyhow, bail};
use std::path::{Path, PathBuf};
use std::time::Duration;
use strandline_config::Settings;

/// How long a question may be without an answer. What is read for one lies in memory or in a few files.
const PATIENCE: Duration = Duration::from_secs(10);
/// Characters of a refusal that are shown.
const SAID: usize = 2_000;

/// Where the node or the folder is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Where {
    /// A running node's HTTP address
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9644", value_parser = host_and_port, conflicts_with = "data")]
    http: String,
    /// A folder that no node works on just now: one is started on it for this command alone, which does no upkeep of its own
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

fn host_and_port(text: &str) -> Result<String, String> {
    match strandline_config::host_and_port(text) {
        Some(_) if !text.contains('/') => Ok(text.to_owned()),
        _ => Err("write HOST:PORT, such as 127.0.0.1:9644".to_owned()),
    }
}

/// What came is no answer of a node.
struct NotOurs<'a>(&'a str);

impl std::fmt::Display for NotOurs<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "what answers on {} is no node of strandline: name the node's HTTP address with --http", self.0)
    }
}

/// An answer in JSON.
pub(super) fn parsed<T: serde::de::DeserializeOwned>(answer: &str) -> anyhow::Result<T> {
    serde_json::from_str(answer).context("the answer cannot be read; is it a node of this version that answers?")
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Method {
    Get,
    Post,
}

impl Where {
    /// Asks the node; with `--data`, one that is started on the folder for this question alone and serves no Kafka client.
    pub(super) fn ask(&self, method: Method, path: &str) -> anyhow::Result<String> {
        self.ask_with(method, path, text)
    }

    /// The same, and `read` takes the answer as it comes.
    pub(super) fn ask_with<T>(
        &self,
        method: Method,
        path: &str,
        read: impl FnOnce(ureq::Body) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        match &self.data {
            None => read(request(&self.http, method, path)?),
            Some(data) => with_node(data, |address| read(request(&address, method, path)?)),
        }
    }
}

fn with_node<T>(data: &Path, ask: impl FnOnce(String) -> anyhow::Result<T>) -> anyhow::Result<T> {
    if !data.join("format").try_exists().with_context(|| format!("cannot look into {}", data.display()))? {
        bail!("{} is no folder of strandline (it has no file `format`)", data.display());
    }
    strandline_telemetry::start_logs("warn", strandline_config::LogFormat::Text)?;
    let runtime = super::small_runtime()?;
    let settings = Settings {
        data: data.to_owned(),
        listen: "127.0.0.1:0".to_owned(),
        http: Some("127.0.0.1:0".to_owned()),
        ..Settings::default()
    };
    let node = runtime.block_on(Node::start(NodeOptions { settings, upkeep: Upkeep::Asked }))?;
    let address = node.http_address().context("the node has no HTTP port")?.to_string();
    let answer = ask(address);
    runtime.block_on(node.stop());
    answer
}

fn request(address: &str, method: Method, path: &str) -> anyhow::Result<ureq::Body> {
    let url = format!("http://{address}{path}");
    // A seal of everything takes as long as it takes; a node that is gone is found by the connection.
    let patience = match method {
        Method::Get => Some(PATIENCE),
        Method::Post => None,
    };
    let agent = ureq::Agent::config_builder()
        .timeout_connect(Some(Duration::from_secs(5)))
        .timeout_recv_response(patience)
        .http_status_as_error(false)
        .build()
        .new_agent();
    let sent = match method {
        Method::Get => agent.get(&url).call(),
        Method::Post => agent.post(&url).send_empty(),
    };
    if let Err(ureq::Error::Timeout(ureq::Timeout::RecvResponse)) = sent {
        bail!(
            "{url}: there is no answer within {PATIENCE:?}; the node is busy or stands still, its log and its disk may say why"
        );
    }
    let response = sent.map_err(|error| {
        anyhow!(
            "no node answers on http://{address} ({error}): start one with `strandline run`, name it with --http, or name a folder with --data"
        )
    })?;
    let succeeded = response.status().is_success();
    let is_page = response.headers().get("content-type").is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
    if is_page {
        bail!("{}", NotOurs(&url));
    }
    let body = response.into_body();
    if !succeeded {
        let said: String = text(body)?.trim().chars().take(SAID).collect();
        bail!("{}", if said.is_empty() { NotOurs(&url).to_string() } else { said });
    }
    Ok(body)
}

fn text(mut body: ureq::Body) -> anyhow::Result<String> {
    body.with_config().limit(1 << 30).read_to_string().context("the answer could not be read")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    #[test]
    fn an_address_has_a_host_and_a_port_and_nothing_else() {
        for right in ["127.0.0.1:9644", "[::1]:9644", "node.example.org:80"] {
            assert_eq!(host_and_port(right).as_deref(), Ok(right));
        }
        for wrong in ["http://127.0.0.1:9644", "127.0.0.1", ":9644", "127.0.0.1:9644/", "127.0.0.1:96440", ""] {
            assert!(host_and_port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_page_of_another_server_is_not_shown() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        #[allow(clippy::disallowed_methods)] // a thread of the test
        let server = std::thread::Builder::new().spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]).unwrap();
            let page =
                "HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>";
            stream.write_all(page.as_bytes()).unwrap();
        });
        let error = request(&address, Method::Get, "/bronze").unwrap_err().to_string();
        assert!(error.contains("no node of strandline") && !error.contains("<html>"), "{error}");
        server.unwrap().join().unwrap();
    }
}
