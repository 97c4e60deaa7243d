//! The DHT: its routing table and its queries.

use std::{collections::HashMap, time::SystemTime};

use libp2p::{
    kad::{self, GetRecordError, NodeStatus, PutRecordError, QueryResult},
    PeerId,
};

use crate::schema::{
    dht::{peer_in_dht::Status, Bucket, PeerInDht, QueryGauge},
    Dht as Message,
};

/// Peers whose time in the table is known; a table has room for 256 buckets of 20.
const MAX_PEERS: usize = 8192;

/// What is known of the DHT.
#[derive(Default)]
pub(crate) struct Dht {
    message: Option<Message>,
    since: HashMap<PeerId, SystemTime>,
    incoming: QueryGauge,
    outgoing: QueryGauge,
}

/// The kind of a query, and whether it ended with `success`, `error` or `timeout`.
pub(crate) fn outcome(result: &QueryResult) -> (&'static str, &'static str) {
    fn of<T, E>(result: &Result<T, E>, is_timeout: impl FnOnce(&E) -> bool) -> &'static str {
        match result {
            Ok(_) => "success",
            Err(error) if is_timeout(error) => "timeout",
            Err(_) => "error",
        }
    }
    let put = |result| of(result, |e| matches!(e, PutRecordError::Timeout { .. }));
    let get = |result| of(result, |e| matches!(e, GetRecordError::Timeout { .. }));
    match result {
        // These fail in no other way.
        QueryResult::Bootstrap(result) => ("Bootstrap", of(result, |_| true)),
        QueryResult::GetClosestPeers(result) => ("GetClosestPeers", of(result, |_| true)),
        QueryResult::GetProviders(result) => ("GetProviders", of(result, |_| true)),
        QueryResult::StartProviding(result) => ("StartProviding", of(result, |_| true)),
        QueryResult::RepublishProvider(result) => ("RepublishProvider", of(result, |_| true)),
        QueryResult::GetRecord(result) => ("GetRecord", get(result)),
        QueryResult::PutRecord(result) => ("PutRecord", put(result)),
        QueryResult::RepublishRecord(result) => ("RepublishRecord", put(result)),
    }
}

impl Dht {
    /// Another node's request was answered.
    pub(crate) fn answered(&mut self) {
        self.incoming.success += 1;
    }

    pub(crate) fn ended(&mut self, how: &str) {
        *match how {
            "success" => &mut self.outgoing.success,
            "timeout" => &mut self.outgoing.timeout,
            _ => &mut self.outgoing.error,
        } += 1;
    }

    pub(crate) fn added(&mut self, peer: PeerId, evicted: Option<&PeerId>) {
        if let Some(evicted) = evicted {
            self.since.remove(evicted);
        }
        if self.since.len() < MAX_PEERS {
            self.since.insert(peer, SystemTime::now());
        }
    }

    pub(crate) fn look<S: kad::store::RecordStore + Send + 'static>(
        &mut self,
        kad: &mut kad::Behaviour<S>,
    ) {
        let now = SystemTime::now();
        let mut since = HashMap::new(); // without those that are no longer in the table
        let protocol = kad
            .protocol_names()
            .first()
            .map(ToString::to_string)
            .unwrap_or_default();
        let buckets = kad.kbuckets().map(|bucket| {
            let peers = bucket.iter().map(|entry| {
                let peer = *entry.node.key.preimage();
                let added = *since
                    .entry(peer)
                    .or_insert(self.since.get(&peer).copied().unwrap_or(now));
                let age = now.duration_since(added).unwrap_or_default().as_millis();
                let status = match entry.status {
                    NodeStatus::Connected => Status::Active,
                    NodeStatus::Disconnected => Status::Missing,
                };
                PeerInDht {
                    peer_id: peer.to_string(),
                    status: status.into(),
                    age_in_bucket: age.try_into().unwrap_or(u32::MAX),
                }
            });
            // The bits that all keys of the bucket share with the node's own.
            let cpl = 255 - bucket.range().1.ilog2().unwrap_or(0);
            Bucket {
                cpl,
                peers: peers.collect(),
            }
        });
        let mut buckets: Vec<_> = buckets.collect();
        buckets.sort_by_key(|bucket| bucket.cpl);
        self.message = Some(Message {
            protocol,
            enabled: true,
            buckets,
            ..Default::default()
        });
        self.since = since;
    }

    /// None: the node has none, or does not show it.
    pub(crate) fn message(&self) -> Option<Message> {
        let queries =
            self.incoming != QueryGauge::default() || self.outgoing != QueryGauge::default();
        let message = self.message.clone().or_else(|| {
            queries.then(|| Message {
                enabled: true,
                ..Default::default()
            })
        })?;
        Some(Message {
            incoming_queries: Some(self.incoming),
            outgoing_queries: Some(self.outgoing),
            ..message
        })
    }
}
