//! What the node's behaviours told, kept until a state is made of it.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use libp2p::{
    core::{multiaddr::Protocol, ConnectedPoint},
    swarm::ConnectionId,
    Multiaddr,
};

use crate::{behaviour::Connection, lock};

/// Connections that are told.
const MAX_CONNECTIONS: usize = 65_536;
/// Connections kept for the next state once they are closed; when more close, the oldest go.
const MAX_CLOSED: usize = 1024;
/// Since the last state: nobody will want to see what closed.
const UNWATCHED: Duration = Duration::from_secs(10);

/// A connection that closed.
#[derive(Clone)]
pub(crate) struct Closed {
    pub(crate) connection: Arc<Connection>,
    pub(crate) at: SystemTime,
    pub(crate) reason: String,
}

/// The connections of the node.
#[derive(Default)]
pub(crate) struct Connections(Mutex<Table>);

#[derive(Default)]
struct Table {
    open: HashMap<ConnectionId, Arc<Connection>>,
    closed: VecDeque<Closed>,
    /// Received and sent by connections that closed.
    moved: (u64, u64),
    asked: Option<Instant>,
}

/// What a state is made of.
pub(crate) struct Now {
    /// In the order in which they were opened.
    pub(crate) open: Vec<Arc<Connection>>,
    /// Since the state before.
    pub(crate) closed: Vec<Closed>,
    /// Received and sent by all that ever closed.
    pub(crate) moved: (u64, u64),
}

impl Connections {
    pub(crate) fn opened(&self, connection: Arc<Connection>) {
        let mut table = lock(&self.0);
        if table.open.len() < MAX_CONNECTIONS {
            table.open.insert(connection.id, connection);
        }
    }

    pub(crate) fn closed(&self, id: ConnectionId, reason: &str) -> Option<Arc<Connection>> {
        let mut table = lock(&self.0);
        let connection = table.open.remove(&id)?;
        let (received, sent) = connection
            .counter()
            .map(|counter| counter.moved())
            .unwrap_or_default();
        table.moved.0 += received;
        table.moved.1 += sent;
        if table.asked.is_some_and(|asked| asked.elapsed() < UNWATCHED) {
            if table.closed.len() == MAX_CLOSED {
                table.closed.pop_front();
            }
            let closed = Closed {
                connection: connection.clone(),
                at: SystemTime::now(),
                reason: reason.to_owned(),
            };
            table.closed.push_back(closed);
        } else {
            table.closed = VecDeque::new();
        }
        Some(connection)
    }

    pub(crate) fn moved(&self, id: ConnectionId, point: &ConnectedPoint) {
        if let Some(connection) = self.get(id) {
            *lock(&connection.point) = point.clone();
        }
    }

    pub(crate) fn get(&self, id: ConnectionId) -> Option<Arc<Connection>> {
        lock(&self.0).open.get(&id).cloned()
    }

    /// What closed is told once.
    pub(crate) fn now(&self) -> Now {
        let mut table = lock(&self.0);
        table.asked = Some(Instant::now());
        let mut now = Now {
            open: table.open.values().cloned().collect(),
            closed: std::mem::take(&mut table.closed).into(),
            moved: table.moved,
        };
        drop(table);
        now.open.sort_unstable_by_key(|connection| connection.id);
        now
    }
}

/// Whether the address is of a range that nobody outside can reach.
pub(crate) fn is_private(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => {
            let [a, b, ..] = ip.octets();
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || (a == 100 && b & 0xc0 == 64)
        }
        Some(Protocol::Ip6(ip)) => {
            let first = ip.segments()[0];
            ip.is_loopback()
                || ip.is_unspecified()
                || first & 0xfe00 == 0xfc00
                || first & 0xffc0 == 0xfe80
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use libp2p::PeerId;

    use super::*;

    fn connection(id: usize) -> Arc<Connection> {
        let address: Multiaddr = "/ip4/127.0.0.1/tcp/1".parse().unwrap();
        let point = ConnectedPoint::Listener {
            local_addr: address.clone(),
            send_back_addr: address,
        };
        Connection::new(ConnectionId::new_unchecked(id), PeerId::random(), point)
    }

    #[test]
    fn what_closed_is_kept_only_while_somebody_asks_and_not_without_bound() {
        let connections = Connections::default();
        let come_and_go = |ids: std::ops::Range<usize>| {
            for id in ids {
                connections.opened(connection(id));
                connections.closed(ConnectionId::new_unchecked(id), "");
            }
        };
        come_and_go(0..10);
        assert!(connections.now().closed.is_empty());
        come_and_go(0..MAX_CLOSED + 10);
        let closed = connections.now().closed;
        assert_eq!(closed.len(), MAX_CLOSED);
        assert_eq!(
            closed[0].connection.id,
            ConnectionId::new_unchecked(10),
            "the oldest go"
        );
        assert!(connections.now().closed.is_empty());
    }

    #[test]
    fn connections_have_a_bound() {
        let connections = Connections::default();
        for id in 0..MAX_CONNECTIONS + 10 {
            connections.opened(connection(id));
        }
        assert_eq!(connections.now().open.len(), MAX_CONNECTIONS);
    }

    #[test]
    fn addresses_that_nobody_outside_can_reach() {
        let private = |address: &str| is_private(&address.parse().unwrap());
        for address in [
            "/ip4/10.1.2.3/tcp/1",
            "/ip4/100.64.0.1/tcp/1",
            "/ip4/127.0.0.1/tcp/1",
            "/ip6/fd00::1/tcp/1",
            "/ip6/fe80::1/tcp/1",
        ] {
            assert!(private(address), "{address}");
        }
        for address in [
            "/ip4/100.128.0.1/tcp/1",
            "/ip4/1.2.3.4/tcp/1",
            "/ip6/2a00::1/tcp/1",
            "/dns4/example.org/tcp/1",
        ] {
            assert!(!private(address), "{address}");
        }
    }
}
