//! The issuers in force.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::fault::{IssuersError, TokenFault};
use super::https::{Fetch, Https, MAX_CA_FILE};
use super::remote::Remote;
use super::ring::{MAX_SET, Ring};
use super::rules::Rules;
use super::self_test::self_test;
use super::token::Unverified;
use super::{claims, read};
use crate::config::{HttpUrl, JwtConfig, JwtKeys};
use crate::model::{Principal, Timestamp};
use crate::telemetry::AuthMetrics;

/// How often the age of the keys is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

/// Makes what fetches from a URL, trusting the CAs in a file.
pub(super) type Client = dyn Fn(&HttpUrl, Option<&Path>) -> Result<Box<dyn Fetch>, String> + Send + Sync;

/// The issuers whose tokens are taken. They are replaced whole, without a lock in the way of a request.
pub struct Issuers {
    set: ArcSwap<Set>,
    replaced: watch::Sender<u64>,
    metrics: AuthMetrics,
    client: Box<Client>,
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Issuers").field(&self.set).finish()
    }
}

/// Issuers that were read and checked, to be put in force.
#[derive(Debug)]
pub struct IssuerSet(Set);

/// By `iss`.
type Set = HashMap<String, Arc<Issuer>>;

#[derive(Debug)]
struct Issuer {
    rules: Arc<Rules>,
    keys: Keys,
    /// The hash of the file of CAs that keys are fetched with, if there is one.
    cas: Option<[u8; 32]>,
}

#[derive(Debug)]
enum Keys {
    Fixed(Ring),
    Remote(Box<Remote>),
}

impl Issuers {
    /// Those of `configs`, with the keys that are in files. Keys at a URL come with [`Issuers::refresh`]; an issuer that does
    /// not answer keeps nobody from starting.
    ///
    /// # Errors
    /// A file that cannot be used, or cryptography that does not work.
    pub fn load(configs: &[JwtConfig], metrics: &AuthMetrics) -> Result<Self, IssuersError> {
        let issuers = Self::none(metrics);
        self_test()?;
        issuers.set.store(Arc::new(issuers.read(configs)?.0));
        Ok(issuers)
    }

    /// None at all.
    pub fn none(metrics: &AuthMetrics) -> Self {
        Self::fetching_with(metrics, |url, ca| Ok(Box::new(Https::new(url, ca)?)))
    }

    /// None, and the keys of those that come are fetched with what `client` makes.
    pub(super) fn fetching_with(
        metrics: &AuthMetrics,
        client: impl Fn(&HttpUrl, Option<&Path>) -> Result<Box<dyn Fetch>, String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            set: ArcSwap::default(),
            replaced: watch::Sender::new(0),
            metrics: metrics.clone(),
            client: Box::new(client),
        }
    }

    /// Reads the files of `configs`. Keys that were fetched stay for the issuers whose configuration did not change; if
    /// their CAs did not either, so does when they are fetched next.
    ///
    /// # Errors
    /// As [`Issuers::load`].
    pub fn read(&self, configs: &[JwtConfig]) -> Result<IssuerSet, IssuersError> {
        let before = self.set.load();
        let read = |config: &JwtConfig| {
            Ok((config.issuer.clone(), Issuer::read(config, before.get(&config.issuer), &self.client)?))
        };
        configs.iter().map(read).collect::<Result<_, _>>().map(IssuerSet)
    }

    /// Puts other issuers in force.
    pub fn replace(&self, set: IssuerSet) {
        let new = Arc::new(set.0);
        let before = self.set.swap(Arc::clone(&new));
        let stays = |issuer: &Arc<Issuer>| new.get(&*issuer.rules.issuer).is_some_and(|new| Arc::ptr_eq(new, issuer));
        // Else nobody is told: a fetch that runs would begin anew, and one that is slow never end.
        if remotes(&before).count() != remotes(&new).count() || !remotes(&before).all(stays) {
            self.replaced.send_modify(|version| *version += 1);
        }
    }

    /// Both in one: all of them, or an error and the old ones stay.
    #[cfg(test)]
    pub(in crate::edge) fn reload(&self, configs: &[JwtConfig]) -> Result<(), IssuersError> {
        self.replace(self.read(configs)?);
        Ok(())
    }

    /// Whether no issuer is configured.
    pub fn is_empty(&self) -> bool {
        self.set.load().is_empty()
    }

    /// Whom `token` stands for at `now`. Waits for at most one fetch of keys (G38); may be dropped at any time.
    ///
    /// # Errors
    /// Why it is not taken, for the log alone.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Principal>, TokenFault> {
        let token = Unverified::read(token)?;
        let issuer = self.set.load().get(&token.issuer).cloned().ok_or(TokenFault::UnknownIssuer)?;
        issuer.principal(&token, now).await.map(Arc::new)
    }

    /// What `principal`, let in earlier by a token, is at `now`: the same, until the token ends or its issuer is no longer
    /// configured. What a token grants stands in it, so a change of the issuer's keys or rules is for new tokens.
    pub fn renewed(&self, principal: &Principal, now: Timestamp) -> Option<Arc<Principal>> {
        let ended = principal.expires_at.is_some_and(|at| at <= now);
        let known = principal.issuer.as_deref().is_some_and(|issuer| self.set.load().contains_key(issuer));
        (known && !ended).then(|| Arc::new(principal.clone()))
    }

    /// Fetches the keys of those that publish them, and measures their age, until `stop`. Without it such issuers have no
    /// keys.
    pub async fn refresh(self: Arc<Self>, stop: CancellationToken) {
        let mut replaced = self.replaced.subscribe();
        loop {
            replaced.mark_unchanged();
            // Not the whole set, which would keep secrets that are in force no more.
            let issuers: Vec<_> = remotes(&self.set.load()).cloned().collect();
            let remotes: Vec<_> = issuers.iter().filter_map(|issuer| issuer.remote()).collect();
            tokio::select! {
                () = stop.cancelled() => return,
                // The sender is `self`, which is here.
                _ = replaced.changed() => {}
                () = self.measure(&remotes) => {}
                // An empty list would be done at once, again and again.
                _ = join_all(remotes.iter().map(|remote| remote.keep(&self.metrics))), if !remotes.is_empty() => {}
            }
        }
    }

    async fn measure(&self, remotes: &[&Remote]) {
        let mut ticks = interval(MEASURE_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let oldest = remotes.iter().map(|remote| remote.age()).max().unwrap_or_default();
            self.metrics.jwks_age.set(i64::try_from(oldest.as_secs()).unwrap_or(i64::MAX));
        }
    }
}

/// Those of `set` whose keys are fetched.
fn remotes(set: &Set) -> impl Iterator<Item = &Arc<Issuer>> {
    set.values().filter(|issuer| issuer.remote().is_some())
}

/// The hash of a file of CAs.
fn hash_of(cas: &Path) -> Result<[u8; 32], String> {
    let pem = read::file(cas, MAX_CA_FILE).map_err(|why| format!("{} {why}", cas.display()))?;
    Ok(Sha256::digest(pem).into())
}

impl Issuer {
    /// The issuer `before` itself, if it fetches its keys and neither its configuration nor its file of CAs has changed: a
    /// reload for another reason asks no issuer anything.
    fn read(config: &JwtConfig, before: Option<&Arc<Self>>, client: &Client) -> Result<Arc<Self>, IssuersError> {
        let rules = Arc::new(Rules::new(config)?);
        let wrong =
            |path: &PathBuf, why: String| IssuersError::File { issuer: config.issuer.clone(), path: path.clone(), why };
        let mut cas = None;
        let keys = match &config.keys {
            JwtKeys::Secret(path) => {
                Keys::Fixed(Ring::of_secret(&read::secret(path).map_err(|why| wrong(path, why))?, &rules))
            }
            JwtKeys::File(path) => {
                let bytes = read::file(path, MAX_SET).map_err(|why| wrong(path, why))?;
                Keys::Fixed(Ring::of_set(&bytes, &rules).map_err(|fault| wrong(path, fault.to_string()))?)
            }
            JwtKeys::Url { url, ca } => {
                let failed = |why| IssuersError::Client { issuer: config.issuer.clone(), why };
                // Before the client reads the file: a change in between is then seen by the next reload.
                cas = ca.as_deref().map(hash_of).transpose().map_err(failed)?;
                let before = before.filter(|before| before.rules.config == *config);
                if let Some(same) = before.filter(|before| before.cas == cas) {
                    return Ok(Arc::clone(same));
                }
                let source = client(url, ca.as_deref()).map_err(failed)?;
                let before = before.and_then(|before| before.remote());
                Keys::Remote(Box::new(Remote::new(Arc::clone(&rules), source, before)))
            }
        };
        Ok(Arc::new(Self { rules, keys, cas }))
    }

    fn remote(&self) -> Option<&Remote> {
        match &self.keys {
            Keys::Fixed(_) => None,
            Keys::Remote(remote) => Some(remote),
        }
    }

    async fn principal(&self, token: &Unverified<'_>, now: Timestamp) -> Result<Principal, TokenFault> {
        // Before any key is looked for: no fetch for what no key could verify.
        if !self.rules.algorithms.contains(&token.algorithm) {
            return Err(TokenFault::Algorithm);
        }
        let remote = match &self.keys {
            Keys::Fixed(ring) => return self.judge(ring, token, now),
            Keys::Remote(remote) => remote,
        };
        let judge = || match remote.ring() {
            Some(ring) => self.judge(&ring, token, now),
            None => Err(TokenFault::UnknownKey),
        };
        match judge() {
            Err(TokenFault::UnknownKey) => {
                remote.news().await;
                judge()
            }
            judged => judged,
        }
    }

    fn judge(&self, ring: &Ring, token: &Unverified<'_>, now: Timestamp) -> Result<Principal, TokenFault> {
        claims::principal(ring.verify(token)?, &self.rules, now)
    }
}
