//! Counts what connections and their streams move.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, IoSlice},
    net::IpAddr,
    pin::Pin,
    sync::{
        atomic::{AtomicBool, Ordering::Relaxed},
        Arc, Mutex, OnceLock,
    },
    task::{ready, Context, Poll},
    time::SystemTime,
};

use futures::{
    future::{MapOk, TryFutureExt},
    AsyncRead, AsyncWrite,
};
use libp2p::{
    core::{
        multiaddr::Protocol as Component,
        muxing::{StreamMuxer, StreamMuxerEvent},
        transport::Transport,
        upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo},
        ConnectedPoint, Endpoint,
    },
    tcp, Multiaddr, PeerId,
};

use crate::{
    behaviour::Connection,
    count::{Counter, Protocol},
    lock,
    multistream::Ear,
    Shared,
};

/// Streams of a connection that are listed; those beyond are counted with the connection.
const MAX_STREAMS: usize = 1024;

/// Counts the bytes of the connections of a node: goes into its transports.
///
/// Each of its parts does without the other: of a connection whose muxer is not counted no streams
/// are known, and one without [`Meter::tcp`] has the bytes of its streams, which leaves out what
/// its security and its muxer add, and its own address is known only if it was accepted.
///
/// ```
/// use introspectd_libp2p::Introspect;
/// use libp2p::{core::{upgrade::Version, Transport}, identity::Keypair, noise, quic, tcp, yamux, SwarmBuilder};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let key = Keypair::generate_ed25519();
/// let introspect = Introspect::new(key.public().to_peer_id());
/// let meter = introspect.meter();
/// let builder = SwarmBuilder::with_existing_identity(key)
///     .with_tokio()
///     .with_other_transport(|key| {
///         let security = noise::Config::new(key)?;
///         Ok(meter
///             .tcp(tcp::Config::default())
///             .upgrade(Version::V1Lazy)
///             .authenticate(security)
///             .multiplex(meter.muxer(yamux::Config::default())))
///     })?
///     .with_other_transport(|key| meter.transport(quic::tokio::Transport::new(quic::Config::new(key))))?;
/// # let _ = builder;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Meter {
    shared: Arc<Shared>,
}

impl Meter {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The TCP transport of libp2p, its sockets counted: all that a connection moves, its
    /// handshakes included, and its own address, whichever end dialed.
    pub fn tcp(
        &self,
        config: tcp::Config,
    ) -> impl Transport<
        Output = Socket,
        Error = io::Error,
        Dial: Send + 'static,
        ListenerUpgrade: Send + 'static,
    > + Send
           + Unpin
           + 'static {
        let shared = self.shared.clone();
        tcp::tokio::Transport::new(config)
            .map(move |stream, point| Socket::new(stream, &point, shared))
    }

    /// A muxer's upgrade, for [`multiplex`](libp2p::core::transport::upgrade::Authenticated::multiplex)
    /// or [`with_tcp`](libp2p::SwarmBuilder::with_tcp): its connections and their streams are
    /// counted, and the name that was agreed is told.
    ///
    /// ```
    /// # use introspectd_libp2p::Introspect;
    /// # use libp2p::{noise, tcp, yamux, PeerId, SwarmBuilder};
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let meter = Introspect::new(PeerId::random()).meter();
    /// let builder = SwarmBuilder::with_new_identity().with_tokio().with_tcp(
    ///     tcp::Config::default(),
    ///     noise::Config::new,
    ///     || meter.muxer(yamux::Config::default()),
    /// )?;
    /// # let _ = builder;
    /// # Ok(())
    /// # }
    /// ```
    pub fn muxer<U>(&self, upgrade: U) -> Upgrade<U> {
        Upgrade {
            upgrade,
            shared: self.shared.clone(),
        }
    }

    /// A transport that has streams of its own, such as QUIC. See [`Meter`] for an example.
    pub fn transport<T, M>(
        &self,
        transport: T,
    ) -> impl Transport<
        Output = (PeerId, Muxer<M>),
        Error = T::Error,
        Dial: Send + 'static,
        ListenerUpgrade: Send + 'static,
    > + Send
           + Unpin
           + 'static
    where
        T: Transport<Output = (PeerId, M), Dial: Send + 'static, ListenerUpgrade: Send + 'static>
            + Send
            + Unpin
            + 'static,
        M: StreamMuxer<Substream: Unpin> + Send + Unpin + 'static,
    {
        let shared = self.shared.clone();
        transport.map(move |(peer, muxer), _| (peer, Muxer::new(muxer, None, shared)))
    }
}

/// How a connection's parts find each other. None of them knows the [`ConnectionId`] but the
/// handler, and addresses are not unique. But the swarm polls the handler of a connection, then its
/// muxer, and that polls its socket, in the same task and so with the same waker, which no other
/// living task has. The handler puts the connection here when it is polled first; the others find it
/// here when they are. The socket, which may have been read ahead, is the last. Where it is not
/// counted, the connection stays here until its handler goes.
///
/// [`ConnectionId`]: libp2p::swarm::ConnectionId
#[derive(Default)]
pub(crate) struct Linking {
    table: Mutex<HashMap<Task, Arc<Connection>>>,
}

/// What tells a task from others that live.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Task(usize, usize);

impl Task {
    fn of(cx: &Context<'_>) -> Self {
        let waker = cx.waker();
        Self(
            waker.data() as usize,
            std::ptr::from_ref(waker.vtable()) as usize,
        )
    }
}

impl Linking {
    pub(crate) fn put(&self, cx: &Context<'_>, connection: &Arc<Connection>) -> Task {
        let task = Task::of(cx);
        lock(&self.table).insert(task, connection.clone());
        task
    }

    fn get(&self, cx: &Context<'_>) -> Option<Arc<Connection>> {
        lock(&self.table).get(&Task::of(cx)).cloned()
    }

    pub(crate) fn remove(&self, task: Task, connection: &Arc<Connection>) {
        let mut table = lock(&self.table);
        if table
            .get(&task)
            .is_some_and(|found| Arc::ptr_eq(found, connection))
        {
            table.remove(&task);
        }
    }
}

/// A TCP connection whose bytes are counted.
pub struct Socket {
    inner: tcp::tokio::TcpStream,
    wire: Arc<Wire>,
    ear: Ear, // the security protocol is negotiated in the clear
    linked: bool,
    shared: Arc<Shared>,
}

/// What is known of a TCP connection.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) counter: Counter,
    pub(crate) local: Option<Multiaddr>,
    pub(crate) remote: Option<IpAddr>,
    pub(crate) security: OnceLock<String>,
}

impl Socket {
    fn new(inner: tcp::tokio::TcpStream, point: &ConnectedPoint, shared: Arc<Shared>) -> Self {
        let local = inner
            .0
            .local_addr()
            .ok()
            .map(|end| Multiaddr::from(end.ip()).with(Component::Tcp(end.port())));
        let dialed = match point {
            ConnectedPoint::Dialer { role_override, .. } => *role_override == Endpoint::Dialer,
            ConnectedPoint::Listener { .. } => false,
        };
        let wire = Arc::new(Wire {
            local,
            remote: inner.0.peer_addr().ok().map(|end| end.ip()),
            ..Default::default()
        });
        Self {
            inner,
            wire,
            ear: Ear::new(dialed),
            linked: false,
            shared,
        }
    }

    fn link(&mut self, cx: &Context<'_>) {
        if !self.linked {
            if let Some(connection) = self.shared.linking.get(cx) {
                self.linked = true;
                let _ = connection.wire.set(self.wire.clone());
                self.shared.linking.remove(Task::of(cx), &connection);
            }
        }
    }

    fn agreed(&mut self, name: Option<String>) {
        if let Some(name) = name {
            let _ = self.wire.security.set(name);
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.link(cx);
        let n = ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.wire.counter.receive(n as u64);
        let agreed = self.ear.received(n, [&*buf]);
        self.agreed(agreed);
        Poll::Ready(Ok(n))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.wire.counter.send(n as u64);
        let agreed = self.ear.sent(n, [buf]);
        self.agreed(agreed);
        Poll::Ready(Ok(n))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        self.wire.counter.send(n as u64);
        let agreed = self.ear.sent(n, bufs.iter().map(|buf| &**buf));
        self.agreed(agreed);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// An upgrade to a muxer that is counted; see [`Meter::muxer`].
#[derive(Clone)]
pub struct Upgrade<U> {
    upgrade: U,
    shared: Arc<Shared>,
}

type Wrap<M> = Box<dyn FnOnce(M) -> Muxer<M> + Send>;

impl<U> Upgrade<U> {
    fn wrap<M>(shared: Arc<Shared>, name: &str) -> Wrap<M> {
        let name = name.to_owned();
        Box::new(move |muxer| Muxer::new(muxer, Some(name), shared))
    }
}

impl<U: UpgradeInfo> UpgradeInfo for Upgrade<U> {
    type Info = U::Info;
    type InfoIter = U::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.upgrade.protocol_info()
    }
}

impl<C, U: InboundConnectionUpgrade<C>> InboundConnectionUpgrade<C> for Upgrade<U> {
    type Output = Muxer<U::Output>;
    type Error = U::Error;
    type Future = MapOk<U::Future, Wrap<U::Output>>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        let wrap = Self::wrap(self.shared, info.as_ref());
        self.upgrade.upgrade_inbound(socket, info).map_ok(wrap)
    }
}

impl<C, U: OutboundConnectionUpgrade<C>> OutboundConnectionUpgrade<C> for Upgrade<U> {
    type Output = Muxer<U::Output>;
    type Error = U::Error;
    type Future = MapOk<U::Future, Wrap<U::Output>>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        let wrap = Self::wrap(self.shared, info.as_ref());
        self.upgrade.upgrade_outbound(socket, info).map_ok(wrap)
    }
}

/// A muxer whose streams are counted.
pub struct Muxer<M> {
    inner: M,
    streams: Arc<Streams>,
    linked: bool,
    shared: Arc<Shared>,
}

/// What is known of the streams of a connection.
#[derive(Default)]
pub(crate) struct Streams {
    pub(crate) muxer: Option<String>,
    /// All that they moved, closed ones included.
    pub(crate) counter: Counter,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    opened: u64,
    listed: BTreeMap<u64, Arc<Stream>>,
}

/// What is known of a stream.
pub(crate) struct Stream {
    pub(crate) number: u64,
    pub(crate) dialed: bool,
    pub(crate) opened: SystemTime,
    pub(crate) counter: Counter,
    pub(crate) protocol: OnceLock<Arc<Protocol>>,
    pub(crate) closing: AtomicBool,
}

impl Streams {
    /// Those that are open, the oldest first.
    pub(crate) fn listed(&self) -> Vec<Arc<Stream>> {
        lock(&self.open).listed.values().cloned().collect()
    }

    fn add(&self, dialed: bool) -> Arc<Stream> {
        let mut open = lock(&self.open);
        open.opened += 1;
        let stream = Arc::new(Stream {
            number: open.opened,
            dialed,
            opened: SystemTime::now(),
            counter: Counter::default(),
            protocol: OnceLock::new(),
            closing: AtomicBool::new(false),
        });
        if open.listed.len() < MAX_STREAMS {
            open.listed.insert(stream.number, stream.clone());
        }
        stream
    }
}

impl<M> Muxer<M> {
    fn new(inner: M, name: Option<String>, shared: Arc<Shared>) -> Self {
        let streams = Arc::new(Streams {
            muxer: name,
            ..Default::default()
        });
        Self {
            inner,
            streams,
            linked: false,
            shared,
        }
    }

    fn stream<S>(&self, inner: S, dialed: bool) -> Substream<S> {
        Substream {
            inner,
            stream: self.streams.add(dialed),
            streams: self.streams.clone(),
            ear: Ear::new(dialed),
            shared: self.shared.clone(),
        }
    }
}

impl<M: StreamMuxer<Substream: Unpin> + Unpin> StreamMuxer for Muxer<M> {
    type Substream = Substream<M::Substream>;
    type Error = M::Error;

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        if !self.linked {
            if let Some(connection) = self.shared.linking.get(cx) {
                self.linked = true;
                let _ = connection.streams.set(self.streams.clone());
            }
        }
        Pin::new(&mut self.inner).poll(cx) // and with it the socket
    }

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        Poll::Ready(Ok(self.stream(inner, false)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let inner = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(self.stream(inner, true)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

/// A stream whose bytes are counted, those of its negotiation included.
pub struct Substream<S> {
    inner: S,
    stream: Arc<Stream>,
    streams: Arc<Streams>,
    ear: Ear,
    shared: Arc<Shared>,
}

impl<S> Substream<S> {
    fn count(&self, bytes: usize, add: fn(&Counter, u64)) {
        add(&self.stream.counter, bytes as u64);
        add(&self.streams.counter, bytes as u64);
        if let Some(protocol) = self.stream.protocol.get() {
            add(&protocol.counter, bytes as u64);
        }
    }

    /// The bytes until now, which are its negotiation's, become the protocol's as well.
    fn agreed(&self, name: Option<String>) {
        let Some(name) = name else {
            return;
        };
        let protocol = self.shared.protocols.named(name);
        let (received, sent) = self.stream.counter.moved();
        protocol.counter.receive(received);
        protocol.counter.send(sent);
        protocol.open.fetch_add(1, Relaxed);
        let _ = self.stream.protocol.set(protocol);
    }
}

impl<S> Drop for Substream<S> {
    fn drop(&mut self) {
        lock(&self.streams.open).listed.remove(&self.stream.number);
        if let Some(protocol) = self.stream.protocol.get() {
            protocol.open.fetch_sub(1, Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Substream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        self.count(n, Counter::receive);
        let agreed = self.ear.received(n, [&*buf]);
        self.agreed(agreed);
        Poll::Ready(Ok(n))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Substream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let n = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        self.count(n, Counter::send);
        let agreed = self.ear.sent(n, [buf]);
        self.agreed(agreed);
        Poll::Ready(Ok(n))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.closing.store(true, Relaxed);
        Pin::new(&mut self.inner).poll_close(cx)
    }
}
