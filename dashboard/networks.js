// The operator's table of networks, which the daemon checked and hands on: which AS and country
// an address belongs to.

import { fetchData } from './connection.js';

const V4 = 32, V6 = 128;
const NOWHERE = { as: '', country: '', name: '', text: '' };

let table;                  // Map: family: Map: bits: Map: leading bits: what the line tells
let known = new Map();      // of addresses that were looked up

export const hasNetworks = () => table !== undefined;

// An address without port as a number, and of how many bits; undefined when it is none.
function numberOf(host) {
  const v4 = /^(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host);
  if (v4)
    return [BigInt(v4.slice(1).reduce((n, part) => n * 256 + Number(part), 0)), V4];
  if (!host.includes(':') || !URL.canParse(`http://[${host}]`))
    return undefined;
  const [head, tail] = new URL(`http://[${host}]`).hostname.slice(1, -1).split('::').map((s) => s.split(':').filter(Boolean));
  const groups = tail ? [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail] : head;
  return [BigInt(`0x${groups.map((g) => g.padStart(4, '0')).join('')}`), V6];
}

export function readNetworks(text) {
  table = new Map([[V4, new Map()], [V6, new Map()]]);
  known = new Map();
  for (const line of text.split('\n')) {
    const [prefix = '', as = '-', country = '-', ...name] = line.trim().split(/[ \t\r]+/);
    const [host, bits] = prefix.split('/'), found = prefix[0] !== '#' && numberOf(host);
    if (!found || !(/^\d{1,3}$/.test(bits) && bits <= found[1]))   // another daemon may not have checked
      continue;
    const lengths = table.get(found[1]), key = found[0] >> BigInt(found[1] - bits), at = Number(bits);
    const entry = { as: as === '-' ? '' : `AS${as.replace('AS', '')}`, country: country === '-' ? '' : country, name: name.join(' ') };
    entry.text = [entry.as, entry.name, entry.country].filter(Boolean).join(' ');
    lengths.has(at) ? lengths.get(at).set(key, entry) : lengths.set(at, new Map([[key, entry]]));
  }
  for (const [family, lengths] of table)
    table.set(family, new Map([...lengths].sort(([a], [b]) => b - a)));
}

// Asks the daemon for its table; without one, there is none.
export const loadNetworks = async (url) => {
  const text = await (await fetchData(url, 'networks'))?.text().catch(() => '');
  table = undefined;
  if (text)
    readNetworks(text);
};

// { as, country, name, text: all of them } of a place such as 1.2.3.4:4001 or [::1]:4001.
export function networkAt(place) {
  let found = known.get(place);
  if (!found) {
    const [number, family] = numberOf(place.replace(/^\[(.*?)(%.*)?\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1')) ?? [];
    found = NOWHERE;
    for (const [bits, entries] of table?.get(family) ?? []) {
      const entry = entries.get(number >> BigInt(family - bits));
      if (entry) {
        found = entry;
        break;
      }
    }
    if (known.size > 50_000)
      known.clear();
    known.set(place, found);
  }
  return found;
}
