//! The permissions that docker/nats-permissions.conf gives a user of NATS are enough, and are meant for it.

use std::fs;
use std::time::Duration;

use crate::support::{Gateway, Nats, eventually};

const SOON: Duration = Duration::from_secs(30);
const PERMISSIONS: &str = "docker/nats-permissions.conf";

#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_need_no_more_of_nats_than_the_permissions_shipped() {
    let permissions = fs::read_to_string(PERMISSIONS).expect(PERMISSIONS);
    let user = format!("{{ user: gw, password: secret, permissions: {{\n{permissions}\n}} }}");
    let Some(nats) = Nats::start_with(1, &format!("authorization {{ users: [ {user} ] }}")) else { return };
    let servers: Vec<_> = nats.urls().iter().map(|url| url.replace("nats://", "nats://gw:secret@")).collect();
    let vm = "transport = \"simulated\"\n[vm.simulated]\nspeed = \"20\"\nonce = true\ntasks = 2\n";
    let config = format!(
        "[journal]\nkind = \"jetstream\"\nfleet = \"demo\"\nreplicas = 1\nservers = {servers:?}\n\
         [poll]\ninterval = \"1s\"\nidle_interval = \"1s\"\n[[vm]]\nname = \"one\"\n{vm}[[vm]]\nname = \"two\"\n{vm}"
    );
    let (one, other) = tokio::join!(Gateway::start(&config), Gateway::start(&config));
    let (mut here, mut there) = (one.stream("?interval=1").await, other.stream("?interval=1").await);
    for stream in [&mut here, &mut there] {
        for vm in ["one", "two"] {
            stream.until(SOON, |frame| frame.event == "progress" && frame.text("vm") == vm).await;
        }
    }
    let polled = async |gateway: &Gateway| gateway.metric("gatewatch_leases_held").await;
    eventually(SOON, || async { polled(&one).await + polled(&other).await == 2.0 }).await;
    assert_eq!(one.stop().await, "");
    eventually(SOON, || async { polled(&other).await == 2.0 }).await;
    assert_eq!(other.stop().await, "");
    let log = fs::read_to_string(nats.data(0).with_file_name("log")).expect("the log of the server");
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("Violation")).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
