//! Real NATS servers with JetStream: one, or a cluster of three, on loopback.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gatewatch::config::NatsConfig;
use gatewatch::journal::Engine;
use gatewatch::model::Secret;
use rustix::process::{Pid, Signal, kill_process};

use super::free_port;
use crate::lab::command::find;
use crate::lab::skip;

/// Servers that end with the value.
pub struct Nats {
    nodes: Vec<Node>,
    _dir: tempfile::TempDir,
    more: String,
}

struct Node {
    child: Option<Child>,
    name: String,
    dir: PathBuf,
    port: u16,
    routes: Option<(u16, String)>,
}

/// The program, where `make install-test` puts it or on the path.
pub fn nats_program() -> Option<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/nats/bin/nats-server");
    if own.is_file() { Some(own) } else { find("nats-server") }
}

impl Nats {
    /// Starts `nodes` servers (1 or 3) for the running test. `None`: there is no server here, and the test is skipped.
    pub fn start(nodes: usize) -> Option<Self> {
        Self::start_with(nodes, "")
    }

    /// The same, with `more` lines in each one's configuration.
    pub fn start_with(nodes: usize, more: &str) -> Option<Self> {
        if nats_program().is_none() {
            skip("no nats-server: run docker/install-nats-server");
            return None;
        }
        let dir = tempfile::tempdir().expect("a folder");
        let ports: Vec<(u16, u16)> = (0..nodes).map(|_| (free_port(), free_port())).collect();
        let routes: Vec<String> = ports.iter().map(|(_, route)| format!("nats://127.0.0.1:{route}")).collect();
        let node = |(i, (port, route)): (usize, &(u16, u16))| {
            let (name, routes) = (format!("n{i}"), routes.join(", "));
            let routes = (nodes > 1).then_some((*route, routes));
            Node { child: None, dir: dir.path().join(&name), name, port: *port, routes }
        };
        let nodes = ports.iter().enumerate().map(node).collect();
        let mut this = Self { nodes, _dir: dir, more: more.to_owned() };
        (0..this.nodes.len()).for_each(|i| this.restart(i));
        Some(this)
    }

    /// Starts server `i` again, with what it kept.
    pub fn restart(&mut self, i: usize) {
        let (node, more) = (&mut self.nodes[i], &self.more);
        fs::create_dir_all(&node.dir).expect("a folder");
        let store = node.dir.join("data");
        let mut config = format!(
            "server_name: {}\nlisten: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{}\" }}\n{more}\n",
            node.name,
            node.port,
            store.display()
        );
        if let Some((port, routes)) = &node.routes {
            // No client learns of servers that it was not told of: one behind a test's own link stays behind it.
            let cluster = format!(
                "cluster {{ name: test, listen: \"127.0.0.1:{port}\", routes: [{routes}], no_advertise: true }}\n"
            );
            config.push_str(&cluster);
        }
        let file = node.dir.join("nats.conf");
        fs::write(&file, config).expect("written");
        let log = fs::File::options().create(true).append(true).open(node.dir.join("log")).expect("a log file");
        let child = Command::new(nats_program().expect("found before"))
            .arg("-c")
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("nats-server runs");
        node.child = Some(child);
    }

    /// Sends server `i` a signal; one that ends it is waited for.
    pub fn signal(&mut self, i: usize, signal: Signal) {
        let node = &mut self.nodes[i];
        let Some(child) = &mut node.child else { return };
        kill_process(Pid::from_child(child), signal).expect("our own child");
        if matches!(signal, Signal::KILL | Signal::TERM) {
            child.wait().expect("our own child");
            node.child = None;
        }
    }

    /// The process of server `i`, which runs.
    #[allow(dead_code, reason = "benches want it")]
    pub fn pid(&self, i: usize) -> u32 {
        self.nodes[i].child.as_ref().map_or(0, Child::id)
    }

    /// Kills every server and what it kept.
    pub fn forget(&mut self) {
        for i in 0..self.nodes.len() {
            self.signal(i, Signal::KILL);
            fs::remove_dir_all(self.nodes[i].dir.join("data")).expect("removed");
        }
    }

    /// Where server `i` keeps its streams.
    pub fn data(&self, i: usize) -> PathBuf {
        self.nodes[i].dir.join("data")
    }

    /// The URL of each server.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("nats://127.0.0.1:{}", node.port)).collect()
    }

    /// What a configuration says of a fleet on these servers.
    pub fn config(&self, fleet: &str) -> NatsConfig {
        NatsConfig {
            servers: self.urls().into_iter().map(Secret::new).collect(),
            fleet: fleet.to_owned(),
            replicas: self.nodes.len(),
            ca: None,
            certificate: None,
            credentials: None,
        }
    }

    /// A connection to the stream of `fleet`.
    pub async fn engine(&self, fleet: &str) -> Engine {
        gatewatch::server::install_crypto();
        Engine::open(&self.config(fleet), "a test").await.expect("NATS is there")
    }

    /// The server that leads `stream`.
    pub async fn leader(&self, engine: &Engine, stream: &str) -> usize {
        for _ in 0..200 {
            let found = engine.context().get_stream(stream).await;
            let leader = found.ok().and_then(|stream| stream.cached_info().cluster.clone()?.leader);
            if let Some(i) = leader.and_then(|leader| self.nodes.iter().position(|node| node.name == leader)) {
                return i;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("{stream} has no leader");
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().filter_map(|node| node.child.as_mut()) {
            // One that is stopped does not end by anything else.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
