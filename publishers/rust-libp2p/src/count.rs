//! Bytes that moved.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
        Arc, Mutex,
    },
};

use crate::{
    lock,
    schema::{DataGauge, Traffic},
};

/// Names that are kept; a peer may make up more.
const MAX_PROTOCOLS: usize = 1024;

/// Bytes received and sent, and what of them was shown last, for rates.
#[derive(Default, Debug)]
pub(crate) struct Counter {
    received: Gauge,
    sent: Gauge,
}

#[derive(Default, Debug)]
struct Gauge {
    bytes: AtomicU64,
    shown: AtomicU64,
}

impl Counter {
    pub(crate) fn receive(&self, bytes: u64) {
        self.received.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn send(&self, bytes: u64) {
        self.sent.bytes.fetch_add(bytes, Relaxed);
    }

    /// Received and sent so far.
    pub(crate) fn moved(&self) -> (u64, u64) {
        (
            self.received.bytes.load(Relaxed),
            self.sent.bytes.load(Relaxed),
        )
    }

    /// Becomes what was received and sent elsewhere.
    pub(crate) fn set(&self, (received, sent): (u64, u64)) {
        self.received.bytes.store(received, Relaxed);
        self.sent.bytes.store(sent, Relaxed);
    }

    /// Rates are of the time since the call before, which was so long ago; None: nobody knows.
    pub(crate) fn traffic(&self, seconds: Option<f64>) -> Traffic {
        let (received, sent) = self.moved();
        Traffic {
            traffic_in: Some(self.received.show(received, seconds)),
            traffic_out: Some(self.sent.show(sent, seconds)),
        }
    }
}

impl Gauge {
    fn show(&self, bytes: u64, seconds: Option<f64>) -> DataGauge {
        let before = self.shown.swap(bytes, Relaxed);
        let rate = seconds.map_or(0.0, |seconds| bytes.saturating_sub(before) as f64 / seconds);
        DataGauge {
            cum_bytes: bytes,
            cum_packets: 0,
            inst_bw: rate as u64,
        }
    }
}

/// What the streams of one protocol moved, closed ones included.
#[derive(Debug)]
pub(crate) struct Protocol {
    pub(crate) name: String,
    pub(crate) counter: Counter,
    pub(crate) open: AtomicU32,
}

/// Protocols by their names.
#[derive(Default)]
pub(crate) struct Protocols(Mutex<BTreeMap<String, Arc<Protocol>>>);

impl Protocols {
    /// The protocol of that name. When there are too many it is one that is not listed.
    pub(crate) fn named(&self, name: String) -> Arc<Protocol> {
        let mut all = lock(&self.0);
        if let Some(known) = all.get(&name) {
            return known.clone();
        }
        let protocol = Arc::new(Protocol {
            name: name.clone(),
            counter: Counter::default(),
            open: AtomicU32::new(0),
        });
        if all.len() < MAX_PROTOCOLS {
            all.insert(name, protocol.clone());
        }
        protocol
    }

    /// In the order of their names.
    pub(crate) fn all(&self) -> Vec<Arc<Protocol>> {
        lock(&self.0).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_since_they_were_shown() {
        let counter = Counter::default();
        counter.receive(1000);
        let gauge = |traffic: Traffic| traffic.traffic_in.unwrap();
        assert_eq!(
            gauge(counter.traffic(None)),
            DataGauge {
                cum_bytes: 1000,
                cum_packets: 0,
                inst_bw: 0
            }
        );
        counter.receive(500);
        assert_eq!(
            gauge(counter.traffic(Some(2.0))),
            DataGauge {
                cum_bytes: 1500,
                cum_packets: 0,
                inst_bw: 250
            }
        );
        assert_eq!(gauge(counter.traffic(Some(2.0))).inst_bw, 0);
    }

    #[test]
    fn a_peer_that_makes_up_protocols_does_not_fill_the_memory() {
        let protocols = Protocols::default();
        for i in 0..2 * MAX_PROTOCOLS {
            protocols.named(format!("/made-up/{i}"));
        }
        assert_eq!(protocols.all().len(), MAX_PROTOCOLS);
        assert!(Arc::ptr_eq(
            &protocols.named("/made-up/7".into()),
            &protocols.named("/made-up/7".into())
        ));
    }
}
