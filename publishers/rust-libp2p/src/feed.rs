//! The connection to the daemon's Unix socket.

use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use prost::Message;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::UnixStream,
    sync::{mpsc, Notify},
    task::spawn_blocking,
    time::{sleep, timeout},
};

use crate::{
    events::Happened,
    lock,
    schema::{server_message::Payload, ServerMessage, Version},
    Shared,
};

const RETRY_FIRST: Duration = Duration::from_millis(100); // doubled with every failure
const RETRY_LONGEST: Duration = Duration::from_secs(5);
/// How long the node's loop is waited for, for what only it can see.
const LOOK: Duration = Duration::from_millis(50);
/// Events that wait for the daemon to read; those beyond are not sent.
const MAX_EVENTS: usize = 256;

impl Shared {
    /// Sends an event if a daemon is connected and not too many wait; else content is not called.
    pub(crate) fn offer(&self, name: &'static str, content: impl FnOnce() -> Value) {
        let room = lock(&self.listener)
            .as_ref()
            .and_then(|events| events.clone().try_reserve_owned().ok());
        if let Some(room) = room {
            room.send(Happened {
                name,
                at: SystemTime::now(),
                content: content(),
            });
        }
    }
}

/// Connects, and connects again, for ever.
pub(crate) async fn run(shared: Arc<Shared>, path: &Path) {
    let mut delay = RETRY_FIRST;
    loop {
        let mut took = false;
        let Err(reason) = serve(&shared, path, &mut took).await;
        tracing::debug!(?path, %reason, "not connected");
        if took {
            delay = RETRY_FIRST;
        }
        sleep(delay.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        delay = RETRY_LONGEST.min(2 * delay);
    }
}

enum Never {}

/// One connection, from its beginning to its end. took: the daemon asked again after it was
/// answered, the sign that it takes what it gets.
async fn serve(shared: &Arc<Shared>, path: &Path, took: &mut bool) -> io::Result<Never> {
    let (read, write) = UnixStream::connect(path).await?.into_split();
    let (sender, events) = mpsc::channel(MAX_EVENTS);
    *lock(&shared.listener) = Some(sender); // until `events` goes, with this future
    let asked = Notify::new();
    tokio::select! {
        end = requests(read, &asked) => end,
        end = answers(shared, write, &asked, events, took) => end,
    }
}

/// Any number of requests before the answer are one.
async fn requests(mut read: impl AsyncRead + Unpin, asked: &Notify) -> io::Result<Never> {
    let mut buf = [0; 4096];
    loop {
        let n = read.read(&mut buf).await?;
        if n == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the daemon ended the connection",
            ));
        }
        if buf[..n].contains(&b'r') {
            asked.notify_one();
        }
    }
}

async fn answers(
    shared: &Arc<Shared>,
    mut write: impl AsyncWrite + Unpin,
    asked: &Notify,
    mut events: mpsc::Receiver<Happened>,
    took: &mut bool,
) -> io::Result<Never> {
    write
        .write_all(&encode(Payload::Runtime(shared.runtime())))
        .await?;
    let mut told = HashSet::new();
    let mut answered = false;
    loop {
        tokio::select! {
            () = asked.notified() => {
                *took = answered;
                answered = true;
                let _ = timeout(LOOK, shared.looks.ask()).await;
                // Neither the time that it takes nor a panic is the node's.
                let shared = shared.clone();
                let state = spawn_blocking(move || encode(Payload::State(shared.state()))).await?;
                write.write_all(&state).await?;
            }
            Some(event) = events.recv() => {
                if let Some(event) = event.message(&mut told) {
                    write.write_all(&encode(Payload::Event(event))).await?;
                }
            }
        }
    }
}

fn encode(payload: Payload) -> Vec<u8> {
    ServerMessage {
        version: Some(Version { version: 1 }),
        payload: Some(payload),
    }
    .encode_length_delimited_to_vec()
}
