//! A person signs in with a key, in a real browser, and out again.

use std::time::Duration;

use serde_json::Value;

use crate::support::{Browser, ENTER, Gateway, SIMULATED};

const TLS: &str = "mode = \"dev\"";
const SOON: Duration = Duration::from_secs(30);

const LIVE: &str = "return document.getElementById('connection').dataset.state === 'live'";
const SHOWS_A_VM: &str = "return document.querySelector('tr[data-vm=\"demo-a\"]') !== null";
/// The status of a GET of `/auth/session`.
const SESSION: &str = "return fetch('/auth/session').then((answer) => answer.status)";

/// What the browser keeps after a login, and nothing else.
fn assert_is_the_session(cookies: &[Value]) {
    let [cookie] = cookies else { panic!("{cookies:?}") };
    let means = |name: &str| cookie[name].clone();
    assert_eq!(means("name"), "__Host-gatewatch");
    assert_eq!(means("httpOnly"), true);
    assert_eq!(means("secure"), true);
    assert_eq!(means("sameSite"), "Lax");
    assert_eq!(means("path"), "/");
    assert_eq!(means("domain"), "127.0.0.1", "of this host alone: no dot in front");
}

#[tokio::test(flavor = "multi_thread")]
async fn g29_a_person_signs_in_with_a_key_watches_and_signs_out() {
    let browser = Browser::start().await;
    let gateway = Gateway::start_with(SIMULATED, TLS).await;
    browser.open(&gateway.url("/plain")).await;
    browser.wait_for(SOON, "return !document.getElementById('sign-in').hidden").await;
    assert_eq!(browser.run("return document.getElementById('sign-out').hidden").await, true, "nobody is signed in");
    browser.screenshot("page-signed-out.png").await;
    browser.click("#sign-in").await;
    assert_eq!(browser.address().await, gateway.url("/login?next=/plain"));

    browser.type_into("#key", &format!("{}x{ENTER}", gateway.key())).await;
    browser.wait_for(SOON, "return document.querySelector('.refused') !== null").await;
    assert!(browser.text(".refused").await.contains("not valid"));
    assert_eq!(browser.cookies().await, [] as [Value; 0], "a wrong key signs nobody in");

    browser.type_into("#key", gateway.key()).await;
    browser.click("button[type=submit]").await;
    browser.wait_for(SOON, LIVE).await;
    browser.wait_for(SOON, SHOWS_A_VM).await;
    browser.wait_for(SOON, "return document.querySelector('[data-event=status]') !== null").await;
    assert_eq!(browser.address().await, gateway.url("/plain"));
    assert_is_the_session(&browser.cookies().await);
    assert_eq!(browser.run("return document.cookie").await, "", "no script sees it");
    assert_eq!(browser.run(SESSION).await, 200);

    browser.wait_for(SOON, "return !document.getElementById('sign-out').hidden").await;
    browser.screenshot("page-signed-in.png").await;
    browser.click("#sign-out").await;
    browser.wait_for(SOON, "return document.getElementById('connection').textContent.includes('signed out')").await;
    assert_eq!(browser.run(SHOWS_A_VM).await, false, "what was shown is gone");
    assert_eq!(browser.run("return document.getElementById('sign-in').hidden").await, false);
    assert_eq!(browser.run("return document.getElementById('sign-out').hidden").await, true);
    assert_eq!(browser.run(SESSION).await, 401);
    assert_eq!(browser.cookies().await, [] as [Value; 0]);
    drop(browser);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g29_a_person_without_javascript_signs_in_and_is_led_nowhere_else() {
    let browser = Browser::start_without_scripts().await;
    let gateway = Gateway::start_with(SIMULATED, TLS).await;
    browser.open(&gateway.url("/login?next=/api/vms")).await;
    browser.type_into("#key", &format!("no-key{ENTER}")).await;
    assert!(browser.text(".refused").await.contains("not valid"));
    assert_eq!(browser.cookies().await, [] as [Value; 0]);

    browser.type_into("#key", gateway.key()).await;
    browser.click("button[type=submit]").await;
    assert_eq!(browser.address().await, gateway.url("/api/vms"), "the way back outlives a wrong key");
    assert!(browser.text("body").await.contains("demo-a"));
    assert_is_the_session(&browser.cookies().await);

    browser.open(&gateway.url("/login?next=//localhost/")).await;
    browser.type_into("#key", &format!("{}{ENTER}", gateway.key())).await;
    assert_eq!(browser.address().await, gateway.url("/"), "another site is no way back");
    let page = browser.text("body").await;
    assert!(page.contains("needs JavaScript"), "scripts run: {page}");
    drop(browser);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn g69_after_signing_out_the_way_back_shows_nothing() {
    let browser = Browser::start().await;
    let gateway = Gateway::start_with(SIMULATED, TLS).await;
    browser.open(&gateway.login_url()).await;
    browser.open(&gateway.url("/api/vms")).await;
    assert!(browser.text("body").await.contains("demo-a"));
    browser.open(&gateway.url("/plain")).await;
    browser.wait_for(SOON, "return !document.getElementById('sign-out').hidden").await;
    browser.click("#sign-out").await;
    browser.wait_for(SOON, "return !document.getElementById('sign-in').hidden").await;
    browser.back().await;
    assert_eq!(browser.address().await, gateway.url("/api/vms"));
    let page = browser.text("body").await;
    assert!(page.contains("unauthorized") && !page.contains("demo-a"), "{page}");
    drop(browser);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_page_does_what_its_policy_forbids() {
    let browser = Browser::start().await;
    let gateway = Gateway::start_with(SIMULATED, TLS).await;
    let broken = |complaints: Vec<String>| -> Vec<String> {
        complaints.into_iter().filter(|line| line.contains("Content Security Policy")).collect()
    };
    browser.open(&gateway.url("/login?next=/plain")).await;
    for (name, width, height, colours) in
        [("light", 1200, 800, "light"), ("dark", 1200, 800, "dark"), ("phone", 360, 640, "light")]
    {
        browser.screen(width, height, colours).await;
        browser.screenshot(&format!("login-{name}.png")).await;
        let fits = browser.run("return document.documentElement.scrollWidth <= window.innerWidth").await;
        assert_eq!(fits, true, "{name}: it is wider than its screen");
    }
    browser.type_into("#key", &format!("no-key{ENTER}")).await;
    browser.wait_for(SOON, "return document.querySelector('.refused') !== null").await;
    browser.screenshot("login-refused-phone.png").await;
    browser.screen(1200, 800, "dark").await;
    browser.screenshot("login-refused-dark.png").await;
    browser.type_into("#key", &format!("{}{ENTER}", gateway.key())).await;
    browser.wait_for(SOON, SHOWS_A_VM).await;
    browser.screen(360, 640, "dark").await;
    browser.screenshot("page-phone.png").await;
    assert_eq!(broken(browser.complaints().await), [] as [String; 0]);

    // Were a text ever taken for markup, its script would not run; and this is how the browser would say so.
    let injected = "const script = document.createElement('script'); script.textContent = 'window.ran = true';
                    document.body.append(script); return window.ran === undefined";
    assert_eq!(browser.run(injected).await, true);
    assert_eq!(broken(browser.complaints().await).len(), 1);
    drop(browser);
    gateway.stop().await;
}
