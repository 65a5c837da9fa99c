//! What pages of other origins can do to a signed-in person, in a real browser, and what a listed one can do for him.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Browser, Gateway, SIMULATED, Site};

const TLS: &str = "mode = \"dev\"";
const SOON: Duration = Duration::from_secs(30);

/// `[cors]` with these origins.
fn listing(origins: &[&str]) -> String {
    format!("[cors]\norigins = {}\n{SIMULATED}", json!(origins))
}

/// A page with nothing on it yet.
const EMPTY: &str = "<!doctype html><title>somewhere else</title><body></body>";

/// Makes a form on the page and sends it, as the page's own script.
fn sends_a_form(action: &str, key: &str) -> String {
    format!(
        "const form = document.createElement('form'); form.method = 'post'; form.action = {};
         form.innerHTML = '<input name=key>'; form.firstChild.value = {};
         document.body.append(form); form.submit()",
        json!(action),
        json!(key)
    )
}

/// The status of a fetch, or `refused` if the page gets nothing of it.
fn fetches(url: &str, options: Value) -> String {
    format!("return fetch({}, {options}).then((answer) => answer.status, () => 'refused')", json!(url))
}

/// Sends a form from the page of `site`, and says what the browser shows after it.
async fn after_a_form(browser: &Browser, site: &Site, action: &str, key: &str) -> String {
    browser.open(&site.origin).await;
    browser.run(&sends_a_form(action, key)).await;
    let shown = format!("return location.href === {} && document.body.innerText", json!(action));
    browser.wait_for(SOON, &shown).await.as_str().expect("text").to_owned()
}

/// Whether the browser's person is signed in.
async fn is_signed_in(browser: &Browser, gateway: &Gateway) -> bool {
    browser.open(&gateway.url("/login")).await;
    browser.run("return fetch('/auth/session').then((answer) => answer.status)").await == 200
}

#[tokio::test(flavor = "multi_thread")]
async fn g29_a_link_from_another_site_arrives_signed_in() {
    let browser = Browser::start().await;
    let gateway = Gateway::start_with(SIMULATED, TLS).await;
    let links = format!(
        "<a id=page href='{}'>a</a> <a id=data href='{}'>b</a>",
        gateway.url("/plain"),
        gateway.url("/api/vms")
    );
    let site = Site::elsewhere(&format!("<!doctype html>{links}")).await;
    browser.open(&gateway.login_url()).await;

    browser.open(&site.origin).await;
    browser.click("#page").await;
    browser.wait_for(SOON, "return document.querySelector('tr[data-vm=\"demo-a\"]') !== null").await;
    // The page above has no data, and asks for it from here; this answer is to the click itself.
    browser.open(&site.origin).await;
    browser.click("#data").await;
    assert!(browser.text("body").await.contains("demo-a"));
    drop(browser);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g30_a_page_of_another_site_changes_nothing_for_a_person_who_is_signed_in() {
    let browser = Browser::start().await;
    let gateway = Gateway::start_with(SIMULATED, TLS).await;
    let site = Site::elsewhere(EMPTY).await;
    let [session, ticket] = ["/auth/session", "/auth/ticket"].map(|path| gateway.url(path));

    // Signing somebody in as the attacker.
    let shown = after_a_form(&browser, &site, &session, gateway.key()).await;
    assert!(shown.contains("cross_site"), "{shown}");
    assert!(!is_signed_in(&browser, &gateway).await);

    browser.open(&gateway.login_url()).await;
    assert!(is_signed_in(&browser, &gateway).await);
    let shown = after_a_form(&browser, &site, &session, gateway.key()).await;
    assert!(shown.contains("cross_site"), "{shown}");
    let shown = after_a_form(&browser, &site, &ticket, "").await;
    assert!(shown.contains("unauthorized"), "the cookie did not come with it: {shown}");
    browser.open(&site.origin).await;
    for (url, method) in [(&session, "DELETE"), (&session, "GET"), (&session, "POST"), (&ticket, "POST")] {
        let with_cookie = fetches(url, json!({"method": method, "credentials": "include"}));
        assert_eq!(browser.run(&with_cookie).await, "refused", "{method} {url}");
    }
    let blind = json!({"method": "POST", "mode": "no-cors", "credentials": "include"});
    assert_eq!(browser.run(&fetches(&session, blind)).await, 0, "it is sent, and shows the page nothing");
    assert!(is_signed_in(&browser, &gateway).await, "the session stands");
    drop(browser);
    gateway.stop().await;
}

/// Another port of the same host: SameSite keeps no cookie from it, so all rests on where the request says it is from.
#[tokio::test(flavor = "multi_thread")]
async fn g30_a_neighbour_to_whom_the_cookie_is_given_reads_if_it_is_listed_and_changes_nothing() {
    let browser = Browser::start().await;
    let listed = Site::neighbour(EMPTY).await;
    let stranger = Site::neighbour(EMPTY).await;
    let gateway = Gateway::start_with(&listing(&[&listed.origin]), TLS).await;
    let [session, ticket, vms] = ["/auth/session", "/auth/ticket", "/api/vms"].map(|path| gateway.url(path));
    browser.open(&gateway.login_url()).await;

    let with_cookie = |url: &str, method: &str| fetches(url, json!({"method": method, "credentials": "include"}));
    for site in [&listed, &stranger] {
        let shown = after_a_form(&browser, site, &ticket, "").await;
        assert!(shown.contains("cross_site"), "the cookie came with it, and is not taken: {shown}");
        let shown = after_a_form(&browser, site, &session, gateway.key()).await;
        assert!(shown.contains("cross_site"), "{shown}");
    }
    browser.open(&listed.origin).await;
    assert_eq!(browser.run(&with_cookie(&vms, "GET")).await, 200);
    assert_eq!(browser.run(&with_cookie(&session, "DELETE")).await, 403);
    assert_eq!(browser.run(&with_cookie(&ticket, "POST")).await, 403);
    browser.open(&stranger.origin).await;
    assert_eq!(browser.run(&with_cookie(&vms, "GET")).await, "refused");
    assert_eq!(browser.run(&with_cookie(&session, "DELETE")).await, "refused");
    assert!(is_signed_in(&browser, &gateway).await, "the session stands");
    drop(browser);
    gateway.stop().await;
}

/// Asks for a ticket with the key in a header: the ticket, or `refused`.
fn asks_for_a_ticket(gateway: &Gateway) -> String {
    format!(
        "return fetch({}, {{method: 'POST', headers: {{Authorization: 'Bearer ' + {}}}}})
           .then((answer) => answer.json()).then((said) => said.ticket, () => 'refused')",
        json!(gateway.url("/auth/ticket")),
        json!(gateway.key())
    )
}

/// Opens an `EventSource` with the ticket, as `source`; its events, and no other's, go to `got`.
fn watches_with(gateway: &Gateway, ticket: &str) -> String {
    let url = gateway.url(&format!("/api/benchmark-sse?interval=1&ticket={ticket}"));
    format!(
        "const got = window.got = []; window.source = new EventSource({});
         for (const name of ['connected', 'status', 'progress']) source.addEventListener(name, () => got.push(name))",
        json!(url)
    )
}

const GOT_EVENTS: &str = "return got.includes('connected') && got.includes('status') && source.readyState === 1";
/// Closed for good, without an event: whatever is not a 200 does that.
const SHUT_OUT: &str = "return source.readyState === EventSource.CLOSED && got.length === 0";

#[tokio::test(flavor = "multi_thread")]
async fn g41_g42_a_listed_page_watches_with_a_ticket_that_works_once() {
    let browser = Browser::start().await;
    let listed = Site::elsewhere(EMPTY).await;
    let gateway = Gateway::start_with(&listing(&[&listed.origin]), TLS).await;
    browser.open(&listed.origin).await;
    let ticket = browser.run(&asks_for_a_ticket(&gateway)).await;
    let ticket = ticket.as_str().expect("a ticket");
    assert!(ticket.starts_with("gwt_"), "{ticket}");
    browser.run(&watches_with(&gateway, ticket)).await;
    browser.wait_for(SOON, GOT_EVENTS).await;

    browser.run(&format!("window.first = source; {}", watches_with(&gateway, ticket))).await;
    browser.wait_for(SOON, SHUT_OUT).await;
    assert_eq!(browser.run("return first.readyState").await, 1, "the stream of its first use goes on");
    assert_eq!(browser.cookies().await, [] as [Value; 0]);
    drop(browser);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g45_a_listed_page_reads_why_it_is_refused() {
    let browser = Browser::start().await;
    let listed = Site::elsewhere(EMPTY).await;
    let gateway = Gateway::start_with(&listing(&[&listed.origin]), TLS).await;
    browser.open(&listed.origin).await;
    let reads = format!(
        "return fetch({}).then(async (answer) => [answer.status, answer.redirected, (await answer.json()).code,
           answer.headers.get('X-Request-Id').length])",
        json!(gateway.url("/api/benchmark-sse"))
    );
    assert_eq!(browser.run(&reads).await, json!([401, false, "unauthorized", 32]));
    drop(browser);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g41_g69_a_page_that_is_not_listed_gets_nothing_even_with_a_key_or_a_ticket() {
    let browser = Browser::start().await;
    let listed = Site::elsewhere(EMPTY).await;
    let stranger = Site::elsewhere(EMPTY).await;
    let gateway = Gateway::start_with(&listing(&[&listed.origin]), TLS).await;
    browser.open(&stranger.origin).await;
    assert_eq!(browser.run(&asks_for_a_ticket(&gateway)).await, "refused");

    let request = gateway.anonymous().post(gateway.url("/auth/ticket")).bearer_auth(gateway.key());
    let made: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let ticket = made["ticket"].as_str().expect("a ticket");
    browser.run(&watches_with(&gateway, ticket)).await;
    browser.wait_for(SOON, SHUT_OUT).await;

    browser.open(&listed.origin).await;
    browser.run(&watches_with(&gateway, ticket)).await;
    browser.wait_for(SOON, GOT_EVENTS).await;
    drop(browser);
    gateway.stop().await;
}
