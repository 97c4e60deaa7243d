//! Connections, addresses and failures: what the swarm tells.

use std::{
    convert::Infallible,
    fmt,
    sync::{atomic::AtomicU64, Arc, Mutex, OnceLock},
    task::{Context, Poll},
    time::SystemTime,
};

use libp2p::{
    core::{transport::PortUse, upgrade::DeniedUpgrade, ConnectedPoint, Endpoint},
    swarm::{
        behaviour::{ConnectionClosed, DialFailure, ListenFailure},
        dial_opts::PeerCondition,
        handler::ConnectionEvent,
        ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, DialError,
        FromSwarm, NetworkBehaviour, SubstreamProtocol, THandler, THandlerInEvent,
        THandlerOutEvent, ToSwarm,
    },
    Multiaddr, PeerId,
};
use serde_json::{json, Value};

use crate::{
    events::{short, texts},
    lock,
    meter::{Streams, Task, Wire},
    Shared,
};

/// What is known of a connection. Addresses and names are made texts of when they are shown.
pub(crate) struct Connection {
    pub(crate) id: ConnectionId,
    pub(crate) peer: PeerId,
    pub(crate) opened: SystemTime,
    pub(crate) point: Mutex<ConnectedPoint>,
    /// Nanoseconds; 0: no ping came back yet.
    pub(crate) latency: AtomicU64,
    pub(crate) agent: Mutex<Option<String>>,
    /// Of the meter, once it has found the connection.
    pub(crate) streams: OnceLock<Arc<Streams>>,
    pub(crate) wire: OnceLock<Arc<Wire>>,
}

impl Connection {
    pub(crate) fn new(id: ConnectionId, peer: PeerId, point: ConnectedPoint) -> Arc<Self> {
        Arc::new(Self {
            id,
            peer,
            opened: SystemTime::now(),
            point: Mutex::new(point),
            latency: AtomicU64::new(0),
            agent: Mutex::new(None),
            streams: OnceLock::new(),
            wire: OnceLock::new(),
        })
    }

    /// The content of an event.
    fn about(&self) -> Value {
        let point = lock(&self.point);
        json!({
            "connectionId": self.id.to_string(),
            "peerId": self.peer.to_string(),
            "multiaddr": point.get_remote_address().to_string(),
            "direction": if point.is_dialer() { "outbound" } else { "inbound" },
        })
    }
}

/// Tells [`Introspect`](crate::Introspect) of connections, addresses and failed dials. It changes
/// nothing, opens no streams, and keeps no connection alive.
///
/// ```
/// use introspectd_libp2p::Behaviour;
/// use libp2p::{identify, ping, swarm::NetworkBehaviour};
///
/// #[derive(NetworkBehaviour)]
/// struct Node {
///     introspect: Behaviour,
///     identify: identify::Behaviour,
///     ping: ping::Behaviour,
/// }
/// ```
pub struct Behaviour {
    shared: Arc<Shared>,
    /// The connection that the swarm is about to tell as established.
    arriving: Option<Arc<Connection>>,
}

impl Behaviour {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            arriving: None,
        }
    }

    fn arrives(&mut self, id: ConnectionId, peer: PeerId, point: ConnectedPoint) -> Handler {
        let connection = Connection::new(id, peer, point);
        self.arriving = Some(connection.clone());
        Handler {
            connection,
            shared: self.shared.clone(),
            task: None,
        }
    }

    fn established(&mut self, id: ConnectionId, others: usize) {
        let Some(connection) = self.arriving.take().filter(|arriving| arriving.id == id) else {
            return;
        };
        self.shared.offer("ConnectionOpened", || connection.about());
        if others == 0 {
            self.shared.offer(
                "PeerConnected",
                || json!({ "peerId": connection.peer.to_string() }),
            );
        }
        self.shared.connections.opened(connection);
    }

    fn closed(&mut self, closed: ConnectionClosed<'_>) {
        let reason = closed
            .cause
            .map(|cause| short(&chain(cause)))
            .unwrap_or_default();
        let Some(connection) = self
            .shared
            .connections
            .closed(closed.connection_id, &reason)
        else {
            return;
        };
        self.shared.offer("ConnectionClosed", || {
            let mut about = connection.about();
            about["openedAt"] = crate::milliseconds(connection.opened).into();
            about["reason"] = reason.into();
            about
        });
        if closed.remaining_established == 0 {
            self.shared.offer(
                "PeerDisconnected",
                || json!({ "peerId": closed.peer_id.to_string() }),
            );
        }
    }

    fn dial_failed(&self, failure: DialFailure<'_>) {
        if let DialError::DialPeerConditionFalse(_) = failure.error {
            return; // nothing was tried
        }
        self.shared.offer("DialFailed", || {
            let (addresses, reason) = match failure.error {
                DialError::Transport(tried) => {
                    let reasons: Vec<_> = tried.iter().map(|(_, error)| chain(error)).collect();
                    (
                        texts(tried.iter().map(|(address, _)| address)),
                        reasons.join("; "),
                    )
                }
                DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } => {
                    (texts([address]), failure.error.to_string())
                }
                DialError::DialPeerConditionFalse(PeerCondition::Always) => Default::default(), // its text is a panic
                other => (texts::<Multiaddr>([]), chain(other)),
            };
            json!({
                "peerId": failure.peer_id.map(|peer| peer.to_string()).unwrap_or_default(),
                "multiaddrs": addresses,
                "reason": short(&reason),
            })
        });
    }

    fn listen_failed(&self, failure: ListenFailure<'_>) {
        self.shared.offer("IncomingFailed", || {
            json!({
                "peerId": failure.peer_id.map(|peer| peer.to_string()).unwrap_or_default(),
                "multiaddr": failure.send_back_addr.to_string(),
                "reason": short(&chain(failure.error)),
            })
        });
    }

    fn addresses_changed(&self, event: &FromSwarm<'_>) {
        let (listening, confirmed) = &mut *lock(&self.shared.addresses);
        if listening.on_swarm_event(event) | confirmed.on_swarm_event(event) {
            self.shared.offer(
                "AddressesChanged",
                || json!({ "addresses": texts(crate::state::own(listening, confirmed).keys()) }),
            );
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = crate::Asked;

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        local_addr: &Multiaddr,
        remote_addr: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let (local_addr, send_back_addr) = (local_addr.clone(), remote_addr.clone());
        Ok(self.arrives(
            id,
            peer,
            ConnectedPoint::Listener {
                local_addr,
                send_back_addr,
            },
        ))
    }

    fn handle_established_outbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role_override: Endpoint,
        port_use: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        let address = address.clone();
        Ok(self.arrives(
            id,
            peer,
            ConnectedPoint::Dialer {
                address,
                role_override,
                port_use,
            },
        ))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.addresses_changed(&event);
        match event {
            FromSwarm::ConnectionEstablished(e) => {
                self.established(e.connection_id, e.other_established)
            }
            FromSwarm::ConnectionClosed(e) => self.closed(e),
            FromSwarm::AddressChange(e) => self.shared.connections.moved(e.connection_id, e.new),
            FromSwarm::DialFailure(e) => self.dial_failed(e),
            FromSwarm::ListenFailure(e) => self.listen_failed(e),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.shared
            .looks
            .poll(cx, &self.shared)
            .map(ToSwarm::GenerateEvent)
    }
}

/// The part of the [`Behaviour`] in each connection: tells the meter whose bytes it counts.
pub struct Handler {
    connection: Arc<Connection>,
    shared: Arc<Shared>,
    task: Option<Task>,
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handler({})", self.connection.id)
    }
}

impl Drop for Handler {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            self.shared.linking.remove(task, &self.connection);
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = Infallible;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Infallible;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol, Self::InboundOpenInfo> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<
        ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>,
    > {
        if self.task.is_none() {
            self.task = Some(self.shared.linking.put(cx, &self.connection));
        }
        Poll::Pending
    }

    fn on_behaviour_event(&mut self, event: Self::FromBehaviour) {
        match event {}
    }

    fn on_connection_event(
        &mut self,
        _: ConnectionEvent<
            '_,
            Self::InboundProtocol,
            Self::OutboundProtocol,
            Self::InboundOpenInfo,
            Self::OutboundOpenInfo,
        >,
    ) {
    }
}
