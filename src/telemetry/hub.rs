//! What the hub counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

macro_rules! metrics {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $help:literal])+ $field:ident: $kind:ident = $metric:literal $([$($label:literal),+])?;)+ }) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug)]
        pub struct $name { $($(#[doc = $help])+ pub $field: $kind,)+ }

        impl $name {
            /// Makes them and registers them on `registry`; fails if one of the names is taken there.
            pub fn new(registry: &Registry) -> prometheus::Result<Self> {
                $(
                    let help = concat!($($help),+).trim_ascii();
                    let $field = metrics!(@make $kind, Opts::new($metric, help) $(, [$($label),+])?)?;
                    registry.register(Box::new($field.clone()))?;
                )+
                Ok(Self { $($field,)+ })
            }
        }
    };
    (@make $kind:ident, $opts:expr) => { $kind::with_opts($opts) };
    (@make $kind:ident, $opts:expr, [$($label:literal),+]) => { $kind::new($opts, &[$($label),+]) };
}

metrics! {
    /// Handles to the metrics of streams. Labels come from closed sets: reasons and classes.
    HubMetrics {
        /// Streams open now.
        streams_open: IntGauge = "gatewatch_streams_open";
        /// Streams opened.
        streams_opened: IntCounter = "gatewatch_streams_opened_total";
        /// Streams ended, by reason.
        streams_ended: IntCounterVec = "gatewatch_streams_ended_total" ["reason"];
        /// Frames handed to streams, by class: durable or live.
        events_delivered: IntCounterVec = "gatewatch_events_delivered_total" ["class"];
        /// Live status frames that a newer one replaced before they were sent to a stream.
        events_coalesced: IntCounter = "gatewatch_events_coalesced_total";
        /// Streams that went on from a Last-Event-ID.
        streams_resumed: IntCounter = "gatewatch_streams_resumed_total";
        /// VMs whose last report is older than three poll intervals (and than 15 s), or is from before this start.
        vms_stale: IntGauge = "gatewatch_vms_stale";
        /// Streams told to begin anew with a snapshot, by reason.
        streams_reset: IntCounterVec = "gatewatch_streams_reset_total" ["reason"];
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::HubMetrics;

    #[test]
    fn every_metric_has_its_doc_as_help_and_registers_once() {
        let registry = Registry::new();
        let metrics = HubMetrics::new(&registry).expect("fresh names");
        metrics.streams_ended.with_label_values(&["slow"]).inc();
        let open = registry.gather().into_iter().find(|family| family.name() == "gatewatch_streams_open");
        assert_eq!(open.expect("registered").help(), "Streams open now.");
        assert!(HubMetrics::new(&registry).is_err());
    }
}
