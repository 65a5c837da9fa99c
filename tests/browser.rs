//! A real browser signs in by the link that `demo` prints and watches with its own `EventSource`.

use std::time::Duration;

use crate::support::{Browser, Gateway};

const VM: &str = "
[[vm]]
name = \"waa-1\"
transport = \"simulated\"
[vm.simulated]
speed = \"5\"
once = true
";

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_the_whole_timeline_through_event_source_over_tls() {
    let gateway = Gateway::start_with(VM, "mode = \"dev\"").await;
    let browser = Browser::start().await;
    browser.open(&gateway.login_url()).await;
    let stage = |stage: &str| {
        format!("return document.querySelector('tr[data-vm=\"waa-1\"]')?.cells[1].textContent === '{stage}'")
    };
    for name in ["starting", "ready", "running"] {
        browser.wait_for(Duration::from_secs(20), &stage(name)).await;
    }
    browser
        .wait_for(Duration::from_secs(20), "return document.querySelector('[data-event=task_complete]') !== null")
        .await;
    browser.screenshot("page-running.png").await;
    browser.wait_for(Duration::from_secs(30), &stage("complete")).await;
    let completions = browser.run("return document.querySelectorAll('[data-event=task_complete]').length").await;
    assert_eq!(completions, 30);
    assert_eq!(browser.run("return document.getElementById('connection').dataset.state").await, "live");
    browser.screenshot("page-complete.png").await;
    drop(browser);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_a_session_is_told_that_it_is_signed_out() {
    let gateway = Gateway::start_with(VM, "mode = \"dev\"").await;
    let browser = Browser::start().await;
    browser.open(&gateway.url("/")).await;
    let state = "return document.getElementById('connection').textContent.includes('signed out')";
    browser.wait_for(Duration::from_secs(10), state).await;
    drop(browser);
    gateway.stop().await;
}
