//! A real browser signs in by the link that `demo` prints and watches with its own `EventSource`, on the plain page. The
//! dashboard has tests of its own in `web/e2e`.

use std::fs;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::support::{Browser, Gateway, Process, Scheme};

const TLS: &str = "mode = \"dev\"";

/// A VM whose script begins once the page is surely there (a busy machine may take seconds to load it), and then runs
/// three times as fast as the clock, so that each stage lasts longer than a poll interval.
fn vm() -> String {
    let begins = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() + 6;
    format!(
        "[[vm]]\nname = \"waa-1\"\ntransport = \"simulated\"\n[vm.simulated]\nspeed = \"3\"\nonce = true\nstarted = \"{begins}\"\n"
    )
}

/// Whether the page's list of events has a status of that stage.
fn told(stage: &str) -> String {
    format!(
        "return [...document.querySelectorAll('[data-event=status]')].some((item) => item.textContent.endsWith(' {stage}'))"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_sees_the_whole_timeline_through_event_source_over_tls() {
    let browser = Browser::start().await;
    let gateway = Gateway::start_with(&vm(), TLS).await;
    browser.open(&gateway.login_url()).await;
    browser.open(&gateway.url("/plain")).await;
    for stage in ["off", "starting", "ready", "running"] {
        browser.wait_for(Duration::from_secs(30), &told(stage)).await;
    }
    browser
        .wait_for(Duration::from_secs(20), "return document.querySelector('[data-event=task_complete]') !== null")
        .await;
    browser.screenshot("page-running.png").await;
    let complete = "return document.querySelector('tr[data-vm=\"waa-1\"]')?.cells[1].textContent === 'complete'";
    browser.wait_for(Duration::from_secs(30), complete).await;
    let completed = browser.run("return document.querySelector('tr[data-vm=\"waa-1\"]').cells[4].textContent").await;
    assert_eq!(completed, "30 of 30");
    assert_eq!(browser.run("return document.getElementById('connection').dataset.state").await, "live");
    browser.screenshot("page-complete.png").await;
    drop(browser);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_without_a_session_is_told_that_it_is_signed_out() {
    let browser = Browser::start().await;
    let gateway = Gateway::start_with(&vm(), TLS).await;
    browser.open(&gateway.url("/plain")).await;
    let state = "return document.getElementById('connection').textContent.includes('signed out')";
    browser.wait_for(Duration::from_secs(20), state).await;
    drop(browser);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_whose_grants_grew_while_it_was_away_begins_anew_and_has_the_completions_of_every_vm() {
    // Long over, and the same after a restart.
    let over = |vm: &str| {
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs() - 3600;
        format!(
            "[[vm]]\nname = \"{vm}\"\ntransport = \"simulated\"\n[vm.simulated]\nonce = true\ntasks = 3\nstarted = \"{begun}\"\n"
        )
    };
    let mut served = Process::start(Scheme::Https, &format!("{}{}", over("one"), over("two"))).await;
    let keys = served.file("keys.toml");
    let all = fs::read_to_string(&keys).expect("the keys");
    let one = all.replace("vms = [\"*\"]", "vms = [\"one\"]");
    assert_ne!(one, all);
    fs::write(&keys, one).expect("written");
    served.restart().await;

    let browser = Browser::start().await;
    browser.open(&served.url("/login?next=/plain")).await;
    browser.type_into("#key", served.key()).await;
    browser.click("button[type=submit]").await;
    let completions = |vm: &str| {
        format!(
            "return [...document.querySelectorAll('[data-event=task_complete]')].filter((item) => item.textContent.includes(' {vm} ')).length === 3"
        )
    };
    browser.wait_for(Duration::from_secs(30), &completions("one")).await;
    assert_eq!(browser.run("return document.querySelector('tr[data-vm=two]') === null").await, true);
    fs::write(&keys, all).expect("written");
    served.restart().await;
    // It comes back by itself and with an id, behind which nothing of the other VM stands.
    browser.wait_for(Duration::from_secs(30), &completions("two")).await;
    assert_eq!(browser.run(&completions("one")).await, true, "and each once");
    drop(browser);
}
