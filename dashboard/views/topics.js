import { h } from '../dom.js';
import { count, plural } from '../format.js';
import { card, id, nothing, why } from '../parts.js';

const SHOWN = 24;   // mesh peers of a topic

export default {
  title: 'Topics',
  badge: (m) => m.state.topics.length,
  render(m) {
    const { topics } = m.state;
    if (!topics.length)
      return nothing('No topics here', m,
        'Pubsub is spoken inside connections, where the kernel cannot look.',
        'The node takes part in no pubsub topic, or has not told.');
    return h('div', { class: 'cards' }, [...topics].sort((a, b) => b.subscribers - a.subscribers).map((t) =>
      card(t.name || 'unnamed topic', plural(t.subscribers, 'subscriber'),
        h('h3', null, `Mesh: ${plural(t.mesh_peer_ids.length, 'peer')}`),
        t.mesh_peer_ids.length
          ? h('ul', { class: 'ids' }, t.mesh_peer_ids.slice(0, SHOWN).map((p) => h('li', { key: p }, id(p))),
            t.mesh_peer_ids.length > SHOWN &&
              h('li', { class: 'faint' }, `and ${count(t.mesh_peer_ids.length - SHOWN)} more`))
          : why('No peer forwards this topic to us directly.'))));
  },
};
