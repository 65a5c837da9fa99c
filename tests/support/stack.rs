//! `docker/compose.yml` on a real engine. What a registry would give is made of Debian's packages.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::image::{self, Image};
use super::nats::nats_program;
use super::{Sse, builder, free_port, trusting_builder};
use crate::lab::Result;
use crate::lab::command::{command, finish_within, output};

/// How long the stack may take to come up: it waits until both gateways are healthy.
const UP_WITHIN: Duration = Duration::from_secs(120);
const HAPROXY: &str = "gatewatch-test-haproxy";
const LAB_VM: &str = "gatewatch-test-lab-vm";
/// Stands in for the image of NATS: the program that the other tests run, and nothing else.
const NATS: &str = "gatewatch-test-nats";
/// The gateways of the stack.
const GATEWAYS: [&str; 3] = ["gatewatch-a", "gatewatch-b", "gatewatch-c"];
/// Stands in for Docker's own image of HAProxy.
const HAPROXY_DOCKERFILE: &str = "ARG BASE
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends haproxy && rm -rf /var/lib/apt/lists/* /var/cache/apt
CMD [\"haproxy\", \"-W\", \"-db\", \"-f\", \"/usr/local/etc/haproxy/haproxy.cfg\"]
";

/// The gateways, NATS, HAProxy and the lab VM of `docker/compose.yml`; they go with the value.
pub struct Stack {
    project: String,
    port: u16,
    ca: Vec<u8>,
    key: String,
    dir: tempfile::TempDir,
}

impl Stack {
    /// Builds the stand-ins and starts it; the image of the gateways is there.
    pub async fn start(_: &Image) -> Result<Self> {
        let lab_vm = image::build_on_base(LAB_VM, &["docker/lab-vm"], b"");
        let haproxy = image::build_on_base(HAPROXY, &["-"], HAPROXY_DOCKERFILE.as_bytes());
        let (lab_vm, haproxy, nats) = tokio::join!(lab_vm, haproxy, nats());
        lab_vm.and(haproxy)?;
        let nats = nats?;
        let dir = tempfile::tempdir()?;
        let project = format!("gwstack-{}-{:08x}", std::process::id(), rand::random::<u32>());
        let mut this = Self { project, port: free_port(), ca: Vec::new(), key: String::new(), dir };
        let gateway = image::IMAGE;
        let of = |services: &[&str], image: &str| -> String {
            services.iter().map(|service| format!("  {service}: {{image: {image}}}\n")).collect()
        };
        let stand_ins = format!(
            "services:\n{}{}{}{}  haproxy: {{image: {HAPROXY}, user: \"99:99\"}}\n",
            of(&["prepare"], gateway),
            of(&GATEWAYS, gateway),
            of(&["nats-a", "nats-b", "nats-c"], &nats),
            of(&["lab-vm"], LAB_VM),
        );
        fs::write(this.dir.path().join("stand-ins.yml"), stand_ins)?;
        let parts = ["nats-a", "nats-b", "nats-c", "haproxy", "lab-vm"];
        if let Err(why) = this.compose(&[&["up", "--detach", "--no-build"], &parts[..]].concat()).await {
            return Err(format!("{why}\n{}", this.log().await).into());
        }
        this.key = this.exec("gatewatch-a", &["cat", "/shared/admin.key"]).await?.trim().to_owned();
        this.ca = this.exec("gatewatch-a", &["cat", "/shared/tls/dev-ca.pem"]).await?.into_bytes();
        Ok(this)
    }

    fn args(&self) -> Vec<String> {
        let stand_ins = self.dir.path().join("stand-ins.yml").display().to_string();
        let args = ["-p", &self.project, "-f", "docker/compose.yml", "-f", &stand_ins];
        args.map(str::to_owned).into()
    }

    /// Runs `docker-compose` with `args` to its end.
    pub async fn compose(&self, args: &[&str]) -> Result<String> {
        let mut compose = command("docker-compose");
        compose.env("GATEWATCH_PORT", self.port.to_string()).args(self.args()).args(args);
        finish_within(UP_WITHIN, compose, b"").await
    }

    async fn exec(&self, service: &str, args: &[&str]) -> Result<String> {
        self.compose(&[&["exec", "-T", service], args].concat()).await
    }

    /// Which of the gateways calls itself `replica`: its host name, which is a short container id, and its process id.
    pub async fn service_of(&self, replica: &str) -> &'static str {
        for service in GATEWAYS {
            let id = self.compose(&["ps", "-q", service]).await.unwrap_or_else(|why| panic!("{why}"));
            if replica.starts_with(&id[..12]) {
                return service;
            }
        }
        panic!("{replica} is none of them");
    }

    /// What the parts said.
    pub async fn log(&self) -> String {
        self.compose(&["logs", "--no-color"]).await.unwrap_or_else(|why| why.to_string())
    }

    /// A GET through HAProxy; `None` if nobody answers.
    pub async fn get(&self, path: &str) -> Option<reqwest::Response> {
        let client = if self.ca.is_empty() { builder() } else { trusting_builder(&self.ca) };
        let url = format!("https://localhost:{}{path}", self.port);
        client.build().expect("a client").get(url).bearer_auth(&self.key).send().await.ok()
    }

    /// A stream through HAProxy, which goes on behind the event `last`.
    pub async fn stream(&self, last: Option<&str>) -> Sse {
        let last = last.map(|id| format!("&lastEventId={id}")).unwrap_or_default();
        Sse::new(self.get(&format!("/api/benchmark-sse?interval=1{last}")).await.expect("an answer"))
    }

    /// Which VMs are polled, each by the gateway that polls it: its name for others.
    pub async fn polled(&self) -> Option<BTreeMap<String, String>> {
        let told: Value = self.get("/api/replicas").await?.json().await.ok()?;
        let rows = told["replicas"].as_array()?.iter();
        let each = rows.flat_map(|row| row["polls"].as_array().into_iter().flatten().map(|vm| (vm, &row["replica"])));
        each.map(|(vm, by)| Some((vm.as_str()?.to_owned(), by.as_str()?.to_owned()))).collect()
    }
}

/// Makes the stand-in for NATS, unless there is one of this version, and gives its name.
async fn nats() -> Result<String> {
    let program = nats_program().ok_or("no nats-server: run docker/install-nats-server")?;
    let version = output(&program.display().to_string(), ["--version"]).await?;
    let tag = format!("{NATS}:{}", version.trim().rsplit('v').next().unwrap_or("none"));
    if !image::is_there(&tag).await? {
        image::import_alone(&tag, &program, Path::new("usr/local/bin/nats-server")).await?;
    }
    Ok(tag)
}

impl Drop for Stack {
    fn drop(&mut self) {
        let mut compose = command("docker-compose").into_std();
        compose.env("GATEWATCH_PORT", self.port.to_string()).args(self.args());
        let _ = compose.args(["down", "--volumes", "--timeout", "1"]).output();
    }
}
