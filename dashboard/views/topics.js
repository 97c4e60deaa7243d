import { h } from '../dom.js';
import { count, of, plural, short } from '../format.js';
import { card, few, filtered, nothing, why } from '../parts.js';
import { get } from '../route.js';
import { matcher } from './filters.js';

const SHOWN = 24;    // mesh peers of a topic
const TOPICS = 60;   // drawn

function topic(m, t, i) {
  const connected = t.mesh_peer_ids.filter((p) => m.connected.has(p)).length, { length } = t.mesh_peer_ids;
  return card(t.name || 'unnamed topic', plural(t.subscribers, 'subscriber'),
    h('h3', null, `Mesh: ${plural(length, 'peer')}${connected < length ? `, ${count(connected)} connected` : ''}`),
    length
      ? h('ul', { class: 'ids' }, few(t.mesh_peer_ids, SHOWN, (p) =>
        h('li', { key: `${i} ${p}` }, filtered('peers', { peer: p }, h('span', { class: 'id', title: p }, short(p))))))
      : why('No peer of its mesh is known.'));
}

export default {
  title: 'Topics',
  badge: (m) => m.state.topics.length,
  render(m) {
    const { topics } = m.state;
    if (!topics.length)
      return nothing('No topics here', m,
        'Pubsub is spoken inside connections, where the kernel cannot look.',
        'The node takes part in no pubsub topic, or has not told.');
    const fit = matcher();
    const list = get('q') ? topics.filter((t) => fit(t.name) || t.mesh_peer_ids.some(fit)) : topics;
    return [
      h('div', { class: 'tools' }, h('span', { class: 'aside' }, of(list, topics, 'topic'))),
      h('div', { class: 'cards' }, [...list].sort((a, b) => b.subscribers - a.subscribers).slice(0, TOPICS).map((t, i) => topic(m, t, i))),
      !list.length && why('No topic fits the search, and no peer in the mesh of one.'),
      list.length > TOPICS && why(`And ${count(list.length - TOPICS)} more with fewer subscribers.`),
    ];
  },
};
