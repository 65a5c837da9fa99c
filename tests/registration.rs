//! A VM registered over the API is watched, and still there after a restart.

use serde_json::{Value, json};

use crate::support::Gateway;

async fn register(gateway: &Gateway, body: &Value) -> (u16, Value) {
    let request = gateway.anonymous().post(gateway.url("/api/vms/register")).bearer_auth(gateway.key()).json(body);
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.json().await.expect("JSON"))
}

fn vm(name: &str) -> Value {
    json!({"name": name, "ssh_host": "127.0.0.1", "ssh_user": "nobody", "vnc_port": 8006, "waa_port": 5000,
        "docker_container": "winarena", "internal_ip": "127.0.0.2"})
}

async fn names(gateway: &Gateway) -> Vec<String> {
    let vms = gateway.json("/api/vms").await;
    vms.as_array().expect("a list").iter().map(|vm| vm["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_vm_outlives_a_restart() {
    let known_hosts = tempfile::NamedTempFile::new().expect("a file");
    let section = format!("[register]\nknown_hosts = {:?}\n", known_hosts.path().display().to_string());
    let gateway = Gateway::start(&section).await;
    let (status, answer) = register(&gateway, &vm("added")).await;
    assert_eq!(
        (status, &answer["status"], &answer["vm"]["name"]),
        (200, &"success".into(), &"added".into()),
        "{answer}"
    );
    assert_eq!(names(&gateway).await, ["added"]);
    assert_eq!(register(&gateway, &vm("added")).await.0, 409);
    let dir = gateway.stop_keeping_data().await;
    let again = Gateway::start_in(dir, &section, "mode = \"off\"").await;
    crate::support::eventually(std::time::Duration::from_secs(5), || async { names(&again).await == ["added"] }).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g65_what_could_become_an_argument_of_ssh_or_a_word_of_a_shell_is_refused() {
    let gateway = Gateway::start("").await;
    let mut bad = Vec::new();
    for (field, value) in [
        ("name", "a; rm -rf /"),
        ("ssh_host", "-oProxyCommand=id"),
        ("ssh_host", "a b"),
        ("ssh_user", "-x"),
        ("ssh_user", "root; id"),
        ("internal_ip", "$(id)"),
        ("docker_container", "a\nb"),
    ] {
        let mut vm = vm("fine");
        vm[field] = value.into();
        bad.push(vm);
    }
    for body in bad {
        let (status, answer) = register(&gateway, &body).await;
        assert!((400..500).contains(&status), "{body} gave {status} {answer}");
    }
    assert!(names(&gateway).await.is_empty());
    gateway.stop().await;
}
