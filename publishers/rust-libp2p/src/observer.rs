//! What the behaviours of libp2p tell of themselves.

#[cfg(feature = "ping")]
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

#[cfg(feature = "gossipsub")]
use libp2p::gossipsub;
#[cfg(feature = "identify")]
use libp2p::identify;
#[cfg(feature = "kad")]
use libp2p::kad;
#[cfg(feature = "ping")]
use libp2p::ping;
use serde_json::json;

use crate::{
    events::{short, texts},
    lock, Shared,
};

/// Takes the events of a node's behaviours, from its loop. Nothing here blocks or fails.
///
/// ```
/// # use introspectd_libp2p::{Behaviour, Observer};
/// # use libp2p::{futures::StreamExt, gossipsub, identify, kad, ping, swarm::{NetworkBehaviour, SwarmEvent}, Swarm};
/// #[derive(NetworkBehaviour)]
/// struct Node {
///     introspect: Behaviour,
///     identify: identify::Behaviour,
///     ping: ping::Behaviour,
///     kad: kad::Behaviour<kad::store::MemoryStore>,
///     gossipsub: gossipsub::Behaviour,
/// }
///
/// async fn run(mut swarm: Swarm<Node>, observer: Observer) {
///     loop {
///         let SwarmEvent::Behaviour(event) = swarm.select_next_some().await else {
///             continue;
///         };
///         match event {
///             NodeEvent::Identify(event) => observer.identify(&event),
///             NodeEvent::Ping(event) => observer.ping(&event),
///             NodeEvent::Kad(event) => observer.kad(&event),
///             NodeEvent::Gossipsub(event) => observer.gossipsub(&event),
///             NodeEvent::Introspect(asked) => {
///                 asked.routing_table(&mut swarm.behaviour_mut().kad);
///                 asked.mesh(&swarm.behaviour().gossipsub);
///             }
///         }
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Observer {
    shared: Arc<Shared>,
}

impl Observer {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Agent versions of peers; events of identifications.
    #[cfg(feature = "identify")]
    pub fn identify(&self, event: &identify::Event) {
        match event {
            identify::Event::Received {
                connection_id,
                peer_id,
                info,
            } => {
                if let Some(connection) = self.shared.connections.get(*connection_id) {
                    *lock(&connection.agent) = Some(short(&info.agent_version));
                }
                self.shared.offer("PeerIdentified", || {
                    json!({
                        "peerId": peer_id.to_string(),
                        "connectionId": connection_id.to_string(),
                        "agentVersion": short(&info.agent_version),
                        "protocolVersion": short(&info.protocol_version),
                        "protocols": texts(&info.protocols),
                        "listenAddrs": texts(&info.listen_addrs),
                        "observedAddr": info.observed_addr.to_string(),
                    })
                });
            }
            identify::Event::Error {
                connection_id,
                peer_id,
                error,
            } => self.shared.offer("IdentifyFailed", || {
                json!({
                    "peerId": peer_id.to_string(),
                    "connectionId": connection_id.to_string(),
                    "reason": short(&error.to_string()),
                })
            }),
            _ => {}
        }
    }

    /// Round trips of connections; events of pings that failed.
    #[cfg(feature = "ping")]
    pub fn ping(&self, event: &ping::Event) {
        match &event.result {
            Ok(round_trip) => {
                if let Some(connection) = self.shared.connections.get(event.connection) {
                    connection.latency.store(
                        round_trip.as_nanos().try_into().unwrap_or(u64::MAX),
                        Relaxed,
                    );
                }
            }
            Err(failure) => self.shared.offer("PingFailed", || {
                json!({
                    "peerId": event.peer.to_string(),
                    "connectionId": event.connection.to_string(),
                    "reason": short(&failure.to_string()),
                })
            }),
        }
    }

    /// Queries of the DHT, and since when peers are in its routing table; who is in it, and in
    /// which bucket, is told by [`Asked::routing_table`](crate::Asked::routing_table).
    #[cfg(feature = "kad")]
    pub fn kad(&self, event: &kad::Event) {
        match event {
            kad::Event::InboundRequest { .. } => lock(&self.shared.dht).answered(),
            kad::Event::OutboundQueryProgressed {
                result,
                stats,
                step,
                ..
            } if step.last => {
                let (query, ended) = crate::dht::outcome(result);
                lock(&self.shared.dht).ended(ended);
                self.shared.offer("DHTQueryEnded", || {
                    json!({
                        "query": query,
                        "result": ended,
                        "requests": stats.num_requests(),
                        "milliseconds": stats.duration().unwrap_or_default().as_millis() as u64,
                    })
                });
            }
            kad::Event::RoutingUpdated {
                peer,
                is_new_peer: true,
                old_peer,
                ..
            } => {
                lock(&self.shared.dht).added(*peer, old_peer.as_ref());
            }
            kad::Event::ModeChanged { new_mode } => {
                self.shared
                    .offer("DHTModeChanged", || json!({ "mode": new_mode.to_string() }));
            }
            _ => {}
        }
    }

    /// Events of peers that subscribe; topics and their mesh are told by
    /// [`Asked::mesh`](crate::Asked::mesh).
    #[cfg(feature = "gossipsub")]
    pub fn gossipsub(&self, event: &gossipsub::Event) {
        let (name, peer, topic) = match event {
            gossipsub::Event::Subscribed { peer_id, topic } => ("TopicSubscribed", peer_id, topic),
            gossipsub::Event::Unsubscribed { peer_id, topic } => {
                ("TopicUnsubscribed", peer_id, topic)
            }
            _ => return,
        };
        self.shared.offer(
            name,
            || json!({ "peerId": peer.to_string(), "topic": short(topic.as_str()) }),
        );
    }
}
