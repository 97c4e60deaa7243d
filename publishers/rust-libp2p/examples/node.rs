//! A node that publishes what it knows to introspectd:
//!
//!     introspectd --feed /tmp/node.sock
//!     cargo run --example node /tmp/node.sock [MULTIADDR/p2p/PEER ...]
use std::{env, error::Error};

use introspectd_libp2p::{Behaviour, Introspect};
use libp2p::{
    core::{upgrade::Version, Transport},
    futures::StreamExt,
    gossipsub, identify, kad, noise, ping, quic,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux, SwarmBuilder,
};

#[derive(NetworkBehaviour)]
struct Node {
    introspect: Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    kad: kad::Behaviour<kad::store::MemoryStore>,
    gossipsub: gossipsub::Behaviour,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let feed = args
        .next()
        .ok_or("usage: node FEED [MULTIADDR/p2p/PEER ...]")?;
    let key = libp2p::identity::Keypair::generate_ed25519();
    let id = key.public().to_peer_id();
    let introspect = Introspect::new(id);
    let (meter, observer) = (introspect.meter(), introspect.observer());

    let mut swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| {
            let security = noise::Config::new(key)?;
            let tcp = meter.tcp(tcp::Config::default()).upgrade(Version::V1Lazy);
            Ok(tcp
                .authenticate(security)
                .multiplex(meter.muxer(yamux::Config::default())))
        })?
        .with_other_transport(|key| {
            meter.transport(quic::tokio::Transport::new(quic::Config::new(key)))
        })?
        .with_behaviour(|key| {
            let authenticity = gossipsub::MessageAuthenticity::Signed(key.clone());
            Ok(Node {
                introspect: introspect.behaviour(),
                identify: identify::Behaviour::new(identify::Config::new(
                    "/example/1.0.0".into(),
                    key.public(),
                )),
                ping: ping::Behaviour::default(),
                kad: kad::Behaviour::new(id, kad::store::MemoryStore::new(id)),
                gossipsub: gossipsub::Behaviour::new(authenticity, gossipsub::Config::default())?,
            })
        })?
        .build();
    tokio::spawn(introspect.publish(feed));

    swarm
        .behaviour_mut()
        .gossipsub
        .subscribe(&gossipsub::IdentTopic::new("weather"))?;
    swarm.listen_on("/ip4/0.0.0.0/tcp/0".parse()?)?;
    swarm.listen_on("/ip4/0.0.0.0/udp/0/quic-v1".parse()?)?;
    for address in args {
        swarm.dial(address.parse::<libp2p::Multiaddr>()?)?;
    }
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => println!("{address}/p2p/{id}"),
            SwarmEvent::Behaviour(NodeEvent::Identify(event)) => observer.identify(&event),
            SwarmEvent::Behaviour(NodeEvent::Ping(event)) => observer.ping(&event),
            SwarmEvent::Behaviour(NodeEvent::Kad(event)) => observer.kad(&event),
            SwarmEvent::Behaviour(NodeEvent::Gossipsub(event)) => observer.gossipsub(&event),
            SwarmEvent::Behaviour(NodeEvent::Introspect(asked)) => {
                asked.routing_table(&mut swarm.behaviour_mut().kad);
                asked.mesh(&swarm.behaviour().gossipsub);
            }
            _ => {}
        }
    }
}
