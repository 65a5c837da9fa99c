//! What a gateway answers is what the document says.

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use gatewatch::app;
use gatewatch::model::Scope;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::document::{Document, Operation};
use crate::support::{Frame, Gateway, Sse, eventually};

/// How long something that happens by itself may take.
const SOON: Duration = Duration::from_secs(30);

/// `one` plays a short run, `two` boots first; the log of `here` will have what no log should. Guesses are not slowed down.
fn fleet(dir: &Path) -> String {
    format!(
        "[[vm]]\nname = \"one\"\ntransport = \"simulated\"\n\
         [vm.simulated]\nspeed = \"20\"\nstart_at = \"21s\"\nonce = true\ntasks = 4\n\
         [[vm]]\nname = \"two\"\ntransport = \"simulated\"\n\
         [vm.simulated]\nspeed = \"8\"\nonce = true\ntasks = 4\n\
         [[vm]]\nname = \"here\"\ntransport = \"local\"\ncontainer = \"\"\nprobe_url = \"\"\n\
         process = \"no-such-process-{}\"\nbenchmark_log = {:?}\n\
         [register]\nknown_hosts = {:?}\n[poll]\ninterval = \"1s\"\nidle_interval = \"1s\"\n\
         [limits]\nauth_failures_per_minute = 1000\n",
        std::process::id(),
        dir.join("here.log").display().to_string(),
        dir.join("known_hosts").display().to_string(),
    )
}

/// A gateway, its document, and which answers were seen.
struct Visitor {
    gateway: Gateway,
    document: Document,
    seen: BTreeSet<(Operation, u16)>,
    dir: tempfile::TempDir,
}

impl Visitor {
    async fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        for file in ["here.log", "known_hosts"] {
            std::fs::write(dir.path().join(file), "").expect("written");
        }
        let gateway = Gateway::start(&fleet(dir.path())).await;
        let text = gateway.anonymous().get(gateway.url("/api/openapi.json")).send().await.expect("an answer");
        let served = Document(text.json().await.expect("JSON"));
        assert_eq!(served.0, Document::read().0, "what is served is what the repository has");
        Self { gateway, document: served, seen: BTreeSet::new(), dir }
    }

    /// Asks `operation` (method and path of the document) with `query` behind the path, or with another path if it begins
    /// with a slash. The answer must be as the document says; its status and body are given.
    async fn ask(
        &mut self,
        operation: &str,
        query: &str,
        more: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> (u16, String) {
        let (status, body, _) = self.ask_for(operation, query, more).await;
        (status, body)
    }

    async fn ask_for(
        &mut self,
        operation: &str,
        query: &str,
        more: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> (u16, String, reqwest::header::HeaderMap) {
        let (method, path) = operation.split_once(' ').expect("a method and a path");
        let target = if query.starts_with('/') { query.to_owned() } else { format!("{path}{query}") };
        let operation = Operation { method: method.to_owned(), path: path.to_owned() };
        let answer = self.send(method, &target, more).await;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let endless = headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
        let body = if endless { String::new() } else { answer.text().await.expect("a whole body") };
        let content = self.document.lists(&operation, status, &headers, &body);
        if let Some(schema) = content.get("x-lines") {
            for line in body.lines() {
                self.document.holds(schema, &serde_json::from_str(line).expect("JSON"), "a line");
            }
        }
        if let Some(schema) = content.get("x-columns") {
            self.columns_hold(schema, &body);
        }
        self.seen.insert((operation, status));
        (status, body, headers)
    }

    async fn send(&self, method: &str, target: &str, more: impl FnOnce(RequestBuilder) -> RequestBuilder) -> Response {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let request = self.gateway.anonymous().request(method, self.gateway.url(target));
        more(request).send().await.expect("an answer")
    }

    /// The first line of a CSV names the fields of one of the rows that it may be of.
    fn columns_hold(&self, schema: &Value, body: &str) {
        let columns: BTreeSet<&str> = body.lines().next().expect("a head").split(',').collect();
        let rows = schema["anyOf"].as_array().cloned().unwrap_or_else(|| vec![schema.clone()]);
        let same = |row: &Value| {
            let fields = self.document.resolve(row)["properties"].as_object().expect("fields");
            fields.keys().map(String::as_str).collect::<BTreeSet<_>>() == columns
        };
        assert!(rows.iter().any(same), "{columns:?}");
    }

    /// A key with `scope` for the VM `one`, in force.
    async fn key(&self, scope: &str) -> String {
        let keys = self.gateway.dir.path().join("keys.toml");
        let made = app::new_key(&keys, scope, &[scope.to_owned()], &["one".to_owned()], "never");
        let key = made.expect("a key").expose().to_owned();
        eventually(SOON, || async {
            let answer = self.send("GET", "/auth/session", |request| request.bearer_auth(&key)).await;
            answer.status() == 200
        })
        .await;
        key
    }

    fn admin(&self) -> String {
        self.gateway.key().to_owned()
    }
}

fn id_of(page: &str) -> String {
    let page: Value = serde_json::from_str(page).expect("JSON");
    page["runs"][0]["run"].as_str().expect("a run").to_owned()
}

const POLLED: [&str; 6] = [
    "GET /api/benchmark-live",
    "GET /api/benchmark-progress",
    "GET /api/current-run",
    "GET /api/tasks",
    "GET /api/background-tasks",
    "GET /api/probe-vm",
];

/// Watches the stream until both runs are over and something was wrong with `here`, and asks the polling routes at each
/// change of what it says.
async fn watch(visitor: &mut Visitor) {
    let admin = visitor.admin();
    let answer = visitor.send("GET", "/api/benchmark-sse?interval=1", |it| it.bearer_auth(&admin)).await;
    let mut stream = Sse::new(answer);
    let events: Vec<_> = visitor.document.events().into_iter().collect();
    let events: Vec<_> = events.iter().map(|(kind, schema)| (kind, visitor.document.validator(schema))).collect();
    let garbage = b"Task 1/3: t\nTask 99999999999/0\n\x00\x01\xff\n";
    let log = OpenOptions::new().append(true).open(visitor.dir.path().join("here.log"));
    log.and_then(|mut log| log.write_all(garbage)).expect("written");
    let (mut over, mut wrong, mut kinds) = (0, false, BTreeSet::new());
    while over < 2 || !wrong {
        let frame = tokio::time::timeout(SOON, stream.next()).await.expect("in time").expect("an open stream");
        let (_, validator) = events.iter().find(|(kind, _)| **kind == frame.event).expect("a known event");
        let errors: Vec<_> = validator.iter_errors(&frame.data).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{frame:?}: {errors:#?}");
        over += usize::from(frame.event == "run_complete");
        wrong |= frame.event == "error" && frame.text("code") == "log_format";
        if matches!(frame.event.as_str(), "status" | "run_complete") {
            for polled in POLLED {
                let vm = frame.text("vm");
                assert_eq!(visitor.ask(polled, &format!("?vm={vm}"), |it| it.bearer_auth(&admin)).await.0, 200);
            }
            assert_eq!(visitor.ask("GET /api/runs", "", |it| it.bearer_auth(&admin)).await.0, 200);
            assert_eq!(visitor.ask("GET /api/vms", "", |it| it.bearer_auth(&admin)).await.0, 200);
        }
        kinds.insert(frame.event);
    }
    let told = ["connected", "error", "progress", "run_complete", "run_started", "status", "task_complete"];
    assert!(told.iter().all(|kind| kinds.contains(*kind)), "{kinds:?}");
    let again = visitor.send("GET", "/api/benchmark-sse?lastEventId=none", |it| it.bearer_auth(&admin)).await;
    let frames = Sse::new(again).until(SOON, |frame: &Frame| frame.event == "reset").await;
    visitor.document.holds(&visitor.document.events()["reset"], &frames.last().expect("it").data, "a reset");
}

/// Everything that is answered without a credential, or with an administrator's.
async fn everything_once(visitor: &mut Visitor) {
    for open in
        ["/", "/plain", "/page.js", "/page.css", "/page.svg", "/healthz", "/readyz", "/api/openapi.json", "/login"]
    {
        assert_eq!(visitor.ask(&format!("GET {open}"), "", |it| it).await.0, 200, "{open}");
    }
    let (_, page) = visitor.ask("GET /", "", |it| it).await;
    let asset = page.split('"').find(|text| text.starts_with("/assets/") && text.ends_with(".js"));
    if let Some(asset) = asset {
        assert_eq!(visitor.ask("GET /assets/{file}", asset, |it| it).await.0, 200);
    } else {
        // Built without Node.js: there is no dashboard, and no file of it. `make test` builds it first.
        assert!(std::env::var_os("GATEWATCH_LAB_REQUIRED").is_none(), "the dashboard is not in this binary");
        visitor.seen.insert((Operation { method: "GET".to_owned(), path: "/assets/{file}".to_owned() }, 200));
    }
    let admin = visitor.admin();
    for polled in POLLED
        .into_iter()
        .chain(["GET /metrics", "GET /api/keys", "GET /auth/session", "GET /api/benchmark-sse"])
        .chain(["GET /api/streams", "GET /api/limits", "GET /api/reload", "GET /api/replicas"])
    {
        assert_eq!(visitor.ask(polled, "", |it| it.bearer_auth(&admin)).await.0, 200, "{polled}");
    }
    let (_, page) = visitor.ask("GET /api/runs", "?limit=1", |it| it.bearer_auth(&admin)).await;
    let run = format!("/api/runs/{}", id_of(&page));
    for query in ["", "?limit=1", "?format=csv", "?format=jsonl"] {
        let detail = visitor.ask("GET /api/runs/{run}", &format!("{run}{query}"), |it| it.bearer_auth(&admin)).await;
        assert_eq!(detail.0, 200, "{query}");
    }
    for query in ["?format=csv", "?format=jsonl", "?format=csv&rows=tasks", "?format=jsonl&rows=tasks"] {
        let (status, body) = visitor.ask("GET /api/runs", query, |it| it.bearer_auth(&admin)).await;
        assert!(status == 200 && body.lines().count() > 1, "{query}: {body}");
    }
    assert_eq!(visitor.ask("GET /api/vms/{vm}/log", "/api/vms/one/log", |it| it.bearer_auth(&admin)).await.0, 200);
    assert_eq!(
        visitor.ask("GET /api/vms/{vm}/stages", "/api/vms/one/stages", |it| it.bearer_auth(&admin)).await.0,
        200
    );
    let spare = visitor.key("metrics:read").await;
    let revoke = format!("/api/keys/{}/revoke", crate::support::id_of(&spare));
    assert_eq!(visitor.ask("POST /api/keys/{id}/revoke", &revoke, |it| it.bearer_auth(&admin)).await.0, 200);
    assert_eq!(visitor.ask("POST /api/keys/{id}/revoke", &revoke, |it| it.bearer_auth(&admin)).await.0, 404);
    let own = format!("/api/keys/{}/revoke", crate::support::id_of(&admin));
    let vm = json!({"name": "added", "ssh_host": "192.0.2.1", "ssh_user": "nobody"});
    assert_eq!(visitor.ask("POST /api/vms/register", "", |it| it.bearer_auth(&admin).json(&vm)).await.0, 200);
    assert_eq!(visitor.ask("POST /api/vms/register", "", |it| it.bearer_auth(&admin).json(&vm)).await.0, 409);
    assert_eq!(visitor.ask("POST /api/keys/{id}/revoke", &own, |it| it.bearer_auth(&admin)).await.0, 409, "the last");
}

/// Sessions and tickets, from the beginning to the end of each.
async fn sessions(visitor: &mut Visitor) {
    let admin = visitor.admin();
    let link = visitor.gateway.login_url();
    let code = link.split_once("/auth/login").expect("the link").1.to_owned();
    assert_eq!(visitor.ask("GET /auth/login", &code, |it| it).await.0, 303);
    assert_eq!(visitor.ask("GET /auth/login", "?code=none", |it| it).await.0, 401);
    let body = json!({"key": admin});
    let (status, _, headers) = visitor.ask_for("POST /auth/session", "", |it| it.json(&body)).await;
    assert_eq!(status, 200);
    let form = |it: RequestBuilder, key: &str| {
        let kind = "application/x-www-form-urlencoded";
        it.header("content-type", kind).body(format!("key={key}&next=%2F%3Fa%3Db"))
    };
    assert_eq!(visitor.ask("POST /auth/session", "", |it| form(it, &admin)).await.0, 303);
    assert_eq!(visitor.ask("POST /auth/session", "", |it| form(it, "gw_wrong")).await.0, 401);
    assert_eq!(visitor.ask("POST /auth/session", "", |it| it.json(&json!({"key": "gw_wrong"}))).await.0, 401);
    assert_eq!(visitor.ask("POST /auth/session", "", |it| it.json(&json!({"key": 1}))).await.0, 422);
    let broken = |it: RequestBuilder| it.header("content-type", "application/json").body("{");
    assert_eq!(visitor.ask("POST /auth/session", "", broken).await.0, 400);
    let evil = |it: RequestBuilder| it.header("origin", "https://evil.example").json(&body);
    assert_eq!(visitor.ask("POST /auth/session", "", evil).await.0, 403);
    let cookie = headers["set-cookie"].to_str().expect("text").split(';').next().expect("a cookie").to_owned();
    let own = |it: RequestBuilder| it.header("cookie", &cookie).header("sec-fetch-site", "same-origin");
    assert_eq!(visitor.ask("GET /auth/session", "", own).await.0, 200);
    assert_eq!(visitor.ask("DELETE /auth/session", "", own).await.0, 204);
    assert_eq!(visitor.ask("GET /auth/session", "", own).await.0, 401);

    let wanted = json!({"vms": ["one"], "scopes": ["events:read"]});
    let (status, ticket) = visitor.ask("POST /auth/ticket", "", |it| it.bearer_auth(&admin).json(&wanted)).await;
    assert_eq!(status, 201);
    let ticket: Value = serde_json::from_str(&ticket).expect("JSON");
    let query = format!("?ticket={}", ticket["ticket"].as_str().expect("a ticket"));
    assert_eq!(visitor.ask("GET /api/benchmark-sse", &query, |it| it).await.0, 200);
    assert_eq!(visitor.ask("GET /api/benchmark-sse", &query, |it| it).await.0, 401, "it works once");
    let unknown = json!({"scopes": ["everything"]});
    assert_eq!(visitor.ask("POST /auth/ticket", "", |it| it.bearer_auth(&admin).json(&unknown)).await.0, 422);
}

/// What a request is refused for that is in itself wrong.
async fn wrong_requests(visitor: &mut Visitor) {
    let admin = visitor.admin();
    for (operation, query, code) in [
        ("GET /api/benchmark-sse", "?interval=soon", "invalid_interval"),
        ("GET /api/benchmark-sse", "?interval=1&interval=2", "repeated_parameter"),
        ("GET /api/benchmark-sse", "?vm=nobody", "unknown_vm"),
        ("GET /api/runs", "?state=closed", "invalid_parameter"),
        ("GET /api/runs", "?state=open&state=open", "repeated_parameter"),
        ("GET /api/runs", "?vm=A%20B", "unknown_vm"),
        ("GET /api/runs/{run}", "/api/runs/x?limit=0", "invalid_parameter"),
        ("GET /api/runs/{run}", "/api/runs/x", "unknown_run"),
        ("GET /api/vms/{vm}/log", "/api/vms/x/log", "unknown_vm"),
        ("GET /api/vms/{vm}/log", "/api/vms/one/log?after=x", "invalid_parameter"),
        ("GET /api/streams", "?limit=0", "invalid_parameter"),
        ("GET /assets/{file}", "/assets/none.js", "not_found"),
    ] {
        let (_, body) = visitor.ask(operation, query, |it| it.bearer_auth(&admin)).await;
        assert!(body.contains(&format!("\"code\":\"{code}\"")), "{operation}{query}: {body}");
    }
    for polled in POLLED {
        assert_eq!(visitor.ask(polled, "?vm=nobody", |it| it.bearer_auth(&admin)).await.0, 404);
        assert_eq!(visitor.ask(polled, "?vm=one&vm=two", |it| it.bearer_auth(&admin)).await.0, 400);
    }
    let register = "POST /api/vms/register";
    let narrow = visitor.key("vms:write").await;
    let other = json!({"name": "other", "ssh_host": "192.0.2.1"});
    assert_eq!(visitor.ask(register, "", |it| it.bearer_auth(&narrow).json(&other)).await.0, 403);
    for (kind, body, status) in [
        ("text/plain", "{}".to_owned(), 415),
        ("application/json", "{".to_owned(), 400),
        ("application/json", "{}".to_owned(), 422),
        ("application/json", " ".repeat(70_000), 413),
    ] {
        let send = |it: RequestBuilder| it.bearer_auth(&admin).header("content-type", kind).body(body);
        assert_eq!(visitor.ask(register, "", send).await.0, status);
    }
    let both = |it: RequestBuilder| it.bearer_auth(&admin).header("x-api-key", "gw_another");
    assert_eq!(visitor.ask("GET /healthz", "", both).await.0, 400);
    assert_eq!(visitor.ask("GET /healthz", "", |it| it.bearer_auth("gw_wrong")).await.0, 401);
    assert_eq!(visitor.ask("GET /healthz", "", |it| it.header("x_real_ip", "192.0.2.1")).await.0, 400);
}

/// A path of the document with something in each of its places.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Each operation lets in those whom the document says, and nobody else.
async fn doors(visitor: &mut Visitor) {
    let mut keys = Vec::new();
    for scope in Scope::ALL {
        keys.push((scope, visitor.key(scope.as_str()).await));
    }
    for operation in visitor.document.operations() {
        let name = format!("{} {}", operation.method, operation.path);
        let target = filled(&operation.path);
        assert_eq!(visitor.ask(&name, &format!("{target}?x={}", "a".repeat(5000)), |it| it).await.0, 414, "{name}");
        let scopes = visitor.document.scopes(&operation);
        let nobody = visitor.ask(&name, &target, |it| it).await.0;
        // A login without a credential is a login that fails.
        let shut = scopes.is_some() || ["POST /auth/session", "GET /auth/login"].contains(&name.as_str());
        assert_eq!(nobody == 401, shut, "{name}: {nobody}");
        for (scope, key) in &keys {
            let Some(wanted) = &scopes else { continue };
            let (status, body) = visitor.ask(&name, &target, |it| it.bearer_auth(key)).await;
            let may = wanted.is_empty() || wanted.iter().any(|it| it == scope.as_str()) || *scope == Scope::Admin;
            assert_eq!(status != 403, may, "{name} with {scope}: {status} {body}");
            assert_ne!(status, 401, "{name} with {scope}");
        }
    }
}

/// What is not in the document is not there.
async fn nothing_else(visitor: &Visitor) {
    let admin = visitor.admin();
    let responses = &visitor.document.0["components"]["responses"];
    let operations = visitor.document.operations();
    for path in operations.iter().map(|operation| &operation.path).collect::<BTreeSet<_>>() {
        let described = operations.iter().filter(|operation| operation.path == *path);
        let mut methods: BTreeSet<&str> = described.map(|operation| operation.method.as_str()).collect();
        if methods.contains("GET") {
            methods.insert("HEAD");
        }
        let answer = visitor.send("PATCH", &filled(path), |it| it.bearer_auth(&admin)).await;
        let headers = answer.headers().clone();
        assert_eq!(answer.status(), 405, "{path}");
        let allowed = headers["allow"].to_str().expect("text").split(',').map(str::trim).collect::<BTreeSet<_>>();
        assert_eq!(allowed, methods, "{path}");
        visitor.document.describes(
            &responses["MethodNotAllowed"],
            &headers,
            &answer.text().await.expect("a body"),
            path,
        );
    }
    let answer = visitor.send("GET", "/api/nowhere", |it| it.bearer_auth(&admin)).await;
    let headers = answer.headers().clone();
    assert_eq!(answer.status(), 404);
    visitor.document.describes(&responses["NotFound"], &headers, &answer.text().await.expect("a body"), "nowhere");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_answers_as_the_document_says_and_as_nothing_else() {
    let mut visitor = Visitor::new().await;
    watch(&mut visitor).await;
    everything_once(&mut visitor).await;
    sessions(&mut visitor).await;
    wrong_requests(&mut visitor).await;
    doors(&mut visitor).await;
    nothing_else(&visitor).await;
    for operation in visitor.document.operations() {
        let responses = visitor.document.of(&operation)["responses"].as_object().expect("responses");
        let good = responses.keys().filter(|status| status.starts_with(['2', '3']));
        for status in good.map(|status| status.parse::<u16>().expect("a status")) {
            assert!(
                visitor.seen.contains(&(operation.clone(), status)),
                "{operation:?} was not seen to answer {status}"
            );
        }
    }
    assert_eq!(visitor.gateway.stop().await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_vm_answers_as_the_document_says() {
    let gateway = Gateway::start("").await;
    let document = Document::read();
    for polled in POLLED.into_iter().chain(["GET /api/vms", "GET /api/runs", "GET /readyz"]) {
        let (method, path) = polled.split_once(' ').expect("a method and a path");
        let answer = gateway.get(path).await;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let operation = Operation { method: method.into(), path: path.into() };
        document.lists(&operation, status, &headers, &answer.text().await.expect("a body"));
    }
    assert_eq!(gateway.stop().await, "");
}
