//! Topics of gossipsub.

use std::collections::HashMap;

use libp2p::gossipsub;

use crate::schema::Topic;

/// Topics that are told, and peers of the mesh of each.
const MAX_TOPICS: usize = 1024;
const MAX_MESH: usize = 1024;

/// The node's own topics, in the order of their names.
pub(crate) fn look<D, F>(gossipsub: &gossipsub::Behaviour<D, F>) -> Vec<Topic>
where
    D: gossipsub::DataTransform + Send + 'static,
    F: gossipsub::TopicSubscriptionFilter + Send + 'static,
{
    let mut own: HashMap<&gossipsub::TopicHash, u32> = gossipsub
        .topics()
        .take(MAX_TOPICS)
        .map(|topic| (topic, 0))
        .collect();
    for topic in gossipsub.all_peers().flat_map(|(_, topics)| topics) {
        if let Some(subscribers) = own.get_mut(topic) {
            *subscribers += 1;
        }
    }
    let mut topics: Vec<_> = own
        .into_iter()
        .map(|(topic, subscribers)| Topic {
            name: topic.to_string(),
            subscribers,
            mesh_peer_ids: gossipsub
                .mesh_peers(topic)
                .take(MAX_MESH)
                .map(ToString::to_string)
                .collect(),
        })
        .collect();
    topics.sort_by(|a, b| a.name.cmp(&b.name));
    topics
}
