//! What a published node pays: CPU and allocations for a snapshot of a thousand connections with a
//! stream each, and while nobody watches. `cargo bench`
use std::{
    alloc::{GlobalAlloc, Layout, System},
    error::Error,
    fs,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use introspectd_libp2p::{Behaviour, Introspect};
use libp2p::{
    core::{upgrade::Version, Transport},
    futures::{AsyncWriteExt as _, StreamExt},
    noise,
    swarm::{dial_opts::DialOpts, NetworkBehaviour, Stream, SwarmEvent},
    tcp, yamux, Multiaddr, PeerId, StreamProtocol, SwarmBuilder,
};
use libp2p_stream::IncomingStreams;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

const CONNECTIONS: usize = 1000;
const SNAPSHOTS: u32 = 200;
const UNWATCHED: Duration = Duration::from_secs(20);
const PROTOCOL: StreamProtocol = StreamProtocol::new("/idle/1.0.0");

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        BYTES.fetch_add(layout.size() as u64, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[derive(NetworkBehaviour)]
struct Published {
    introspect: Behaviour,
    stream: libp2p_stream::Behaviour,
}

/// What the process used until now.
#[derive(Clone, Copy)]
struct Used {
    cpu: f64, // ms
    allocations: u64,
    bytes: u64,
}

impl Used {
    fn now() -> Self {
        // Nanoseconds of each thread; /proc/self/stat has hundredths of seconds.
        let threads = fs::read_dir("/proc/self/task").expect("Linux");
        let cpu: u64 = threads
            .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
            .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
            .sum();
        Self {
            cpu: cpu as f64 / 1e6,
            allocations: ALLOCATIONS.load(Relaxed),
            bytes: BYTES.load(Relaxed),
        }
    }

    fn show(self, what: &str, per: f64) {
        let now = Self::now();
        println!(
            "{what}: {:.3} ms CPU, {:.0} allocations, {:.0} bytes allocated",
            (now.cpu - self.cpu) / per,
            (now.allocations - self.allocations) as f64 / per,
            (now.bytes - self.bytes) as f64 / per
        );
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("cost-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let path = folder.join("feed.sock");
    let (introspect, mut incoming, peer, address) = node().await?;
    let mut streams = vec![]; // they stay open
    for _ in 0..CONNECTIONS {
        streams.push(visitor(peer, &address).await?);
        streams.push(incoming.next().await.ok_or("the node is gone")?.1);
    }

    tokio::time::sleep(Duration::from_secs(2)).await;
    let idle = Used::now();
    tokio::time::sleep(UNWATCHED).await;
    idle.show(
        "second without the publisher's task",
        UNWATCHED.as_secs_f64(),
    );

    let publishing = tokio::spawn(introspect.publish(&path));
    tokio::time::sleep(Duration::from_secs(10)).await; // the longest pause between two tries
    let idle = Used::now();
    tokio::time::sleep(UNWATCHED).await;
    idle.show("second without a daemon", UNWATCHED.as_secs_f64());

    let daemon = UnixListener::bind(&path)?;
    let (mut feed, _) = daemon.accept().await?;
    message(&mut feed).await?;
    let idle = Used::now();
    tokio::time::sleep(UNWATCHED).await;
    idle.show(
        "second with a daemon that does not ask",
        UNWATCHED.as_secs_f64(),
    );

    let mut bytes = 0;
    let asking = Used::now();
    for _ in 0..SNAPSHOTS {
        feed.write_all(b"r").await?;
        bytes = message(&mut feed).await?;
    }
    asking.show(
        &format!("snapshot of {bytes} bytes, {CONNECTIONS} connections with a stream each"),
        SNAPSHOTS.into(),
    );
    publishing.abort();
    fs::remove_dir_all(folder)?;
    Ok(())
}

/// The node that is published.
async fn node() -> Result<(Introspect, IncomingStreams, PeerId, Multiaddr), Box<dyn Error>> {
    let key = libp2p::identity::Keypair::generate_ed25519();
    let introspect = Introspect::new(key.public().to_peer_id());
    let meter = introspect.meter();
    let mut node = SwarmBuilder::with_existing_identity(key)
        .with_tokio()
        .with_other_transport(|key| {
            let security = noise::Config::new(key)?;
            let tcp = meter.tcp(tcp::Config::default()).upgrade(Version::V1Lazy);
            Ok(tcp
                .authenticate(security)
                .multiplex(meter.muxer(yamux::Config::default())))
        })?
        .with_behaviour(|_| Published {
            introspect: introspect.behaviour(),
            stream: libp2p_stream::Behaviour::new(),
        })?
        .build();
    node.listen_on("/ip4/127.0.0.1/tcp/0".parse()?)?;
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = node.select_next_some().await {
            break address;
        }
    };
    let (peer, incoming) = (
        *node.local_peer_id(),
        node.behaviour().stream.new_control().accept(PROTOCOL)?,
    );
    tokio::spawn(async move { while node.next().await.is_some() {} });
    Ok((introspect, incoming, peer, address))
}

/// A node that has connected and opened a stream.
async fn visitor(peer: PeerId, address: &Multiaddr) -> Result<Stream, Box<dyn Error>> {
    let mut visitor = SwarmBuilder::with_new_identity()
        .with_tokio()
        .with_tcp(
            tcp::Config::default(),
            noise::Config::new,
            yamux::Config::default,
        )?
        .with_behaviour(|_| libp2p_stream::Behaviour::new())?
        .build();
    visitor.dial(
        DialOpts::peer_id(peer)
            .addresses(vec![address.clone()])
            .build(),
    )?;
    while !matches!(
        visitor.select_next_some().await,
        SwarmEvent::ConnectionEstablished { .. }
    ) {}
    let mut control = visitor.behaviour().new_control();
    tokio::spawn(async move { while visitor.next().await.is_some() {} });
    let mut stream = control.open_stream(peer, PROTOCOL).await?;
    stream.write_all(b"hello").await?;
    stream.flush().await?;
    Ok(stream)
}

/// Reads a message, and says how long it was.
async fn message(feed: &mut UnixStream) -> Result<usize, Box<dyn Error>> {
    let (mut len, mut shift) = (0, 0);
    loop {
        let byte = feed.read_u8().await?;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    feed.read_exact(&mut vec![0; len]).await?;
    Ok(len)
}
