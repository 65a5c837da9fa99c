//! Keys that are fetched: when, how often, and what is used in between. Time is paused, and no socket is open.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use jsonwebtoken::Algorithm;
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Issuers, NOW, Signer, config, good, set_of, signers, with};
use crate::config::{HttpUrl, JwtConfig, JwtKeys};
use crate::edge::auth::jwt::https::{Fetch, FetchFault};
use crate::edge::auth::jwt::remote::{FETCH_WITHIN, NEWS_EVERY, PERIOD, STALE_MAX};
use crate::edge::auth::jwt::ring::MAX_SET;
use crate::telemetry::{AuthMetrics, AuthOutcome, FetchOutcome, Metrics};

/// An issuer that answers as it is told, after a while.
#[derive(Clone, Debug)]
struct Fake(Arc<Mutex<Said>>, Arc<AtomicUsize>);

#[derive(Debug)]
struct Said {
    answer: Result<Vec<u8>, FetchFault>,
    after: Duration,
}

impl Fetch for Fake {
    fn fetch(&self) -> BoxFuture<'_, Result<Vec<u8>, FetchFault>> {
        self.1.fetch_add(1, Ordering::Relaxed);
        let (answer, after) = {
            let said = self.0.lock().unwrap();
            (said.answer.clone(), said.after)
        };
        async move {
            sleep(after).await;
            answer
        }
        .boxed()
    }
}

/// Issuers of which one publishes keys, with the task that fetches them.
struct Fixture {
    issuers: Arc<Issuers>,
    fake: Fake,
    config: JwtConfig,
    metrics: AuthMetrics,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Fixture {
    /// One that answers `answer` after 100 ms.
    fn start(answer: Result<String, &str>) -> Self {
        let fake = Fake(
            Arc::new(Mutex::new(Said { answer: Ok(Vec::new()), after: Duration::from_millis(100) })),
            Arc::default(),
        );
        let url = HttpUrl::parse("https://id.example/jwks").unwrap();
        let config = config(JwtKeys::Url { url, ca: None }, &["ES256"]);
        let metrics = Metrics::new().auth;
        let made = fake.clone();
        let issuers = Arc::new(Issuers::fetching_with(&metrics, move |_, _| Ok(Box::new(made.clone()))));
        issuers.reload(std::slice::from_ref(&config)).unwrap();
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(Arc::clone(&issuers).refresh(stop.clone()));
        let fixture = Self { issuers, fake, config, metrics, stop, tasks };
        fixture.says(answer);
        fixture
    }

    fn with_key(signer: &Signer) -> Self {
        Self::start(Ok(set_of(&[signer.jwk()])))
    }

    fn says(&self, answer: Result<String, &str>) {
        let answer = answer.map(String::into_bytes).map_err(|why| FetchFault(why.to_owned()));
        self.fake.0.lock().unwrap().answer = answer;
    }

    fn answers_after(&self, after: Duration) {
        self.fake.0.lock().unwrap().after = after;
    }

    fn fetches(&self) -> usize {
        self.fake.1.load(Ordering::Relaxed)
    }

    async fn outcome(&self, signer: &Signer) -> AuthOutcome {
        let judged = self.issuers.verify(&signer.token(&good(NOW)), NOW).await;
        judged.map_or_else(|fault| fault.outcome(), |_| AuthOutcome::Ok)
    }

    /// Shows `count` tokens at once, each of a key that nobody knows.
    async fn flood(&self, count: usize) {
        let ec = &signers().1;
        let token = |n: usize| {
            let header = with(ec.header(), json!({"kid": format!("{n}-{}", rand::random::<u64>())}));
            ec.sign(&header.to_string(), &good(NOW).to_string())
        };
        let tokens: Vec<_> = (0..count).map(token).collect();
        for judged in join_all(tokens.iter().map(|token| self.issuers.verify(token, NOW))).await {
            assert_eq!(judged.unwrap_err().outcome(), AuthOutcome::Unknown);
        }
    }

    async fn stop(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn g38_a_thousand_unknown_keys_cause_one_fetch() {
    let ec = &signers().1;
    let fixture = Fixture::with_key(ec);
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Ok, "the first request waits for the first fetch");
    assert_eq!(fixture.fetches(), 1);

    let began = Instant::now();
    fixture.flood(500).await;
    while began.elapsed() < Duration::from_secs(10) {
        fixture.flood(50).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(fixture.fetches(), 2);
    sleep(NEWS_EVERY).await;
    fixture.flood(500).await;
    assert_eq!(fixture.fetches(), 3, "and one more when 30 s have passed");
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Ok);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g38_an_issuer_that_never_answered_is_not_asked_more_often() {
    for answer in [Err("refused"), Ok("{\"keys\":[]}".to_owned())] {
        let fixture = Fixture::start(answer);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(10) {
            fixture.flood(20).await;
            sleep(Duration::from_millis(500)).await;
        }
        // By itself: at 0 s, and with the shortest pauses at 1, 3 and 7 s; one more for all the tokens.
        assert!((2..=5).contains(&fixture.fetches()), "{}", fixture.fetches());
        assert_eq!(fixture.metrics.jwks_fetches.of(FetchOutcome::Ok).get(), 0);
        fixture.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn g38_nobody_waits_longer_than_one_fetch_may_take() {
    let ec = &signers().1;
    let fixture = Fixture::with_key(ec);
    fixture.answers_after(Duration::from_secs(3600));
    let began = Instant::now();
    fixture.flood(10).await;
    assert!(began.elapsed() <= FETCH_WITHIN + Duration::from_secs(1), "{:?}", began.elapsed());
    let failed = fixture.metrics.jwks_fetches.of(FetchOutcome::Failed).get();
    assert_eq!(failed, 1);
    // In the middle of the second.
    sleep(Duration::from_millis(2100)).await;
    let began = Instant::now();
    fixture.flood(10).await;
    assert!(began.elapsed() <= FETCH_WITHIN + Duration::from_secs(1), "{:?}", began.elapsed());
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g38_a_client_that_leaves_does_not_end_the_fetch_that_it_caused() {
    let (old, new) = (&signers().1, Signer::new("e2", Algorithm::ES256));
    let fixture = Fixture::with_key(old);
    assert_eq!(fixture.outcome(old).await, AuthOutcome::Ok);
    fixture.says(Ok(set_of(&[new.jwk()])));
    fixture.answers_after(Duration::from_secs(1));
    assert!(timeout(Duration::from_millis(50), fixture.outcome(&new)).await.is_err());
    sleep(Duration::from_secs(2)).await;
    assert_eq!(fixture.outcome(&new).now_or_never(), Some(AuthOutcome::Ok));
    assert_eq!(fixture.fetches(), 2);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g38_a_rotated_key_is_there_at_its_first_token_and_the_old_one_gone() {
    let (old, new) = (&signers().1, Signer::new("e2", Algorithm::ES256));
    let fixture = Fixture::with_key(old);
    assert_eq!(fixture.outcome(old).await, AuthOutcome::Ok);
    fixture.says(Ok(set_of(&[new.jwk()])));
    assert_eq!(fixture.outcome(old).await, AuthOutcome::Ok);
    assert_eq!(fixture.outcome(&new).await, AuthOutcome::Ok);
    assert_eq!(fixture.outcome(old).await, AuthOutcome::Unknown);
    assert_eq!(fixture.fetches(), 2);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g38_what_no_key_could_verify_causes_no_fetch() {
    let ec = &signers().1;
    let fixture = Fixture::with_key(ec);
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Ok);
    assert_eq!(fixture.outcome(&signers().0).await, AuthOutcome::Algorithm);
    let expired = ec.token(&with(good(NOW), json!({"exp": 1, "iat": 0})));
    assert!(fixture.issuers.verify(&expired, NOW).await.is_err());
    assert_eq!(fixture.outcome(&Signer::new("e1", Algorithm::ES256)).await, AuthOutcome::Wrong);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.fetches(), 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g39_keys_outlive_an_issuer_that_is_down_for_a_day() {
    let ec = &signers().1;
    let fixture = Fixture::with_key(ec);
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Ok);
    fixture.says(Err("down"));
    sleep(STALE_MAX - Duration::from_secs(60)).await;
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Ok);
    let age = fixture.metrics.jwks_age.get();
    assert!((86_300..86_400).contains(&age), "{age}");
    let asked = fixture.fetches();
    assert!((200..700).contains(&asked), "asked again and again, and not too often: {asked}");

    sleep(Duration::from_secs(70)).await;
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Unknown);
    sleep(Duration::from_secs(3600)).await;
    let age = fixture.metrics.jwks_age.get();
    assert!((90_000..90_100).contains(&age), "it grows when they are no longer in use too: {age}");
    fixture.says(Ok(set_of(&[ec.jwk()])));
    sleep(Duration::from_secs(301)).await;
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Ok);
    sleep(Duration::from_secs(6)).await;
    assert!(fixture.metrics.jwks_age.get() < 400);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g39_keys_that_never_came_are_as_old_as_the_wait_for_them() {
    let fixture = Fixture::start(Err("down"));
    sleep(Duration::from_secs(1000)).await;
    fixture.issuers.reload(std::slice::from_ref(&fixture.config)).unwrap();
    sleep(Duration::from_secs(1000)).await;
    let age = fixture.metrics.jwks_age.get();
    assert!((1990..=2000).contains(&age), "{age}");
    fixture.issuers.reload(&[]).unwrap();
    sleep(Duration::from_secs(6)).await;
    assert_eq!(fixture.metrics.jwks_age.get(), 0, "no issuer is fetched from");
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g39_keys_are_fetched_again_before_anybody_asks() {
    let (old, new) = (&signers().1, Signer::new("e2", Algorithm::ES256));
    let fixture = Fixture::with_key(old);
    sleep(Duration::from_secs(1)).await;
    fixture.says(Ok(set_of(&[new.jwk()])));
    sleep(PERIOD.mul_f64(1.1)).await;
    assert_eq!(fixture.outcome(&new).now_or_never(), Some(AuthOutcome::Ok));
    assert_eq!(fixture.fetches(), 2);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g40_what_is_no_good_set_replaces_nothing() {
    let ec = &signers().1;
    let fixture = Fixture::with_key(ec);
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Ok);
    let bad = [
        Err("the answer is 500"),
        Ok(String::new()),
        Ok("<html>".to_owned()),
        Ok("{\"keys\":[]}".to_owned()),
        Ok(set_of(&[json!({"kty": "oct", "k": "AAAA"})])),
        Ok(set_of(&[signers().0.jwk()])),
        Ok(format!("{}{}", set_of(&[ec.jwk()]), " ".repeat(MAX_SET))),
    ];
    for (n, answer) in bad.into_iter().enumerate() {
        fixture.says(answer);
        advance(NEWS_EVERY).await;
        fixture.flood(1).await;
        assert_eq!(fixture.outcome(ec).await, AuthOutcome::Ok);
        assert!(fixture.metrics.jwks_fetches.of(FetchOutcome::Failed).get() > n as u64);
        assert_eq!(fixture.metrics.jwks_fetches.of(FetchOutcome::Ok).get(), 1);
    }
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g38_reloads_neither_ask_an_issuer_that_is_down_more_often_nor_end_a_fetch() {
    let ec = &signers().1;
    let fixture = Fixture::start(Err("down"));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(500)).await;
        fixture.issuers.reload(std::slice::from_ref(&fixture.config)).unwrap();
    }
    // Without reloads at 0, 1, 3, 7, 15, 31 s with the shortest pauses.
    assert!((4..=7).contains(&fixture.fetches()), "{}", fixture.fetches());

    fixture.says(Ok(set_of(&[ec.jwk()])));
    fixture.answers_after(Duration::from_secs(2));
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(130) {
        sleep(Duration::from_secs(1)).await;
        fixture.issuers.reload(std::slice::from_ref(&fixture.config)).unwrap();
    }
    assert_eq!(fixture.metrics.jwks_fetches.of(FetchOutcome::Ok).get(), 1);
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g63_a_reload_fetches_again_when_the_file_of_cas_has_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (ec, ca) = (&signers().1, dir.path().join("ca.pem"));
    std::fs::write(&ca, "one").unwrap();
    let fixture = Fixture::with_key(ec);
    let JwtKeys::Url { url, .. } = fixture.config.keys.clone() else { panic!("no URL") };
    let config = JwtConfig { keys: JwtKeys::Url { url, ca: Some(ca.clone()) }, ..fixture.config.clone() };
    let mut asked = Vec::new();
    for text in ["one", "one", "two", "two"] {
        std::fs::write(&ca, text).unwrap();
        fixture.issuers.reload(std::slice::from_ref(&config)).unwrap();
        sleep(Duration::from_secs(1)).await;
        asked.push(fixture.fetches());
        assert_eq!(fixture.outcome(ec).now_or_never(), Some(AuthOutcome::Ok));
    }
    // The first counts the configuration without CAs too, if the task came so far as to ask it.
    let first = asked[0];
    assert_eq!(asked, [first, first, first + 1, first + 1]);
    std::fs::remove_file(&ca).unwrap();
    assert!(fixture.issuers.reload(&[config]).is_err());
    assert_eq!(fixture.outcome(ec).now_or_never(), Some(AuthOutcome::Ok));
    fixture.stop().await;
}

#[tokio::test(start_paused = true)]
async fn g63_a_reload_keeps_fetched_keys_where_nothing_changed() {
    let ec = &signers().1;
    let fixture = Fixture::with_key(ec);
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Ok);
    fixture.says(Err("down"));
    fixture.issuers.reload(std::slice::from_ref(&fixture.config)).unwrap();
    assert_eq!(fixture.outcome(ec).now_or_never(), Some(AuthOutcome::Ok));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(fixture.fetches(), 1, "nothing changed, so nothing is fetched");

    let stricter = JwtConfig { audience: vec!["other".to_owned()], ..fixture.config.clone() };
    fixture.issuers.reload(&[stricter]).unwrap();
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Unknown, "keys go with the rules that they were read by");
    assert!(fixture.fetches() >= 2, "the task that fetches has noticed");
    fixture.issuers.reload(&[]).unwrap();
    assert_eq!(fixture.outcome(ec).await, AuthOutcome::Unknown);
    fixture.stop().await;
}
