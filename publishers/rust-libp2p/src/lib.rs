//! Publishes what a [libp2p](https://docs.rs/libp2p) node knows about itself to introspectd, which
//! shows it: a state each time the daemon asks for one, and events as they happen.
//!
//! [`Introspect`] has three parts that a node composes, and each of them may be left out:
//!
//! - the [`Meter`] goes into the transports and counts bytes of connections and streams;
//! - the [`Behaviour`] tells of connections, addresses and failed dials;
//! - the [`Observer`] takes the events of identify, ping, kad and gossipsub.
//!
//! [`Introspect::publish`] is the connection to the daemon. While no daemon is there or nobody
//! watches, the node's only work is to count.
//!
//! ```no_run
//! use introspectd_libp2p::Introspect;
//! use libp2p::{futures::StreamExt, identity::Keypair, noise, tcp, yamux, SwarmBuilder};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let key = Keypair::generate_ed25519();
//!     let introspect = Introspect::new(key.public().to_peer_id());
//!     let meter = introspect.meter();
//!     let mut swarm = SwarmBuilder::with_existing_identity(key)
//!         .with_tokio()
//!         .with_tcp(tcp::Config::default(), noise::Config::new, || meter.muxer(yamux::Config::default()))?
//!         .with_behaviour(|_| introspect.behaviour())?
//!         .build();
//!     tokio::spawn(introspect.publish("/run/introspectd/node.sock"));
//!     loop {
//!         swarm.select_next_some().await;
//!     }
//! }
//! ```
#![warn(missing_docs)]
#![forbid(unsafe_code)]

mod behaviour;
mod count;
#[cfg(feature = "kad")]
mod dht;
mod events;
mod feed;
mod look;
mod meter;
mod multistream;
mod node;
#[cfg_attr(
    not(all(
        feature = "identify",
        feature = "ping",
        feature = "kad",
        feature = "gossipsub"
    )),
    allow(dead_code, unused_imports)
)]
mod observer;
#[allow(clippy::all, dead_code, missing_docs)]
#[rustfmt::skip]
mod schema;
mod state;
#[cfg(all(
    test,
    feature = "identify",
    feature = "ping",
    feature = "kad",
    feature = "gossipsub"
))]
mod tests;
#[cfg(feature = "gossipsub")]
mod topics;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use libp2p::{
    swarm::{ExternalAddresses, ListenAddresses},
    PeerId,
};
use tokio::sync::mpsc;

pub use crate::{
    behaviour::{Behaviour, Handler},
    look::Asked,
    meter::{Meter, Muxer, Socket, Substream, Upgrade},
    observer::Observer,
};

/// A node that is to be published. Clones are of the same node.
#[derive(Clone)]
pub struct Introspect {
    shared: Arc<Shared>,
}

impl Introspect {
    /// For the node with that ID. Nothing is published until [`publish`](Self::publish).
    ///
    /// ```
    /// # use introspectd_libp2p::Introspect;
    /// let key = libp2p::identity::Keypair::generate_ed25519();
    /// let introspect = Introspect::new(key.public().to_peer_id());
    /// # let _ = introspect;
    /// ```
    pub fn new(peer_id: PeerId) -> Self {
        Self {
            shared: Arc::new(Shared::new(peer_id)),
        }
    }

    /// The part for the node's transports.
    pub fn meter(&self) -> Meter {
        Meter::new(self.shared.clone())
    }

    /// The part for the node's behaviour. One node has one.
    pub fn behaviour(&self) -> Behaviour {
        Behaviour::new(self.shared.clone())
    }

    /// The part for the node's loop.
    pub fn observer(&self) -> Observer {
        Observer::new(self.shared.clone())
    }

    /// Publishes to the Unix socket that was given to `introspectd --feed`. The future never ends;
    /// what drops it, for example the end of the task it is spawned in, ends the publishing. It
    /// must run on tokio.
    ///
    /// It connects whenever a daemon is there: after a failure it tries again, first after a tenth
    /// of a second, then ever more slowly, at the slowest every five. What went wrong is told to
    /// [`tracing`] at the level `DEBUG`.
    ///
    /// ```
    /// # use introspectd_libp2p::Introspect;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let introspect = Introspect::new(libp2p::PeerId::random());
    /// let publishing = tokio::spawn(introspect.publish("/run/introspectd/node.sock"));
    /// // …
    /// publishing.abort();
    /// # }
    /// ```
    pub fn publish(
        &self,
        path: impl Into<PathBuf>,
    ) -> impl std::future::Future<Output = ()> + Send + 'static {
        let (shared, path) = (self.shared.clone(), path.into());
        async move { feed::run(shared, &path).await }
    }
}

/// What the parts have in common.
struct Shared {
    peer_id: PeerId,
    started: SystemTime,
    linking: meter::Linking,
    protocols: count::Protocols,
    connections: node::Connections,
    addresses: Mutex<(ListenAddresses, ExternalAddresses)>,
    #[cfg(feature = "kad")]
    dht: Mutex<dht::Dht>,
    #[cfg(feature = "gossipsub")]
    topics: Mutex<Vec<schema::Topic>>,
    looks: look::Looks,
    previous: Mutex<state::Previous>,
    /// Where events go; closed when no daemon is connected.
    listener: Mutex<Option<mpsc::Sender<events::Happened>>>,
}

impl Shared {
    fn new(peer_id: PeerId) -> Self {
        Self {
            peer_id,
            started: SystemTime::now(),
            linking: Default::default(),
            protocols: Default::default(),
            connections: Default::default(),
            addresses: Default::default(),
            #[cfg(feature = "kad")]
            dht: Default::default(),
            #[cfg(feature = "gossipsub")]
            topics: Default::default(),
            looks: Default::default(),
            previous: Default::default(),
            listener: Default::default(),
        }
    }
}

/// A panic of somebody who held the lock is theirs: what is under it is never half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis().try_into().unwrap_or(u64::MAX)
}
