import { h } from '../dom.js';
import { count, plural } from '../format.js';
import { card, few, id, nothing, why } from '../parts.js';

const SHOWN = 24;    // mesh peers of a topic
const TOPICS = 60;   // drawn

export default {
  title: 'Topics',
  badge: (m) => m.state.topics.length,
  render(m) {
    const { topics } = m.state;
    if (!topics.length)
      return nothing('No topics here', m,
        'Pubsub is spoken inside connections, where the kernel cannot look.',
        'The node takes part in no pubsub topic, or has not told.');
    return h('div', { class: 'cards' }, [...topics].sort((a, b) => b.subscribers - a.subscribers).slice(0, TOPICS).map((t) =>
      card(t.name || 'unnamed topic', plural(t.subscribers, 'subscriber'),
        h('h3', null, `Mesh: ${plural(t.mesh_peer_ids.length, 'peer')}`),
        t.mesh_peer_ids.length
          ? h('ul', { class: 'ids' }, few(t.mesh_peer_ids, SHOWN, (p, i) => h('li', { key: i }, id(p))))
          : why('No peer forwards this topic to us directly.'))),
      topics.length > TOPICS && why(`And ${count(topics.length - TOPICS)} more with fewer subscribers.`));
  },
};
