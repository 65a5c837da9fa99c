//! A real Chromium, driven over WebDriver (W3C) through Debian's chromedriver.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

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
        let args = [
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
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true, "goog:chromeOptions": {"args": args}
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
        let answer: Value = request.send().await.expect("chromedriver answers").json().await.expect("JSON");
        assert!(answer["value"]["error"].is_null(), "{command}: {answer}");
        answer["value"].clone()
    }

    /// Opens `url` and waits until it is loaded.
    pub async fn open(&self, url: &str) {
        self.call("url", json!({"url": url})).await;
    }

    /// What the body of a function `script` returns in the page.
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
        let request = self.client.get(format!("{}/screenshot", self.session));
        let answer: Value = request.send().await.expect("chromedriver answers").json().await.expect("JSON");
        let png = base64(answer["value"].as_str().expect("base64"));
        let dir = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("screenshots");
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
