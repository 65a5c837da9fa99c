//! The kinds of metric there are, and the macro that makes a struct of them.

use std::marker::PhantomData;

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Upper bounds of every histogram of durations, in seconds: from a snapshot out of memory to the poll timeout.
const DURATION_BUCKETS: [f64; 12] = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0];

/// A count that only grows.
pub type Counter = IntCounter;
/// A value that goes up and down.
pub type Gauge = IntGauge;
/// A histogram of durations in seconds.
pub type Seconds = Histogram;

/// The values of one label: a closed set.
pub trait LabelSet: Copy + 'static {
    /// Every value, in the order of [`LabelSet::index`].
    const ALL: &'static [Self];
    /// The value on the wire.
    fn as_str(self) -> &'static str;
    /// Its place in [`LabelSet::ALL`].
    fn index(self) -> usize;
}

/// What documents say of one metric.
#[derive(Clone, Debug)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, each with its values where telemetry has them as a closed set.
    pub labels: Vec<(&'static str, Vec<&'static str>)>,
    /// Its HELP text.
    pub help: &'static str,
}

/// A metric that can be put on a registry.
pub(in crate::telemetry) trait Family: Sized {
    /// Its type, as the exposition names it.
    const KIND: &'static str;

    fn register(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self>;

    /// The values of its labels, as far as they are closed sets of this room, in the order of the labels.
    fn values() -> Vec<Vec<&'static str>> {
        Vec::new()
    }
}

fn words<L: LabelSet>() -> Vec<&'static str> {
    L::ALL.iter().map(|value| value.as_str()).collect()
}

/// What `F` is, under `name`.
pub(in crate::telemetry) fn describe<F: Family>(
    name: &'static str,
    help: &'static str,
    labels: &[&'static str],
) -> Described {
    let mut values = F::values().into_iter();
    let labels = labels.iter().map(|label| (*label, values.next().unwrap_or_default())).collect();
    Described { name, kind: F::KIND, labels, help }
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, collector: C) -> prometheus::Result<C> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

impl Family for Counter {
    const KIND: &'static str = "counter";

    fn register(registry: &Registry, name: &str, help: &str, _: &[&str]) -> prometheus::Result<Self> {
        add(registry, IntCounter::new(name, help)?)
    }
}

impl Family for Gauge {
    const KIND: &'static str = "gauge";

    fn register(registry: &Registry, name: &str, help: &str, _: &[&str]) -> prometheus::Result<Self> {
        add(registry, IntGauge::new(name, help)?)
    }
}

impl Family for Seconds {
    const KIND: &'static str = "histogram";

    fn register(registry: &Registry, name: &str, help: &str, _: &[&str]) -> prometheus::Result<Self> {
        add(registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec()))?)
    }
}

/// Counters of one closed label. Every value is there from the start, so that a rate never begins at a gap.
#[derive(Clone, Debug)]
pub struct CounterBy<L> {
    counters: Vec<IntCounter>,
    set: PhantomData<fn(L)>,
}

impl<L: LabelSet> CounterBy<L> {
    /// The counter of `value`.
    pub fn of(&self, value: L) -> &Counter {
        &self.counters[value.index()]
    }
}

impl<L: LabelSet> Family for CounterBy<L> {
    const KIND: &'static str = "counter";

    fn values() -> Vec<Vec<&'static str>> {
        vec![words::<L>()]
    }

    fn register(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let vec = add(registry, IntCounterVec::new(Opts::new(name, help), labels)?)?;
        let counters = L::ALL.iter().map(|value| vec.get_metric_with_label_values(&[value.as_str()]));
        Ok(Self { counters: counters.collect::<prometheus::Result<_>>()?, set: PhantomData })
    }
}

/// Counters of one label whose values are a closed set of the room that counts: texts of its code alone.
#[derive(Clone, Debug)]
pub struct CounterByWord(IntCounterVec);

impl CounterByWord {
    /// The counter of `word`; from here on it is there.
    pub fn of(&self, word: &'static str) -> Counter {
        self.0.with_label_values(&[word])
    }
}

impl Family for CounterByWord {
    const KIND: &'static str = "counter";

    fn register(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let vec = add(registry, IntCounterVec::new(Opts::new(name, help), labels)?)?;
        vec.get_metric_with_label_values(&[""])?;
        vec.reset();
        Ok(Self(vec))
    }
}

/// Gauges of one closed label.
#[derive(Clone, Debug)]
pub struct GaugeBy<L> {
    gauges: Vec<IntGauge>,
    set: PhantomData<fn(L)>,
}

impl<L: LabelSet> GaugeBy<L> {
    /// The gauge of `value`.
    pub fn of(&self, value: L) -> &Gauge {
        &self.gauges[value.index()]
    }
}

impl<L: LabelSet> Family for GaugeBy<L> {
    const KIND: &'static str = "gauge";

    fn register(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let vec = add(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)?;
        let gauges = L::ALL.iter().map(|value| vec.get_metric_with_label_values(&[value.as_str()]));
        Ok(Self { gauges: gauges.collect::<prometheus::Result<_>>()?, set: PhantomData })
    }

    fn values() -> Vec<Vec<&'static str>> {
        vec![words::<L>()]
    }
}

/// Gauges of `N` labels whose values are told at each scrape: for a registry of that scrape's own.
#[derive(Clone, Debug)]
pub struct GaugeOf<const N: usize>(GaugeVec);

impl<const N: usize> GaugeOf<N> {
    /// Sets the gauge of `labels`.
    pub fn set(&self, labels: [&str; N], value: f64) {
        self.0.with_label_values(&labels).set(value);
    }
}

impl<const N: usize> Family for GaugeOf<N> {
    const KIND: &'static str = "gauge";

    fn register(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let vec = add(registry, GaugeVec::new(Opts::new(name, help), labels)?)?;
        vec.get_metric_with_label_values(&[""; N])?;
        vec.reset();
        Ok(Self(vec))
    }
}

/// Seconds that somebody else adds up, such as the kernel.
#[derive(Clone, Debug)]
pub struct TotalSeconds(prometheus::Counter);

impl TotalSeconds {
    /// The total is `seconds` now. A smaller one than before is ignored: a counter never falls.
    pub fn reach(&self, seconds: f64) {
        self.0.inc_by((seconds - self.0.get()).max(0.0));
    }

    /// The total.
    pub fn total(&self) -> f64 {
        self.0.get()
    }
}

impl Family for TotalSeconds {
    const KIND: &'static str = "counter";

    fn register(registry: &Registry, name: &str, help: &str, _: &[&str]) -> prometheus::Result<Self> {
        Ok(Self(add(registry, prometheus::Counter::new(name, help)?)?))
    }
}

/// One that a gauge counts for as long as this value lives, in whatever way it goes.
#[derive(Debug)]
pub struct Held(Gauge);

impl Held {
    /// Counts one more on `gauge`.
    pub fn on(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counters of two closed labels. Every pair is there from the start, so that a rate never begins at a gap.
#[derive(Clone, Debug)]
pub struct CounterByPair<A, B> {
    vec: IntCounterVec,
    set: PhantomData<fn(A, B)>,
}

impl<A: LabelSet, B: LabelSet> CounterByPair<A, B> {
    /// The counter of the pair.
    pub fn of(&self, a: A, b: B) -> Counter {
        self.vec.with_label_values(&[a.as_str(), b.as_str()])
    }
}

impl<A: LabelSet, B: LabelSet> Family for CounterByPair<A, B> {
    const KIND: &'static str = "counter";

    fn values() -> Vec<Vec<&'static str>> {
        vec![words::<A>(), words::<B>()]
    }

    fn register(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let vec = add(registry, IntCounterVec::new(Opts::new(name, help), labels)?)?;
        for (a, b) in A::ALL.iter().flat_map(|a| B::ALL.iter().map(move |b| (a, b))) {
            vec.get_metric_with_label_values(&[a.as_str(), b.as_str()])?;
        }
        Ok(Self { vec, set: PhantomData })
    }
}

/// Requests by (route, method, code).
#[derive(Clone, Debug)]
pub struct Requests(IntCounterVec);

impl Requests {
    /// Counts one request. `route` must come from the route table and `method` from a closed list.
    pub fn count(&self, route: &str, method: &str, code: u16) {
        let mut digits = [0_u8; 5];
        self.0.with_label_values(&[route, method, decimal(code, &mut digits)]).inc();
    }
}

/// `n` in decimal, without an allocation.
fn decimal(mut n: u16, digits: &mut [u8; 5]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return std::str::from_utf8(&digits[at..]).unwrap_or_default();
        }
    }
}

impl Family for Requests {
    const KIND: &'static str = "counter";

    fn register(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let vec = add(registry, IntCounterVec::new(Opts::new(name, help), labels)?)?;
        // The routes are known elsewhere. One series is there from the start, so that a gateway nobody has asked yet counts none
        // rather than nothing.
        vec.get_metric_with_label_values(&["unmatched", "GET", "404"])?;
        Ok(Self(vec))
    }
}

/// Durations by one label whose values come from the route table.
#[derive(Clone, Debug)]
pub struct SecondsBy(HistogramVec);

impl SecondsBy {
    /// Adds one duration, in seconds.
    pub fn observe(&self, label: &str, seconds: f64) {
        self.0.with_label_values(&[label]).observe(seconds);
    }
}

impl Family for SecondsBy {
    const KIND: &'static str = "histogram";

    fn register(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> prometheus::Result<Self> {
        let opts = HistogramOpts::new(name, help).buckets(DURATION_BUCKETS.to_vec());
        let vec = add(registry, HistogramVec::new(opts, labels)?)?;
        vec.get_metric_with_label_values(&[""])?;
        vec.reset();
        Ok(Self(vec))
    }
}

/// A constant 1 whose label is the version. The registry alone keeps it.
#[derive(Clone, Debug)]
pub struct BuildInfo(());

impl Family for BuildInfo {
    const KIND: &'static str = "gauge";

    fn register(registry: &Registry, name: &str, help: &str, _: &[&str]) -> prometheus::Result<Self> {
        let gauge = IntGauge::with_opts(Opts::new(name, help).const_label("version", env!("CARGO_PKG_VERSION")))?;
        gauge.set(1);
        add(registry, gauge)?;
        Ok(Self(()))
    }
}

/// A struct of metrics; the doc comment of a field is its HELP text.
macro_rules! metrics {
    (
        $(#[doc = $about:literal])+
        pub struct $name:ident {
            $( $(#[doc = $help:literal])+ $field:ident : $kind:ty = $metric:literal, [$($label:literal),*]; )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $name {
            $( $(#[doc = $help])+ pub $field: $kind, )+
        }

        impl $name {
            /// Puts these metrics on `registry`; fails if one of the names is on it already.
            pub fn register(registry: &prometheus::Registry) -> prometheus::Result<Self> {
                Ok(Self {
                    $( $field: $crate::telemetry::metrics::family::Family::register(
                        registry, $metric, concat!($($help),+).trim_ascii(), &[$($label),*],
                    )?, )+
                })
            }

            /// What documents say of them.
            pub(in crate::telemetry) fn describe() -> Vec<$crate::telemetry::metrics::Described> {
                vec![$( $crate::telemetry::metrics::family::describe::<$kind>(
                    $metric, concat!($($help),+).trim_ascii(), &[$($label),*],
                ), )+]
            }
        }
    };
}
pub(in crate::telemetry) use metrics;
