//! Who a request counts for, through the layers.

use super::*;
use crate::config::ForwardedHeader;
use crate::telemetry::AddressSource;

/// A load balancer of ours.
const BALANCER: &str = "10.0.0.1";

fn behind(header: ForwardedHeader) -> Fixture {
    let proxy = ProxyRules { trusted: vec!["10.0.0.0/8".parse().unwrap()], header };
    fixture_with(EdgeSettings { proxy, ..EdgeSettings::default() })
}

impl Fixture {
    /// What `/whoami` says: the client, and the names of the headers that came through.
    async fn who(&self, peer: &str, headers: &[(&str, &str)]) -> (u16, Vec<String>) {
        let mut request = Request::get("/whoami").extension(from(peer));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.send(request, Body::empty()).await;
        let status = response.status().as_u16();
        let text = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        (status, String::from_utf8(text.to_vec()).unwrap().split(' ').map(str::to_owned).collect())
    }
}

#[tokio::test]
async fn g1_g2_a_trusted_peer_names_the_client_and_nobody_else_does() {
    let edge = behind(ForwardedHeader::XForwardedFor);
    let claims = [("x-forwarded-for", "1.1.1.1, 198.51.100.7"), ("x-real-ip", "1.1.1.1")];
    assert_eq!(edge.who(BALANCER, &claims).await.1[0], "198.51.100.7");
    assert_eq!(edge.who("203.0.113.5", &claims).await.1[0], "203.0.113.5");
    let log = edge.log();
    assert!(log.contains("client=198.51.100.7 peer=10.0.0.1"), "{log}");
    assert!(log.contains("client=203.0.113.5") && !log.contains("peer=203.0.113.5"), "{log}");
}

#[tokio::test]
async fn g2_a_new_left_most_entry_is_no_new_bucket() {
    let mut settings = EdgeSettings {
        proxy: ProxyRules { trusted: vec!["10.0.0.0/8".parse().unwrap()], ..ProxyRules::default() },
        ..EdgeSettings::default()
    };
    (settings.limits.requests_per_second, settings.limits.burst) = (1, 3);
    let edge = fixture_with(settings);
    let mut statuses = Vec::new();
    for n in 0..50 {
        statuses.push(edge.who(BALANCER, &[("x-forwarded-for", &format!("203.0.113.{n}, 198.51.100.7"))]).await.0);
    }
    assert_eq!(statuses[..3], [200, 200, 200]);
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(edge.who(BALANCER, &[("x-forwarded-for", "198.51.100.8")]).await.0, 200, "another client");
}

#[tokio::test]
async fn g3_g8_what_was_not_understood_and_how_clients_were_found_is_counted() {
    let edge = behind(ForwardedHeader::XForwardedFor);
    edge.who(BALANCER, &[("x-forwarded-for", "198.51.100.7, unknown")]).await;
    edge.who(BALANCER, &[]).await;
    edge.who(BALANCER, &[("x-forwarded-for", "198.51.100.7")]).await;
    edge.who("203.0.113.5", &[("x-forwarded-for", "unknown")]).await;
    let proxied = Peer { proxied: Some("203.0.113.9:1".parse().unwrap()), ..from(BALANCER) };
    edge.send(Request::get("/open").extension(proxied), Body::empty()).await;
    let metrics = &edge.metrics.limits;
    for (source, count) in
        [(AddressSource::Trusted, 2), (AddressSource::Header, 1), (AddressSource::Socket, 1), (AddressSource::Proxy, 1)]
    {
        assert_eq!(metrics.addresses.of(source).get(), count, "{source:?}");
    }
    assert_eq!(metrics.forwarded_errors.get(), 1);
    let warned = edge.log().lines().filter(|line| line.contains("WARN") && line.contains("load balancer")).count();
    assert_eq!(warned, 1, "{}", edge.log());
}

#[tokio::test]
async fn g4_g9_without_a_client_a_request_is_refused_logged_and_counted() {
    let edge = behind(ForwardedHeader::XForwardedFor);
    let many = ["10.0.0.2"; 33].join(",");
    let long =
        edge.send(Request::get("/open").extension(from(BALANCER)).header("x-forwarded-for", &many), Body::empty());
    let long = long.await;
    assert_eq!((long.status().as_u16(), json_of(long).await["code"].clone()), (400, json!("forwarded_too_long")));
    let nobody = edge.pass(Request::get("/open").body(Body::empty()).unwrap()).await;
    assert!(nobody.headers().contains_key("x-request-id") && nobody.headers().contains_key("x-frame-options"));
    assert_eq!((nobody.status().as_u16(), json_of(nobody).await["code"].clone()), (400, json!("no_client_address")));
    assert!(edge.counted("gatewatch_http_requests_total{code=\"400\",method=\"GET\",route=\"/open\"} 2"));
    assert_eq!(edge.metrics.limits.addresses.of(AddressSource::Socket).get(), 0);
}

#[tokio::test]
async fn g9_the_connections_own_address_counts_where_the_server_names_no_peer() {
    let edge = fixture();
    let socket: std::net::SocketAddr = "[2001:db8::7]:1".parse().unwrap();
    let request = Request::get("/whoami").extension(axum::extract::ConnectInfo(socket)).body(Body::empty()).unwrap();
    let text = axum::body::to_bytes(edge.pass(request).await.into_body(), 4096).await.unwrap();
    assert!(text.starts_with(b"2001:db8::7 "), "{text:?}");
}

#[tokio::test]
async fn g9_hosts_of_one_64_share_a_bucket_and_others_do_not() {
    let mut settings = EdgeSettings::default();
    (settings.limits.requests_per_second, settings.limits.burst) = (1, 2);
    let edge = fixture_with(settings);
    edge.until_refused("/open", from("2001:db8:0:1::1")).await;
    // Another address of the same host, at once: the bucket is as empty as it was.
    let mut statuses = Vec::new();
    for n in 2..12 {
        statuses.push(edge.who(&format!("2001:db8:0:1::{n}"), &[]).await.0);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(edge.who("2001:db8:0:2::1", &[]).await.0, 200);
}

#[tokio::test]
async fn g10_both_forwarding_headers_are_gone_inside_and_only_the_configured_one_was_read() {
    for (header, client) in
        [(ForwardedHeader::XForwardedFor, "198.51.100.7"), (ForwardedHeader::Forwarded, "198.51.100.8")]
    {
        let edge = behind(header);
        let both = [
            ("x-forwarded-for", "198.51.100.7"),
            ("forwarded", "for=198.51.100.8"),
            ("x-forwarded-proto", "https"),
            ("cf-connecting-ip", "198.51.100.9"),
        ];
        let (_, seen) = edge.who(BALANCER, &both).await;
        assert_eq!(seen, [client, "x-request-id"]);
    }
}

#[tokio::test]
async fn g12_g14_aliases_are_refused_or_dropped_and_identities_taken_out() {
    let edge = behind(ForwardedHeader::XForwardedFor);
    for alias in ["x_forwarded_for", "x-forwarded.for", "x_api_key", "X_Real_IP"] {
        let status = edge.who(BALANCER, &[(alias, "198.51.100.7")]).await.0;
        assert_eq!(status, 400, "{alias}");
    }
    let claims = [
        ("my_own", "1"),
        ("x-auth-user", "root"),
        ("x-forwarded-user", "root"),
        ("remote-user", "root"),
        ("x-request-id", "mine"),
        ("accept", "*/*"),
    ];
    let (_, seen) = edge.who("203.0.113.5", &claims).await;
    let mut names = seen[1..].to_vec();
    names.sort();
    assert_eq!(names, ["accept", "x-request-id"]);
    assert!(!edge.log().contains("mine") && !edge.log().contains("root"));
}

#[tokio::test]
async fn g13_a_header_named_in_connection_is_read_all_the_same() {
    let edge = behind(ForwardedHeader::XForwardedFor);
    let key = edge.key.expose().to_owned();
    let hop = ("connection", "close, X-Forwarded-For, X-Api-Key, X-Request-Id, Sec-Fetch-Site");
    let (_, seen) = edge.who(BALANCER, &[hop, ("x-forwarded-for", "198.51.100.7")]).await;
    assert_eq!(seen[0], "198.51.100.7");
    assert!(seen.contains(&"x-request-id".to_owned()));
    let request = Request::get("/need/a").header(hop.0, hop.1).header("x-api-key", key);
    assert_eq!(edge.send(request, Body::empty()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn g28_an_ambiguous_path_reaches_no_route() {
    let edge = fixture();
    for path in ["/need/..%2fopen", "/open%00", "/need/%2e%2e/open", "/need//a", "/need\\a", "/x/../open"] {
        let response = edge.get(path, &[("x-api-key", edge.key.expose())]).await;
        assert_eq!(
            (response.status().as_u16(), json_of(response).await["code"].clone()),
            (400, json!("ambiguous_path"))
        );
    }
    assert!(!edge.log().contains("%2f"));
}
