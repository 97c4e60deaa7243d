//! Makes the messages that the daemon asks for.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{atomic::Ordering::Relaxed, Arc},
    time::{Instant, SystemTime},
};

use libp2p::{
    core::{multiaddr::Protocol, ConnectedPoint},
    swarm::{ExternalAddresses, ListenAddresses},
    Multiaddr, PeerId,
};

use crate::{
    behaviour::Connection,
    count::Counter,
    events, lock,
    meter::Stream,
    milliseconds,
    node::{is_private, Closed},
    schema::{
        connection::{Attributes, RelayedOver, Timeline},
        own_address::Reachability,
        stream::Timeline as StreamTimeline,
        Connection as Message, EndpointPair, OwnAddress, ProtocolTraffic, Resource, Role, Runtime,
        State, Status, Stream as StreamMessage, StreamList, Subsystems,
    },
    Shared,
};

/// The newest release of libp2p that this was built for.
const LIBP2P: &str = "0.56";

/// When the state before was made, and what had moved in all by then.
#[derive(Default)]
pub(crate) struct Previous {
    at: Option<(Instant, SystemTime)>,
    moved: Counter,
}

impl Connection {
    /// What is counted: all that went over the wire, else what streams moved.
    pub(crate) fn counter(&self) -> Option<&Counter> {
        let wire = self.wire.get().map(|wire| &wire.counter);
        wire.or_else(|| self.streams.get().map(|streams| &streams.counter))
    }
}

impl Shared {
    /// What every connection to the daemon begins with.
    pub(crate) fn runtime(&self) -> Runtime {
        Runtime {
            implementation: "rust-libp2p".into(),
            version: LIBP2P.into(),
            platform: format!("{}/{} Rust", std::env::consts::OS, std::env::consts::ARCH),
            peer_id: self.peer_id.to_string(),
            event_types: events::types().collect(),
            ..Default::default()
        }
    }

    /// What closed and what moved is told from the state before on.
    pub(crate) fn state(&self) -> State {
        let (clock, now) = (Instant::now(), SystemTime::now());
        let mut previous = lock(&self.previous);
        let seconds = previous
            .at
            .map(|(at, _)| clock.duration_since(at).as_secs_f64())
            .filter(|seconds| *seconds > 0.0);
        let node = self.connections.now();

        let direct = node
            .open
            .iter()
            .filter(|connection| relay_of(lock(&connection.point).get_remote_address()).is_none());
        let maker = Maker {
            seconds,
            relays: direct.map(|c| (c.peer, c.id.to_string())).collect(),
        };
        let mut connections: Vec<_> = node.open.iter().map(|c| maker.connection(c)).collect();
        let resources = resources(&connections);
        connections.extend(node.closed.iter().map(|closed| maker.closed(closed)));
        let counters = node.open.iter().filter_map(|c| c.counter());
        previous.moved.set(
            counters
                .map(Counter::moved)
                .fold(node.moved, |all, one| (all.0 + one.0, all.1 + one.1)),
        );

        let state = State {
            traffic: Some(previous.moved.traffic(seconds)),
            instant_ts: milliseconds(now),
            start_ts: milliseconds(previous.at.map_or(self.started, |(_, at)| at)),
            addresses: self.addresses(),
            protocols: self.protocols(seconds),
            #[cfg(feature = "gossipsub")]
            topics: lock(&self.topics).clone(),
            resources,
            subsystems: Some(Subsystems {
                connections,
                #[cfg(feature = "kad")]
                dht: lock(&self.dht).message(),
                #[cfg(not(feature = "kad"))]
                dht: None,
            }),
            snapshot_duration_ms: clock.elapsed().as_millis().try_into().unwrap_or(u32::MAX),
            ..Default::default()
        };
        previous.at = Some((clock, now));
        state
    }

    fn addresses(&self) -> Vec<OwnAddress> {
        let (listening, confirmed) = &*lock(&self.addresses);
        own(listening, confirmed)
            .into_iter()
            .map(|(multiaddr, reachability)| OwnAddress {
                multiaddr,
                reachability: reachability.into(),
            })
            .collect()
    }

    fn protocols(&self, seconds: Option<f64>) -> Vec<ProtocolTraffic> {
        let all = self.protocols.all();
        all.iter()
            .map(|protocol| ProtocolTraffic {
                protocol: protocol.name.clone(),
                traffic: Some(protocol.counter.traffic(seconds)),
                streams: protocol.open.load(Relaxed),
            })
            .collect()
    }
}

/// The node's addresses, in a fixed order.
pub(crate) fn own(
    listening: &ListenAddresses,
    confirmed: &ExternalAddresses,
) -> BTreeMap<String, Reachability> {
    let reachability = |address: &Multiaddr, confirmed| match (is_private(address), confirmed) {
        (true, _) => Reachability::Private,
        (false, true) => Reachability::Public,
        (false, false) => Reachability::Unknown,
    };
    let listening = listening.iter().map(|address| (address, false));
    listening
        .chain(confirmed.iter().map(|address| (address, true)))
        .map(|(address, confirmed)| (address.to_string(), reachability(address, confirmed)))
        .collect()
}

/// What the connections of one state have in common.
struct Maker {
    /// Since the state before; None: there was none.
    seconds: Option<f64>,
    /// Direct connections.
    relays: HashMap<PeerId, String>,
}

impl Maker {
    fn closed(&self, closed: &Closed) -> Message {
        let mut message = self.connection(&closed.connection);
        message.status = Status::Closed.into();
        message.close_reason = closed.reason.clone();
        if let Some(timeline) = &mut message.timeline {
            timeline.close_ts = milliseconds(closed.at);
        }
        message
    }

    fn connection(&self, connection: &Connection) -> Message {
        let point = lock(&connection.point).clone();
        let host = connection.wire.get().and_then(|wire| wire.remote);
        let remote = &resolved(point.get_remote_address(), host);
        let id = connection.id.to_string();
        let streams = connection
            .streams
            .get()
            .map(|streams| streams.listed())
            .unwrap_or_default();
        let relay = relay_of(remote).and_then(|relay| self.relays.get(&relay));
        Message {
            peer_id: connection.peer.to_string(),
            transport_id: transport(remote).into(),
            endpoints: Some(EndpointPair {
                src_multiaddr: own_end(connection, &point),
                dst_multiaddr: remote.to_string(),
            }),
            timeline: Some(Timeline {
                open_ts: milliseconds(connection.opened),
                ..Default::default()
            }),
            role: if point.is_dialer() {
                Role::Initiator
            } else {
                Role::Responder
            }
            .into(),
            traffic: connection
                .counter()
                .map(|counter| counter.traffic(self.seconds)),
            attribs: Some(attributes(connection, remote)),
            latency_ns: connection.latency.load(Relaxed),
            agent_version: lock(&connection.agent).clone().unwrap_or_default(),
            relayed_over: relay.map(|id| RelayedOver::ConnId(id.clone().into())),
            streams: Some(StreamList {
                streams: streams
                    .iter()
                    .map(|stream| self.stream(&id, stream))
                    .collect(),
                ..Default::default()
            }),
            id: id.into(),
            ..Default::default()
        }
    }

    fn stream(&self, connection: &str, stream: &Arc<Stream>) -> StreamMessage {
        let closing = stream.closing.load(Relaxed);
        StreamMessage {
            id: format!("{connection}-{}", stream.number).into(),
            protocol: stream
                .protocol
                .get()
                .map(|protocol| protocol.name.clone())
                .unwrap_or_default(),
            role: if stream.dialed {
                Role::Initiator
            } else {
                Role::Responder
            }
            .into(),
            traffic: Some(stream.counter.traffic(self.seconds)),
            timeline: Some(StreamTimeline {
                open_ts: milliseconds(stream.opened),
                close_ts: 0,
            }),
            status: if closing {
                Status::Closing
            } else {
                Status::Active
            }
            .into(),
            ..Default::default()
        }
    }
}

/// What of the node's open connections and their streams is in use, and its memory.
fn resources(open: &[Message]) -> Vec<Resource> {
    let one = |scope: &str, name: String, used| Resource {
        scope: scope.into(),
        name,
        used,
        limit: 0,
    };
    let mut all = Vec::new();
    for (role, way) in [(Role::Responder, "inbound"), (Role::Initiator, "outbound")] {
        let conns = open.iter().filter(|c| c.role() == role).count();
        let lists = open.iter().filter_map(|c| c.streams.as_ref());
        let streams = lists
            .flat_map(|list| &list.streams)
            .filter(|s| s.role() == role);
        all.push(one("system", format!("conns-{way}"), conns as u64));
        all.push(one(
            "system",
            format!("streams-{way}"),
            streams.count() as u64,
        ));
    }
    all.extend(memory().map(|used| one("process", "memory".into(), used)));
    all
}

/// Bytes of the process that are resident; None where there is no /proc.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.trim().strip_suffix(" kB")?.parse::<u64>().ok()?)
}

/// The address with its host, which a TCP socket knows, in the place of a name.
fn resolved(address: &Multiaddr, host: Option<IpAddr>) -> Multiaddr {
    let parts = address.iter().map(|part| match (part, host) {
        (Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_), Some(host)) => host.into(),
        (part, _) => part,
    });
    parts.collect()
}

fn own_end(connection: &Connection, point: &ConnectedPoint) -> String {
    match point {
        ConnectedPoint::Listener { local_addr, .. } => local_addr.to_string(),
        ConnectedPoint::Dialer { .. } => {
            let local = connection.wire.get().and_then(|wire| wire.local.as_ref());
            local.map(ToString::to_string).unwrap_or_default()
        }
    }
}

/// What was agreed; of QUIC and what is built on it, both are the transport's own.
fn attributes(connection: &Connection, remote: &Multiaddr) -> Attributes {
    let quic = remote
        .iter()
        .any(|part| matches!(part, Protocol::Quic | Protocol::QuicV1));
    let own = || quic.then(|| "quic".to_owned());
    let security = connection
        .wire
        .get()
        .and_then(|wire| wire.security.get().cloned());
    let muxer = connection
        .streams
        .get()
        .and_then(|streams| streams.muxer.clone());
    Attributes {
        encryption: security.or_else(own).unwrap_or_default(),
        multiplexer: muxer.or_else(own).unwrap_or_default(),
    }
}

/// For example ip4+tcp, ip4+udp+quic-v1 or ip4+tcp+p2p-circuit. Components that say who or where,
/// and not by which transport, are left out.
fn transport(address: &Multiaddr) -> String {
    let names = address.iter().filter_map(|part| match part {
        Protocol::P2p(_) | Protocol::Certhash(_) | Protocol::Sni(_) => None,
        part => Some(part.tag()),
    });
    names.collect::<Vec<_>>().join("+")
}

/// The relay that the address leads over.
fn relay_of(address: &Multiaddr) -> Option<PeerId> {
    let mut before = None;
    for part in address {
        match part {
            Protocol::P2pCircuit => return before,
            Protocol::P2p(peer) => before = Some(peer),
            _ => before = None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_was_dialed_by_its_name_is_told_by_its_address() {
        let host = Some("192.0.2.1".parse().unwrap());
        for (dialed, told) in [
            ("/dns4/example.org/tcp/1/ws", "/ip4/192.0.2.1/tcp/1/ws"),
            ("/ip4/198.51.100.1/tcp/1", "/ip4/198.51.100.1/tcp/1"),
        ] {
            assert_eq!(resolved(&dialed.parse().unwrap(), host).to_string(), told);
        }
        let name: Multiaddr = "/dns/example.org/udp/1/quic-v1".parse().unwrap();
        assert_eq!(resolved(&name, None), name);
    }

    #[test]
    fn transports_and_relays_are_read_from_addresses() {
        let relay = PeerId::random();
        let cases = [
            ("/ip4/1.2.3.4/tcp/1".to_owned(), "ip4+tcp", None),
            (
                format!("/ip6/::1/udp/1/quic-v1/p2p/{relay}"),
                "ip6+udp+quic-v1",
                None,
            ),
            (
                format!(
                    "/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/p2p/{}",
                    PeerId::random()
                ),
                "ip4+tcp+p2p-circuit",
                Some(relay),
            ),
            ("/p2p-circuit".to_owned(), "p2p-circuit", None),
        ];
        for (address, names, over) in cases {
            let address: Multiaddr = address.parse().unwrap();
            assert_eq!(
                (&*transport(&address), relay_of(&address)),
                (names, over),
                "{address}"
            );
        }
    }
}
