import { h } from '../dom.js';
import { count, of, plural, short } from '../format.js';
import { card, comparing, few, filtered, nothing, signed, turnover, why, without } from '../parts.js';
import { get, span } from '../route.js';
import { matcher } from './filters.js';

const SHOWN = 24;    // mesh peers of a topic
const TOPICS = 60;   // drawn

const NONE = { subscribers: 0, mesh_peer_ids: [] };   // a topic before it was joined, or after it was left

// was: what it is compared with, if it is.
function topic(m, t, i, was) {
  const ids = t.mesh_peer_ids, connected = ids.filter((p) => m.connected.has(p)).length, { length } = ids;
  const came = was ? without(ids, was.mesh_peer_ids) : [], went = was ? without(was.mesh_peer_ids, ids) : [];
  const more = was ? t.subscribers - was.subscribers : 0, stayed = without(ids, came);
  const peers = [['+ ', came], ['− ', went], ['', stayed]].flatMap(([sign, list]) => list.map((p) => [sign, p]));
  return card(t.name || 'unnamed topic', [plural(t.subscribers, 'subscriber'), more !== 0 && ` (${signed(more, count)})`],
    h('h3', null, `Mesh: ${plural(length, 'peer')}${connected < length ? `, ${count(connected)} connected` : ''}`, turnover(came.length, went.length)),
    peers.length
      ? h('ul', { class: 'ids' }, few(peers, SHOWN, ([sign, p]) =>
        h('li', { key: `${i} ${p}` }, sign, filtered('peers', { peer: p }, h('span', { class: 'id', title: p }, short(p))))))
      : why('No peer of its mesh is known.'));
}

export default {
  title: 'Topics',
  badge: (m) => m.state.topics.length,
  render(m) {
    const then = m.then(span()), was = then && new Map(then.topics.map((t) => [t.name, t])), now = new Set(m.state.topics.map((t) => t.name));
    const topics = [...m.state.topics, ...(then?.topics ?? []).filter((t) => !now.has(t.name)).map(({ name }) => ({ ...NONE, name }))];
    if (!topics.length)
      return nothing('No topics here', m,
        'Pubsub is spoken inside connections, where the kernel cannot look.',
        'The node takes part in no pubsub topic, or has not told.');
    const fit = matcher();
    const list = get('q') ? topics.filter((t) => fit(t.name) || t.mesh_peer_ids.some(fit)) : topics;
    return [
      comparing(m), h('div', { class: 'tools' }, h('span', { class: 'aside' }, of(list, topics, 'topic'))),
      h('div', { class: 'cards' }, [...list].sort((a, b) => b.subscribers - a.subscribers).slice(0, TOPICS).map((t, i) => topic(m, t, i, was && (was.get(t.name) ?? NONE)))),
      !list.length && why('No topic fits the search, and no peer in the mesh of one.'),
      list.length > TOPICS && why(`And ${count(list.length - TOPICS)} more with fewer subscribers.`),
    ];
  },
};
