//! Events: which there are, and how they wait for the daemon.

use std::{collections::HashSet, fmt::Display, time::SystemTime};

use serde_json::Value;

use crate::{
    milliseconds,
    schema::{
        event_type::{
            event_property::PropertyType::{self, Number, Peerid, String as Text, Time},
            EventProperty,
        },
        Event, EventType,
    },
};

/// What the daemon takes; a longer one is not sent.
const LONGEST: usize = 8192;
const MAX_LISTED: usize = 50;
const MAX_TEXT: usize = 500; // bytes

type Property = (&'static str, PropertyType, bool);

const fn one(name: &'static str, kind: PropertyType) -> Property {
    (name, kind, false)
}

const fn many(name: &'static str) -> Property {
    (name, Text, true)
}

const ID: Property = one("connectionId", Text);
const PEER: Property = one("peerId", Peerid);
const ADDRESS: Property = one("multiaddr", Text);
const DIRECTION: Property = one("direction", Text);
const REASON: Property = one("reason", Text);

/// All that can be sent. No MULTIADDR: the observer toolkit's UI ends when one is to be shown.
const TYPES: &[(&str, &[Property])] = &[
    ("ConnectionOpened", &[ID, PEER, ADDRESS, DIRECTION]),
    (
        "ConnectionClosed",
        &[ID, PEER, ADDRESS, DIRECTION, one("openedAt", Time), REASON],
    ),
    ("PeerConnected", &[PEER]),
    ("PeerDisconnected", &[PEER]),
    (
        "PeerIdentified",
        &[
            PEER,
            ID,
            one("agentVersion", Text),
            one("protocolVersion", Text),
            many("protocols"),
            many("listenAddrs"),
            one("observedAddr", Text),
        ],
    ),
    ("IdentifyFailed", &[PEER, ID, REASON]),
    ("PingFailed", &[PEER, ID, REASON]),
    ("DialFailed", &[PEER, many("multiaddrs"), REASON]),
    ("IncomingFailed", &[PEER, ADDRESS, REASON]),
    ("AddressesChanged", &[many("addresses")]),
    ("DHTModeChanged", &[one("mode", Text)]),
    (
        "DHTQueryEnded",
        &[
            one("query", Text),
            one("result", Text),
            one("requests", Number),
            one("milliseconds", Number),
        ],
    ),
    ("TopicSubscribed", &[PEER, one("topic", Text)]),
    ("TopicUnsubscribed", &[PEER, one("topic", Text)]),
];

/// An event that waits to be sent.
pub(crate) struct Happened {
    pub(crate) name: &'static str,
    pub(crate) at: SystemTime,
    pub(crate) content: Value,
}

impl Happened {
    /// The first of its kind on a connection to the daemon tells its properties; `told` are the
    /// kinds before. None: it is too long.
    pub(crate) fn message(self, told: &mut HashSet<&'static str>) -> Option<Event> {
        let content = self.content.to_string();
        if content.len() > LONGEST - 1024 {
            tracing::debug!(
                event = self.name,
                bytes = content.len(),
                "too long to be sent"
            );
            return None;
        }
        let first = told.insert(self.name);
        let kind = types().find(|kind| first && kind.name == self.name);
        let kind = kind.unwrap_or(EventType {
            name: self.name.into(),
            property_types: vec![],
        });
        Some(Event {
            r#type: Some(kind),
            ts: milliseconds(self.at),
            content,
        })
    }
}

pub(crate) fn types() -> impl Iterator<Item = EventType> {
    TYPES.iter().map(|(name, properties)| EventType {
        name: (*name).into(),
        property_types: properties
            .iter()
            .map(|&(name, kind, has_multiple)| EventProperty {
                name: name.into(),
                r#type: kind.into(),
                has_multiple,
            })
            .collect(),
    })
}

/// What of a text goes into an event.
pub(crate) fn short(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// As many as an event has room for.
pub(crate) fn texts<T: Display>(all: impl IntoIterator<Item = T>) -> Vec<String> {
    all.into_iter()
        .take(MAX_LISTED)
        .map(|one| short(&one.to_string()))
        .collect()
}
