//! Pollers and recorders on a journal that fails as told.

mod flaky;
mod leases;
mod outage;
mod pulse;
mod restart;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use self::flaky::{Flaky, Mood};
use super::commits::Identity;
use super::recorder::Recorder;
use super::{Fleet, Pulse, Shared};
use crate::config::{Config, MapEnv, VmConfig};
use crate::event::{DurableEvent, Position};
use crate::journal::{Journal, LiveReceiver, LiveReport, live_bus};
use crate::lifecycle::{Readiness, Tasks};
use crate::model::{Demand, VmFacts, VmId, VmName};
use crate::replicas::Leases;
use crate::telemetry::{Metrics, PollMetrics, Traces};
use crate::tracker::TrackerConfig;

const LOG: &str = "/tmp/waa_benchmark.log";

fn name(vm: &str) -> VmName {
    VmName::new(vm).expect("a name")
}

/// Every durable event so far.
async fn told(journal: &Flaky) -> Vec<DurableEvent> {
    let page = journal.read(Position::START, journal.bounds().newest, 10_000).await.expect("memory reads");
    page.events.iter().map(|stored| stored.event.clone()).collect()
}

async fn recorder(journal: &Arc<Flaky>, metrics: &PollMetrics) -> Recorder {
    let vm_id = journal.inner.vm_id(&name("a")).await.expect("an identity");
    let who = Identity { vm: name("a"), vm_id, facts: Arc::new(VmFacts::default()) };
    let config = TrackerConfig { total_tasks: None, sources: vec![LOG.into()], has_power: false };
    let journal = Arc::clone(journal) as Arc<dyn Journal>;
    Recorder::resume(who, config, 0, journal, metrics.clone()).await.expect("what it wrote itself")
}

/// A simulated VM that runs its benchmark, slowly, and whatever else `rest` says.
fn running(vm: &str, rest: &str) -> VmConfig {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let text = format!(
        "auth.none = true\n[[vm]]\nname = \"{vm}\"\ntransport = \"simulated\"\n{rest}\n[vm.simulated]\nstarted = \
         \"{now}\"\nspeed = \"0.1\"\nstart_at = \"60s\"\n"
    );
    Config::parse(&text, "test", &MapEnv::default()).expect("a configuration").vms.remove(0)
}

/// A fleet, and the hub's end of its bus.
struct Lab {
    fleet: Fleet,
    bus: LiveReceiver,
    readiness: Readiness,
    tasks: Tasks,
    metrics: PollMetrics,
    demand: watch::Sender<Arc<Demand>>,
    _dir: tempfile::TempDir,
}

impl Lab {
    fn new(journal: &Arc<Flaky>) -> Self {
        Self::with(journal, Leases::alone())
    }

    fn with(journal: &Arc<Flaky>, leases: Leases) -> Self {
        let (live, bus) = live_bus();
        let (demand, wishes) = watch::channel(Arc::default());
        let dir = tempfile::tempdir().expect("a folder");
        let readiness = Readiness::new();
        readiness.started();
        let tasks = Tasks::new(&readiness);
        let metrics = Metrics::new().polls;
        let shared = Shared {
            journal: Arc::clone(journal) as Arc<dyn Journal>,
            live,
            leases,
            demand: wishes,
            metrics: metrics.clone(),
            idle_interval: Duration::from_secs(30),
            traces: Traces::default(),
            timeout: Duration::from_secs(10),
            pulse: Pulse::default(),
        };
        let fleet = Fleet::new(shared, tasks.clone(), readiness.clone(), dir.path().to_owned());
        Self { fleet, bus, readiness, tasks, metrics, demand, _dir: dir }
    }

    async fn next(&mut self) -> LiveReport {
        self.bus.next().await.expect("the fleet lives")
    }

    fn not_ready(&self) -> Vec<(String, String)> {
        self.readiness.watch().borrow().clone()
    }

    async fn stop(mut self) {
        self.fleet.stop().await;
        drop(self.demand);
        assert_eq!(self.tasks.shutdown(Duration::from_secs(1)).await, Vec::<String>::new());
    }
}
