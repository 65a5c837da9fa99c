//! Secrets are shown to gatewatch in every place where clients put them, and looked for in everything that comes out.

use serde_json::{Value, json};

use crate::support::{Process, SIMULATED, Scheme, Sse, builder, eventually};

/// What no output may contain.
struct Canaries {
    key: String,
    foreign_key: String,
    jwt: String,
    cookie: String,
    ticket: String,
    query: String,
}

impl Canaries {
    fn new(key: &str) -> Self {
        Self {
            key: key.to_owned(),
            foreign_key: format!("gw_abcdefgh_{}", "CanaryKey".repeat(5)),
            jwt: "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJDYW5hcnkifQ.Q2FuYXJ5U2lnbmF0dXJl".to_owned(),
            cookie: "CanaryCookieCanaryCookieCanaryCookieCanaryC".to_owned(),
            ticket: "gwt_CanaryTicketCanaryTicketCanaryTicketCan".to_owned(),
            query: "CanaryQueryValue".to_owned(),
        }
    }

    /// The part of each that is secret. The first half of a key is its public name, the head of a JWT says its algorithm.
    fn secrets(&self) -> Vec<&str> {
        let key = self.key.rsplit('_').next().expect("the secret of a key");
        let foreign = self.foreign_key.rsplit('_').next().expect("the secret of a key");
        let mut all = vec![key, foreign, &self.cookie, "CanaryTicket", &self.query];
        all.extend(self.jwt.split('.').skip(1));
        all
    }

    fn assert_absent(&self, place: &str, text: &str) {
        for secret in self.secrets() {
            if let Some(at) = text.find(secret) {
                let start = text[..at].rfind('\n').map_or(0, |line| line + 1);
                let line = text[start..].lines().next().unwrap_or_default();
                panic!("{secret} is in {place}: {line}");
            }
        }
    }
}

/// Every way in which the canaries are shown, as (path, headers).
fn requests(canaries: &Canaries) -> Vec<(String, Vec<(&'static str, String)>)> {
    let bearer = |text: &str| vec![("authorization", format!("Bearer {text}"))];
    let cookie = |name: &str| vec![("cookie", format!("{name}={}", canaries.cookie))];
    let mut all = vec![
        ("/api/vms".to_owned(), bearer(&canaries.key)),
        ("/api/vms".to_owned(), vec![("x-api-key", canaries.key.clone())]),
        ("/api/vms".to_owned(), bearer(&canaries.foreign_key)),
        ("/api/vms".to_owned(), bearer(&canaries.jwt)),
        ("/api/vms".to_owned(), vec![("authorization", format!("Basic {}", canaries.jwt))]),
        ("/api/vms".to_owned(), vec![("x-api-key", canaries.jwt.clone())]),
        ("/api/vms".to_owned(), [bearer(&canaries.key), vec![("x-api-key", canaries.jwt.clone())]].concat()),
        ("/api/vms".to_owned(), cookie("__Host-gatewatch")),
        ("/api/vms".to_owned(), cookie("gatewatch")),
        ("/api/vms".to_owned(), vec![("set-cookie", format!("a={}", canaries.cookie))]),
        ("/nowhere".to_owned(), bearer(&canaries.key)),
        (format!("/nowhere/{}", canaries.query), bearer(&canaries.key)),
    ];
    for (name, secret) in [
        ("ticket", &canaries.ticket),
        ("api_key", &canaries.key),
        ("token", &canaries.jwt),
        ("access_token", &canaries.jwt),
        ("code", &canaries.cookie),
        ("anything", &canaries.query),
        ("vm", &canaries.foreign_key),
        ("interval", &canaries.query),
    ] {
        for path in ["/api/vms", "/api/benchmark-sse", "/auth/login", "/nowhere"] {
            all.push((format!("{path}?{name}={secret}"), Vec::new()));
            all.push((format!("{path}?{name}={secret}"), bearer(&canaries.key)));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn g43_g62_no_secret_is_in_any_log_line_metric_or_answer() {
    for scheme in [Scheme::Http, Scheme::Https] {
        let limits = "[limits]\nauth_failures_per_minute = 1000\n";
        let served = Process::start_logging("trace", scheme, &format!("{limits}{SIMULATED}")).await;
        let canaries = Canaries::new(served.key());
        let client = served.client();
        for (path, headers) in requests(&canaries) {
            let mut request = client.get(served.url(&path)).timeout(std::time::Duration::from_secs(10));
            for (name, value) in &headers {
                request = request.header(*name, value);
            }
            let answer = request.send().await.expect("an answer");
            let head = format!("{:?}", answer.headers());
            canaries.assert_absent(&format!("the head of the answer to {path}"), &head);
            assert_eq!(answer.headers()["referrer-policy"], "no-referrer", "{path}");
            // A stream has no end; all that it says of its request is in its first frame.
            let body = match answer.headers().get("content-type").map(|kind| kind.as_bytes()) {
                Some(b"text/event-stream") => Sse::new(answer).next().await.expect("connected").data.to_string(),
                _ => answer.text().await.expect("a body"),
            };
            canaries.assert_absent(&format!("the answer to {path}"), &body);
        }
        let (_, metrics) = served.admin("/metrics").await.expect("metrics");
        canaries.assert_absent("the metrics", &metrics);
        served.access(|line| line["route"] == "unmatched").await;
        let log = served.log();
        // Every level is written, that of the HTTP/2 frames too: dependencies log what they read.
        assert!(scheme == Scheme::Http || log.contains("\"level\":\"TRACE\""), "the log is not what it seems");
        canaries.assert_absent("the log", &log);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn g61_whatever_a_client_sends_a_request_is_one_line_of_json() {
    let served = Process::start_logging("trace", Scheme::Http, SIMULATED).await;
    let hostile: [&[u8]; 4] = [
        b"a\x1b[31mred\x1b[0m",
        b"a\xc2\x85\xe2\x80\xa8{\"level\":\"ERROR\",\"fields\":{}}",
        b"a\t\"}\\\"\xe2\x80\xae",
        b"\xff\xfe\x80",
    ];
    let mut sent = 0;
    for value in hostile {
        // HTTP/2 has the same rules for values; CR and LF in them are refused by the client itself.
        for name in
            ["user-agent", "x-forwarded-for", "authorization", "x-api-key", "cookie", "last-event-id", "x-request-id"]
        {
            let value = reqwest::header::HeaderValue::from_bytes(value);
            let Ok(value) = value else { continue };
            let request = builder().build().expect("a client").get(served.url("/api/vms")).header(name, value);
            request.send().await.expect("an answer");
            sent += 1;
        }
    }
    for path in ["/a%0d%0aERROR%20forged", "/api/vms?vm=%1b%5b31m%0a", "/%00"] {
        builder().build().expect("a client").get(served.url(path)).send().await.expect("an answer");
        sent += 1;
    }
    // A raw CR and LF in a value: whoever sends them has begun a header of its own, or a second request.
    raw(served.port, b"GET /api/vms HTTP/1.1\r\nhost: a\r\nuser-agent: a\r\n\x1b[31mforged\r\n\r\n").await;
    raw(served.port, b"GET /api/\x1b[31mvms HTTP/1.1\r\nhost: a\r\n\r\n").await;
    eventually(std::time::Duration::from_secs(10), || async {
        served.log().matches("gatewatch::access").count() >= sent
    })
    .await;
    let log = served.log();
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line:?}"))).collect();
    let access: Vec<_> = lines.iter().filter(|line| line["target"] == "gatewatch::access").collect();
    assert_eq!(access.len(), sent, "each request is one line");
    assert!(access.iter().all(|line| line["level"] == json!("INFO")), "{access:#?}");
    assert!(!log.chars().any(|c| c.is_control() && c != '\n'), "control characters are escaped");
}

/// Sends bytes as they are and reads until the other end closes.
async fn raw(port: u16, bytes: &[u8]) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.expect("a connection");
    socket.write_all(bytes).await.expect("written");
    let mut answer = Vec::new();
    let closed = tokio::time::timeout(std::time::Duration::from_secs(20), socket.read_to_end(&mut answer)).await;
    assert!(closed.is_ok_and(|read| read.is_ok()), "it is not closed");
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
}

/// The value of the cookie that `answer` sets.
fn cookie_of(answer: &reqwest::Response) -> String {
    let set = answer.headers()["set-cookie"].to_str().expect("text");
    set.split_once('=').and_then(|(_, rest)| rest.split(';').next()).expect("a value").to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn g43_g62_a_cookie_and_a_ticket_that_were_given_out_are_in_no_log_line_and_no_metric() {
    let served = Process::start_logging("trace", Scheme::Https, SIMULATED).await;
    let client = served.client();
    let post = |path: &str| client.post(served.url(path)).bearer_auth(served.key());
    let answer = post("/auth/session").send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    let cookie = cookie_of(&answer);
    let answer = post("/auth/ticket").send().await.expect("an answer");
    assert_eq!(answer.status(), 201);
    let ticket: Value = answer.json().await.expect("JSON");
    let ticket = ticket["ticket"].as_str().expect("a ticket").to_owned();
    assert!(cookie.len() >= 32 && ticket.len() >= 22, "128 bits at least: {cookie} {ticket}");

    let with_cookie = |request: reqwest::RequestBuilder| request.header("cookie", format!("__Host-gatewatch={cookie}"));
    let used = with_cookie(client.get(served.url("/api/vms"))).send().await.expect("an answer");
    assert_eq!(used.status(), 200);
    let by_ticket = served.url(&format!("/api/benchmark-sse?ticket={ticket}"));
    let mut stream = Sse::new(client.get(&by_ticket).send().await.expect("an answer"));
    stream.next().await.expect("connected");
    let again = client.get(&by_ticket).send().await.expect("an answer");
    assert_eq!(again.status(), 401, "it worked once");
    let again = again.text().await.expect("a body");
    let leave = client.delete(served.url("/auth/session")).header("sec-fetch-site", "same-origin");
    assert_eq!(with_cookie(leave).send().await.expect("an answer").status(), 204);

    served.access(|line| line["method"] == "DELETE").await;
    let (_, metrics) = served.admin("/metrics").await.expect("metrics");
    for (name, secret) in [("the cookie", &cookie), ("the ticket", &ticket)] {
        for (place, text) in [("the log", &served.log()), ("the metrics", &metrics), ("a refusal", &again)] {
            assert!(!text.contains(secret.as_str()), "{name} is in {place}");
        }
    }
}
