//! Real nodes, whose states and events are looked at as they are made.

use std::{future::Future, time::Duration};

use libp2p::{
    core::{transport::PortUse, upgrade::Version, ConnectedPoint, Endpoint, Transport},
    futures::StreamExt,
    gossipsub, identify,
    identity::Keypair,
    kad, noise, ping, quic,
    swarm::{
        dial_opts::{DialOpts, PeerCondition},
        ConnectionId, NetworkBehaviour, SwarmEvent,
    },
    tcp, yamux, Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    events::Happened,
    lock,
    schema::{connection::RelayedOver, Connection, Role, State, Status},
    Behaviour, Introspect, Observer,
};

const PATIENCE: Duration = Duration::from_secs(100);

#[derive(NetworkBehaviour)]
struct Node {
    introspect: Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
    gossipsub: gossipsub::Behaviour,
}

fn behaviour(key: &Keypair, introspect: &Introspect) -> Node {
    let id = key.public().to_peer_id();
    let protocol = StreamProtocol::new("/test/kad/1.0.0");
    let mut kad = kad::Behaviour::with_config(
        id,
        kad::store::MemoryStore::new(id),
        kad::Config::new(protocol),
    );
    kad.set_mode(Some(kad::Mode::Server));
    let authenticity = gossipsub::MessageAuthenticity::Signed(key.clone());
    let mut gossipsub =
        gossipsub::Behaviour::new(authenticity, gossipsub::Config::default()).unwrap();
    gossipsub
        .subscribe(&gossipsub::IdentTopic::new("weather"))
        .unwrap();
    Node {
        introspect: introspect.behaviour(),
        identify: identify::Behaviour::new(identify::Config::new(
            "/test/1.0.0".into(),
            key.public(),
        )),
        ping: ping::Behaviour::default(),
        kad,
        gossipsub,
    }
}

fn node() -> (Swarm<Node>, Introspect) {
    let key = Keypair::generate_ed25519();
    let introspect = Introspect::new(key.public().to_peer_id());
    let meter = introspect.meter();
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| {
            let tcp = meter.tcp(tcp::Config::default()).upgrade(Version::V1Lazy);
            let security = noise::Config::new(key).unwrap();
            tcp.authenticate(security)
                .multiplex(meter.muxer(yamux::Config::default()))
        })
        .unwrap()
        .with_other_transport(|key| {
            meter.transport(quic::tokio::Transport::new(quic::Config::new(key)))
        })
        .unwrap()
        .with_behaviour(|key| behaviour(key, &introspect))
        .unwrap()
        .with_swarm_config(|config| config.with_idle_connection_timeout(PATIENCE))
        .build();
    (swarm, introspect)
}

async fn listen<B: NetworkBehaviour>(swarm: &mut Swarm<B>, address: &str) -> Multiaddr {
    swarm.listen_on(address.parse().unwrap()).unwrap();
    loop {
        if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
            return address;
        }
    }
}

fn run(mut swarm: Swarm<Node>, observer: Observer) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let SwarmEvent::Behaviour(event) = swarm.select_next_some().await else {
                continue;
            };
            match event {
                NodeEvent::Identify(event) => {
                    observer.identify(&event);
                    if let identify::Event::Received { peer_id, info, .. } = event {
                        for address in info.listen_addrs {
                            swarm.behaviour_mut().kad.add_address(&peer_id, address);
                        }
                    }
                }
                NodeEvent::Ping(event) => observer.ping(&event),
                NodeEvent::Kad(event) => observer.kad(&event),
                NodeEvent::Gossipsub(event) => observer.gossipsub(&event),
                NodeEvent::Introspect(asked) => {
                    asked.routing_table(&mut swarm.behaviour_mut().kad);
                    asked.mesh(&swarm.behaviour().gossipsub);
                }
            }
        }
    })
}

/// Asks until there is what is looked for.
async fn shows<T>(introspect: &Introspect, look: impl Fn(&State) -> Option<T>) -> T {
    let search = async {
        loop {
            introspect.shared.looks.ask().await;
            if let Some(found) = look(&introspect.shared.state()) {
                return found;
            }
            sleep(Duration::from_millis(20)).await;
        }
    };
    in_time(search).await
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it comes in time")
}

fn connections(state: &State) -> &[Connection] {
    &state.subsystems.as_ref().unwrap().connections
}

fn watch(introspect: &Introspect) -> mpsc::Receiver<Happened> {
    let (sender, events) = mpsc::channel(256);
    *lock(&introspect.shared.listener) = Some(sender);
    events
}

async fn event(events: &mut mpsc::Receiver<Happened>, name: &str) -> serde_json::Value {
    let wait = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.name == name {
                return event.content;
            }
        }
    };
    in_time(wait).await
}

#[tokio::test]
async fn what_behaviours_know_is_told() {
    let ((mut a, ours), (mut b, theirs)) = (node(), node());
    let address = listen(&mut b, "/ip4/127.0.0.1/tcp/0").await;
    listen(&mut a, "/ip4/127.0.0.1/tcp/0").await;
    let other = *b.local_peer_id();
    let mut events = watch(&ours);
    a.dial(address).unwrap();
    let (_a, b) = (run(a, ours.observer()), run(b, theirs.observer()));

    let full = |state: &State| {
        let dht = state.subsystems.as_ref()?.dht.as_ref()?;
        let connection = connections(state).first()?;
        let known = connection.latency_ns > 0
            && connection.agent_version.starts_with("rust-libp2p/")
            && dht.protocol == "/test/kad/1.0.0"
            && dht.outgoing_queries?.success > 0
            && dht.incoming_queries?.success > 0
            && dht.buckets.first()?.peers.first()?.peer_id == other.to_string()
            && state.topics.first()?.mesh_peer_ids == [other.to_string()];
        known.then(|| connection.clone())
    };
    let connection = shows(&ours, full).await;
    assert_eq!(
        (connection.role(), connection.peer_id),
        (Role::Initiator, other.to_string())
    );
    let happened: Vec<_> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    let first = |name| {
        &happened
            .iter()
            .find(|event| event.name == name)
            .expect(name)
            .content
    };
    assert_eq!(first("PeerIdentified")["peerId"], other.to_string());
    assert_eq!(first("TopicSubscribed")["topic"], "weather");
    assert_eq!(first("DHTQueryEnded")["result"], "success");

    b.abort();
    let closed = shows(&ours, |state| {
        connections(state)
            .iter()
            .find(|connection| connection.status() == Status::Closed)
            .cloned()
    });
    let closed = closed.await;
    assert_ne!(closed.close_reason, "");
    assert!(closed.traffic.unwrap().traffic_in.unwrap().cum_bytes > 0);
    assert_eq!(
        event(&mut events, "ConnectionClosed").await["reason"],
        closed.close_reason
    );
    assert!(connections(&ours.shared.state()).is_empty());
    let total = ours.shared.state().traffic.unwrap().traffic_in.unwrap();
    assert!(
        total.cum_bytes > 0,
        "what closed connections moved is not lost"
    );
}

#[tokio::test]
async fn connections_of_one_pair_are_told_apart() {
    const MANY: usize = 8;
    let ((mut a, ours), (mut b, theirs)) = (node(), node());
    let address = listen(&mut b, "/ip4/127.0.0.1/tcp/0").await;
    let other = *b.local_peer_id();
    for _ in 0..MANY {
        let dial = DialOpts::peer_id(other)
            .addresses(vec![address.clone()])
            .condition(PeerCondition::Always);
        a.dial(dial.build()).unwrap();
    }
    let _running = (run(a, ours.observer()), run(b, theirs.observer()));
    let ends = |state: &State, own: bool| {
        let all = connections(state).iter().filter(|connection| {
            let streams = &connection.streams.as_ref().unwrap().streams;
            let attributes = connection.attribs.as_ref().unwrap();
            (&*attributes.encryption, &*attributes.multiplexer) == ("/noise", "/yamux/1.0.0")
                && !streams.is_empty()
        });
        let ends = all.map(|connection| {
            let ends = connection.endpoints.clone().unwrap();
            if own {
                ends.src_multiaddr
            } else {
                ends.dst_multiaddr
            }
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort();
        (ends.len() == MANY).then_some(ends)
    };
    let dialed = shows(&ours, |state| ends(state, true)).await;
    let accepted = shows(&theirs, |state| ends(state, false)).await;
    assert_eq!(dialed, accepted);
}

#[tokio::test]
async fn failures_are_told_with_their_reasons() {
    let ((mut a, ours), (mut b, _)) = (node(), node());
    let address = listen(&mut b, "/ip4/127.0.0.1/tcp/0").await;
    let quic = listen(&mut a, "/ip4/127.0.0.1/udp/0/quic-v1").await;
    let mut events = watch(&ours);
    drop(b); // and its socket
    a.dial(address.clone()).unwrap();
    let wrong = quic.with_p2p(PeerId::random()).unwrap();
    a.dial(wrong.clone()).unwrap(); // itself, under another name
    let _running = run(a, ours.observer());
    let mut failures = vec![
        event(&mut events, "DialFailed").await,
        event(&mut events, "DialFailed").await,
    ];
    failures.sort_by_key(|failure| failure["multiaddrs"].to_string());
    assert_eq!(failures[0]["multiaddrs"][0], address.to_string());
    assert!(
        failures[0]["reason"].as_str().unwrap().contains("refused"),
        "{failures:?}"
    );
    assert_eq!(failures[1]["multiaddrs"][0], wrong.to_string());
}

#[tokio::test]
async fn a_muxer_alone_is_enough_for_bytes() {
    let key = Keypair::generate_ed25519();
    let introspect = Introspect::new(key.public().to_peer_id());
    let meter = introspect.meter();
    let mut own = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, || {
            meter.muxer(yamux::Config::default())
        })
        .unwrap()
        .with_behaviour(|key| behaviour(key, &introspect))
        .unwrap()
        .build();
    let (mut other, theirs) = node();
    own.dial(listen(&mut other, "/ip4/127.0.0.1/tcp/0").await)
        .unwrap();
    let _running = (
        run(own, introspect.observer()),
        run(other, theirs.observer()),
    );
    let connection = shows(&introspect, |state| {
        let connection = connections(state).first()?;
        let moved = connection.traffic.as_ref()?.traffic_in.as_ref()?.cum_bytes;
        (moved > 0).then(|| connection.clone())
    });
    let connection = connection.await;
    assert_eq!(connection.attribs.unwrap().multiplexer, "/yamux/1.0.0");
    assert_eq!(connection.endpoints.unwrap().src_multiaddr, "");
}

#[test]
fn a_relayed_connection_names_the_one_it_goes_over() {
    let introspect = Introspect::new(PeerId::random());
    let (relay, other) = (PeerId::random(), PeerId::random());
    let circuit = format!("/ip4/1.2.3.4/tcp/1/p2p/{relay}/p2p-circuit/p2p/{other}");
    for (id, peer, address) in [(1, relay, "/ip4/1.2.3.4/tcp/1"), (2, other, &circuit)] {
        let address = address.parse().unwrap();
        let point = ConnectedPoint::Dialer {
            address,
            role_override: Endpoint::Dialer,
            port_use: PortUse::New,
        };
        let connection =
            crate::behaviour::Connection::new(ConnectionId::new_unchecked(id), peer, point);
        introspect.shared.connections.opened(connection);
    }
    let state = introspect.shared.state();
    let [direct, relayed] = connections(&state) else {
        panic!()
    };
    assert_eq!(direct.relayed_over, None);
    assert_eq!(
        relayed.relayed_over,
        Some(RelayedOver::ConnId(direct.id.clone()))
    );
}

#[test]
fn nobody_listens_so_no_event_is_made() {
    let introspect = Introspect::new(PeerId::random());
    introspect.shared.offer("PeerConnected", || unreachable!());
    let mut events = watch(&introspect);
    for _ in 0..1000 {
        introspect
            .shared
            .offer("PeerConnected", || serde_json::json!({}));
    }
    let waiting = std::iter::from_fn(|| events.try_recv().ok()).count();
    assert_eq!(waiting, 256);
}
