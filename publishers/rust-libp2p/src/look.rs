//! What only the node's loop can see, looked at when the daemon asks.

use std::{
    fmt,
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        Arc,
    },
    task::{Context, Poll},
};

use futures::task::AtomicWaker;
#[cfg(feature = "gossipsub")]
use libp2p::gossipsub;
#[cfg(feature = "kad")]
use libp2p::kad;
use tokio::sync::Notify;

use crate::Shared;

/// Requests to the node's loop.
#[derive(Default)]
pub(crate) struct Looks {
    wanted: AtomicBool,
    waker: AtomicWaker,
    done: Notify,
}

impl Looks {
    /// Ends when the node has looked; never, if its loop does not run.
    pub(crate) async fn ask(&self) {
        let mut done = std::pin::pin!(self.done.notified());
        done.as_mut().enable(); // an answer that came too late for the request before is not waited for
        self.wanted.store(true, Relaxed);
        self.waker.wake();
        done.await;
    }

    pub(crate) fn poll(&self, cx: &Context<'_>, shared: &Arc<Shared>) -> Poll<Asked> {
        self.waker.register(cx.waker());
        if self.wanted.swap(false, Relaxed) {
            Poll::Ready(Asked {
                shared: shared.clone(),
            })
        } else {
            Poll::Pending
        }
    }
}

/// The daemon asked for a state: the event of [`Behaviour`](crate::Behaviour).
///
/// It takes along what the node's loop alone can see, and the state is made once it is dropped, or
/// after a twentieth of a second. A node without DHT and gossipsub need not look at it.
pub struct Asked {
    shared: Arc<Shared>,
}

impl Asked {
    /// Who is in the DHT's routing table.
    #[cfg(feature = "kad")]
    pub fn routing_table<S: kad::store::RecordStore + Send + 'static>(
        &self,
        kad: &mut kad::Behaviour<S>,
    ) {
        crate::lock(&self.shared.dht).look(kad);
    }

    /// The node's topics, their subscribers and their mesh.
    #[cfg(feature = "gossipsub")]
    pub fn mesh<D, F>(&self, gossipsub: &gossipsub::Behaviour<D, F>)
    where
        D: gossipsub::DataTransform + Send + 'static,
        F: gossipsub::TopicSubscriptionFilter + Send + 'static,
    {
        *crate::lock(&self.shared.topics) = crate::topics::look(gossipsub);
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.shared.looks.done.notify_waiters();
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}
