//! NATS behind TLS and credentials: what the configuration names lets a replica in, anything else says what to do, and no
//! secret is in what it says.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gatewatch::config::{NatsConfig, NatsCredentials};
use gatewatch::journal::{Engine, EngineError};
use gatewatch::model::Secret;
use gatewatch::server::dev_certificate;
use nkeys::{KeyPair, KeyPairType};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::Nats;

/// Opens the stream; an error is given as operators read it.
async fn open(config: &NatsConfig) -> Result<(), EngineError> {
    gatewatch::server::install_crypto();
    Engine::open(config, "a test").await.map(drop)
}

#[tokio::test]
async fn tls_needs_its_ca_and_an_nkey_is_the_one_that_the_server_knows() {
    let dir = tempfile::tempdir().expect("a folder");
    let tls = dev_certificate(dir.path()).expect("a certificate");
    let (user, other) = (KeyPair::new_user(), KeyPair::new_user());
    let secured = format!(
        "tls {{ cert_file: {:?}, key_file: {:?} }}\nauthorization {{ users: [ {{ nkey: {} }} ] }}",
        tls.cert,
        tls.key,
        user.public_key()
    );
    let Some(nats) = Nats::start_with(1, &secured) else { return };
    let nkey = |pair: &KeyPair| Some(NatsCredentials::Nkey(Secret::new(pair.seed().expect("a seed"))));
    let servers: Vec<Secret> = nats.urls().iter().map(|url| Secret::new(url.replace("nats://", "tls://"))).collect();
    let right = NatsConfig { servers, ca: Some(tls.ca.clone()), credentials: nkey(&user), ..nats.config("f") };
    open(&right).await.expect("let in");
    for (wrong, what) in [(nkey(&other), "another key"), (None, "none")] {
        let refused = open(&NatsConfig { credentials: wrong, ..right.clone() }).await.expect_err(what);
        assert!(matches!(refused, EngineError::Refused(_)), "{what}: {refused}");
        let said = format!("{refused} {refused:?}");
        assert!(said.contains("journal.credentials") && !said.contains(&other.seed().expect("a seed")), "{said}");
    }
    let unknown = NatsConfig { ca: None, ..right }.clone();
    let refused = tokio::time::timeout(std::time::Duration::from_secs(40), open(&unknown)).await.expect("an answer");
    assert!(matches!(refused, Err(EngineError::Away(_))), "a certificate that nobody vouches for: {refused:?}");
}

#[tokio::test]
async fn a_file_of_credentials_lets_in_and_one_that_is_none_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let (operators, credentials) = operators(&dir);
    let Some(nats) = Nats::start_with(1, &operators) else { return };
    let config = |file: &Path| {
        let credentials = Some(NatsCredentials::File(file.to_owned()));
        NatsConfig { credentials, ..nats.config("f") }
    };
    open(&config(&credentials)).await.expect("let in");
    let broken = dir.path().join("broken.creds");
    fs::write(&broken, "topsecret").expect("written");
    let refused = open(&config(&broken)).await.expect_err("no credentials").to_string();
    assert!(refused.contains("broken.creds") && !refused.contains("topsecret"), "{refused}");
}

/// What a server trusts, and the file of one user's credentials.
fn operators(dir: &TempDir) -> (String, PathBuf) {
    let [operator, system, account] =
        [KeyPairType::Operator, KeyPairType::Account, KeyPairType::Account].map(KeyPair::new);
    let user = KeyPair::new_user();
    let all = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
        "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1
    });
    let none =
        json!({ "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1 });
    let of_account = |limits: Value| json!({ "limits": limits, "type": "account", "version": 2 });
    let operator_jwt = signed(
        &operator,
        &operator,
        json!({ "type": "operator", "version": 2, "system_account": system.public_key() }),
    );
    let system_jwt = signed(&operator, &system, of_account(none));
    let account_jwt = signed(&operator, &account, of_account(all));
    let of_user = json!({ "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "type": "user", "version": 2 });
    let user_jwt = signed(&account, &user, of_user);
    let file = dir.path().join("gatewatch.creds");
    let seed = user.seed().expect("a seed");
    let line = "------";
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{user_jwt}\n{line}END NATS USER JWT{line}\n\n-----BEGIN USER NKEY SEED-----\n\
         {seed}\n{line}END USER NKEY SEED{line}\n"
    );
    fs::write(&file, text).expect("written");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).expect("its owner's");
    let config = format!(
        "operator: {operator_jwt}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}: {system_jwt}\n{}: \
         {account_jwt}\n}}",
        system.public_key(),
        system.public_key(),
        account.public_key()
    );
    (config, file)
}

/// A statement of NATS, signed by `issuer`, about `subject`.
fn signed(issuer: &KeyPair, subject: &KeyPair, nats: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let name = &subject.public_key()[..8];
    let claims = json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name, "sub": subject.public_key(), "nats": nats
    });
    let text = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    let signature = issuer.sign(text.as_bytes()).expect("a signature");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}
