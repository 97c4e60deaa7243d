//! What publishers/contract runs of this publisher; see publishers/contract/publishers.mjs.
use std::{env, error::Error, time::Duration};

use introspectd_libp2p::{Behaviour, Introspect, Observer};
use libp2p::{
    core::{upgrade::Version, Transport},
    futures::{self, AsyncReadExt, AsyncWriteExt, StreamExt},
    gossipsub, identify,
    identity::Keypair,
    kad, noise, ping, quic,
    swarm::{behaviour::toggle::Toggle, NetworkBehaviour, SwarmEvent},
    tcp, yamux, Multiaddr, PeerId, StreamProtocol, Swarm, SwarmBuilder,
};
use tokio::io::{stdin, AsyncBufReadExt, BufReader};

const ECHO: StreamProtocol = StreamProtocol::new("/echo/1.0.0");
const KAD: StreamProtocol = StreamProtocol::new("/introspectd/kad/1.0.0");

/// For what the libraries give up within seconds, which a busy machine may take.
const PATIENCE: Duration = Duration::from_secs(60);

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

#[derive(NetworkBehaviour)]
struct Node {
    introspect: Behaviour,
    identify: identify::Behaviour,
    stream: libp2p_stream::Behaviour,
    ping: Toggle<ping::Behaviour>,
    kad: Toggle<kad::Behaviour<kad::store::MemoryStore>>,
    gossipsub: Toggle<gossipsub::Behaviour>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = env::args().collect();
    let option = |name| args.iter().position(|arg| arg == name);
    let value = |name| {
        option(name)
            .and_then(|at| args.get(at + 1))
            .ok_or(format!("{name} is missing"))
    };
    let peers: usize = value("--peers")?.parse()?;

    let (mut node, introspect) = build(option("--swarm").is_some())?;
    tokio::spawn(introspect.publish(value("--feed")?));
    println!("publishing {}", node.local_peer_id());
    node.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    node.listen_on("/ip4/127.0.0.1/udp/0/quic-v1".parse()?)?;
    let mut addresses: Vec<Multiaddr> = vec![];
    while addresses.len() < 2 {
        if let SwarmEvent::NewListenAddr { address, .. } = node.select_next_some().await {
            println!("listening {address}/p2p/{}", node.local_peer_id());
            addresses.push(address);
        }
    }
    addresses.retain(|address| address.to_string().contains("/tcp/"));
    let (observer, control) = (introspect.observer(), node.behaviour().stream.new_control());
    let (dials, dialed) = tokio::sync::mpsc::channel(1);
    tokio::spawn(run(node, observer, dialed));
    tokio::spawn(echo_others(control.clone()));

    for _ in 0..peers {
        println!("connected {}", visitor(&addresses[0]).await?);
    }
    println!("ready");
    let mut lines = BufReader::new(stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        match *line.split(' ').collect::<Vec<_>>() {
            ["dial", address] => {
                let (done, connected) = tokio::sync::oneshot::channel();
                dials.send((address.parse()?, done)).await?;
                connected.await?;
            }
            ["echo", peer, bytes] => echo(control.clone(), peer.parse()?, bytes.parse()?).await?,
            _ => return Err(format!("what is {line:?}?").into()),
        }
        println!("done {line}");
    }
    Ok(())
}

fn build(member: bool) -> Result<(Swarm<Node>, Introspect)> {
    let key = Keypair::generate_ed25519();
    let id = key.public().to_peer_id();
    let introspect = Introspect::new(id);
    let meter = introspect.meter();
    let behaviour = |key: &Keypair| {
        let mut config = kad::Config::new(KAD);
        // It cannot be kept from looking for others, but from waiting until it hears of one to dial.
        config
            .set_query_timeout(Duration::ZERO)
            .set_periodic_bootstrap_interval(None);
        let mut kad = kad::Behaviour::with_config(id, kad::store::MemoryStore::new(id), config);
        kad.set_mode(Some(kad::Mode::Server));
        let authenticity = gossipsub::MessageAuthenticity::Signed(key.clone());
        let mut gossipsub = gossipsub::Behaviour::new(authenticity, gossipsub::Config::default())?;
        gossipsub.subscribe(&gossipsub::IdentTopic::new("weather"))?;
        Ok(Node {
            introspect: introspect.behaviour(),
            identify: identify::Behaviour::new(identify::Config::new(
                "/contract/1.0.0".into(),
                key.public(),
            )),
            stream: libp2p_stream::Behaviour::new(),
            ping: member.then(ping::Behaviour::default).into(),
            kad: member.then_some(kad).into(),
            gossipsub: member.then_some(gossipsub).into(),
        })
    };
    let swarm = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| {
            let security = noise::Config::new(key)?;
            let tcp = meter.tcp(tcp::Config::default()).upgrade(Version::V1Lazy);
            Ok(tcp
                .authenticate(security)
                .multiplex(meter.muxer(yamux::Config::default())))
        })?
        .with_other_transport(|key| {
            let mut config = quic::Config::new(key);
            config.handshake_timeout = PATIENCE;
            config.max_idle_timeout = 30_000; // ms
            meter.transport(quic::tokio::Transport::new(config))
        })?
        .with_behaviour(behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
        .with_connection_timeout(PATIENCE)
        .build();
    Ok((swarm, introspect))
}

/// The node's loop.
async fn run(
    mut node: Swarm<Node>,
    observer: Observer,
    mut dials: tokio::sync::mpsc::Receiver<(Multiaddr, tokio::sync::oneshot::Sender<()>)>,
) {
    let mut dialing = None;
    loop {
        let event = tokio::select! {
            event = node.select_next_some() => event,
            Some((address, done)) = dials.recv() => {
                node.dial(address).expect("it can be dialed");
                dialing = Some(done);
                continue;
            }
        };
        match event {
            SwarmEvent::ConnectionEstablished { endpoint, .. } if endpoint.is_dialer() => {
                let _ = dialing.take().map(|done| done.send(()));
            }
            SwarmEvent::OutgoingConnectionError { error, .. } if dialing.is_some() => {
                panic!("{error}")
            }
            SwarmEvent::Behaviour(NodeEvent::Identify(event)) => {
                observer.identify(&event);
                if let (identify::Event::Received { peer_id, info, .. }, Some(kad)) =
                    (event, node.behaviour_mut().kad.as_mut())
                {
                    for address in info.listen_addrs {
                        kad.add_address(&peer_id, address);
                    }
                }
            }
            SwarmEvent::Behaviour(NodeEvent::Ping(event)) => observer.ping(&event),
            SwarmEvent::Behaviour(NodeEvent::Kad(event)) => observer.kad(&event),
            SwarmEvent::Behaviour(NodeEvent::Gossipsub(event)) => observer.gossipsub(&event),
            SwarmEvent::Behaviour(NodeEvent::Introspect(asked)) => {
                if let Some(kad) = node.behaviour_mut().kad.as_mut() {
                    asked.routing_table(kad);
                }
                if let Some(gossipsub) = node.behaviour().gossipsub.as_ref() {
                    asked.mesh(gossipsub);
                }
            }
            _ => {}
        }
    }
}

/// A node of its own that connects to the address and stays.
async fn visitor(address: &Multiaddr) -> Result<PeerId> {
    let mut swarm = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|_| libp2p::swarm::dummy::Behaviour)?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
        .with_connection_timeout(PATIENCE)
        .build();
    let peer = *swarm.local_peer_id();
    swarm.dial(address.clone())?;
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } => break,
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
            _ => {}
        }
    }
    tokio::spawn(async move { while swarm.next().await.is_some() {} });
    Ok(peer)
}

async fn echo_others(mut control: libp2p_stream::Control) {
    let mut incoming = control.accept(ECHO).expect("nobody else accepts it");
    while let Some((_, stream)) = incoming.next().await {
        tokio::spawn(async move {
            let (read, mut write) = stream.split();
            let _ = futures::io::copy(read, &mut write).await;
            let _ = write.close().await;
        });
    }
}

async fn echo(mut control: libp2p_stream::Control, peer: PeerId, bytes: usize) -> Result<()> {
    let (mut read, mut write) = control.open_stream(peer, ECHO).await?.split();
    let (sent, received) = (vec![0; bytes], &mut vec![0; bytes]);
    futures::future::try_join(write.write_all(&sent), read.read_exact(received)).await?;
    tokio::spawn(async move {
        futures::future::pending::<()>().await;
        drop((read, write)); // the stream stays open
    });
    Ok(())
}
