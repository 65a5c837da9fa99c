//! A real Chromium, driven over WebDriver (W3C) through Debian's chromedriver.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// The key Enter, in [`Browser::type_into`] (WebDriver, 17.4.2).
pub const ENTER: &str = "\u{e007}";
/// Where build output of tests goes; examples have no such folder.
const BUILD_OUTPUT: Option<&str> = option_env!("CARGO_TARGET_TMPDIR");
/// Under this name an answer names an element (WebDriver, 12).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window; it ends with the value.
pub struct Browser {
    driver: Child,
    session: String,
    client: reqwest::Client,
    _profile: tempfile::TempDir,
}

impl Browser {
    /// Starts chromedriver on a free port and a headless browser behind it.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one that runs no script of a page.
    pub async fn start_without_scripts() -> Self {
        Self::start_with(&["--blink-settings=scriptEnabled=false"]).await
    }

    async fn start_with(more: &[&str]) -> Self {
        let profile = tempfile::tempdir().expect("a folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("chromedriver is missing: install the Debian package chromium-driver");
        let lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
        let port = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let rest = line.split_once("started successfully on port ")?.1;
                rest.trim_end_matches('.').parse::<u16>().ok()
            })
            .expect("chromedriver says its port");
        let client = super::plain();
        let profile_arg = format!("--user-data-dir={}", profile.path().display());
        let mut args = vec![
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1200,800",
            &profile_arg,
        ];
        args.extend(more);
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true, "goog:chromeOptions": {"args": args}, "goog:loggingPrefs": {"browser": "ALL"}
        }}});
        let base = format!("http://127.0.0.1:{port}/session");
        let answer: Value = client
            .post(&base)
            .json(&capabilities)
            .send()
            .await
            .expect("chromedriver answers")
            .json()
            .await
            .expect("JSON");
        let id = answer["value"]["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        Self { driver, session: format!("{base}/{id}"), client, _profile: profile }
    }

    async fn call(&self, command: &str, body: Value) -> Value {
        let request = self.client.post(format!("{}/{command}", self.session)).json(&body);
        value(command, request).await
    }

    async fn ask(&self, command: &str) -> Value {
        value(command, self.client.get(format!("{}/{command}", self.session))).await
    }

    /// Opens `url` and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        self.call("url", json!({"url": url})).await;
    }

    /// The address of the page that is shown.
    pub async fn address(&self) -> String {
        self.ask("url").await.as_str().expect("text").to_owned()
    }

    /// Goes back by one page, as a person with the button.
    pub async fn back(&self) {
        self.call("back", json!({})).await;
    }

    async fn element(&self, selector: &str) -> String {
        let found = self.call("element", json!({"using": "css selector", "value": selector})).await;
        found[ELEMENT].as_str().expect("an id").to_owned()
    }

    /// Clicks on the first element of that selector, as a person with the mouse.
    pub async fn click(&self, selector: &str) {
        let element = self.element(selector).await;
        self.call(&format!("element/{element}/click"), json!({})).await;
    }

    /// Types into the first element of that selector. The key Enter is [`ENTER`].
    pub async fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector).await;
        self.call(&format!("element/{element}/value"), json!({"text": text})).await;
    }

    /// The text that the first element of that selector shows.
    pub async fn text(&self, selector: &str) -> String {
        let element = self.element(selector).await;
        self.ask(&format!("element/{element}/text")).await.as_str().expect("text").to_owned()
    }

    /// The cookies that go to the page that is shown, with those that its scripts do not see.
    pub async fn cookies(&self) -> Vec<Value> {
        self.ask("cookie").await.as_array().expect("a list").clone()
    }

    /// What the browser complained of since it was asked last.
    pub async fn complaints(&self) -> Vec<String> {
        let lines = self.call("se/log", json!({"type": "browser"})).await;
        lines.as_array().expect("a list").iter().map(|line| line["message"].to_string()).collect()
    }

    /// Shows pages as on a screen of that size, with light or dark colours.
    pub async fn screen(&self, width: u32, height: u32, colours: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        let colours = json!({"features": [{"name": "prefers-color-scheme", "value": colours}]});
        for (cmd, params) in [("Emulation.setDeviceMetricsOverride", size), ("Emulation.setEmulatedMedia", colours)] {
            self.call("goog/cdp/execute", json!({"cmd": cmd, "params": params})).await;
        }
    }

    /// What the body of a function `script` returns in the page; of a promise, what it comes to.
    pub async fn run(&self, script: &str) -> Value {
        self.call("execute/sync", json!({"script": script, "args": []})).await
    }

    /// Waits until `script` returns something true, and returns it.
    pub async fn wait_for(&self, within: Duration, script: &str) -> Value {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let value = self.run(script).await;
            if !value.is_null() && value != false && value != 0 && value != "" {
                return value;
            }
            if tokio::time::Instant::now() > deadline {
                let page = self.run("return document.body.innerText").await;
                panic!("not within {within:?}: {script}\nthe page: {page}");
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Keeps a picture of the window as build output, for people to look at.
    pub async fn screenshot(&self, name: &str) {
        let png = base64(self.ask("screenshot").await.as_str().expect("base64"));
        let dir = std::path::Path::new(BUILD_OUTPUT.expect("Cargo gives tests such a folder")).join("screenshots");
        std::fs::create_dir_all(&dir).expect("a folder");
        std::fs::write(dir.join(name), png).expect("written");
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // chromedriver ends its browser with itself when it is asked to; killed, it would leave Chromium behind.
        let session = self.session.clone();
        let _ = Command::new("curl").args(["-s", "-m", "5", "-X", "DELETE", &session]).output();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

async fn value(command: &str, request: reqwest::RequestBuilder) -> Value {
    let answer: Value = request.send().await.expect("chromedriver answers").json().await.expect("JSON");
    assert!(answer["value"]["error"].is_null(), "{command}: {answer}");
    answer["value"].clone()
}

/// Decodes standard base64 without line breaks.
fn base64(text: &str) -> Vec<u8> {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for symbol in text.bytes().take_while(|b| *b != b'=') {
        let value = ALPHABET.iter().position(|b| *b == symbol).expect("base64");
        bits = (bits << 6) | u32::try_from(value).expect("six bits");
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}

#[test]
fn base64_decodes_with_and_without_padding() {
    assert_eq!(base64("TWFu"), b"Man");
    assert_eq!(base64("TWE="), b"Ma");
    assert_eq!(base64("TQ=="), b"M");
}
