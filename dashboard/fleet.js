// Several daemons, of which the totals alone are asked for: which they are, and what each
// said last.

import { Connection, isConfirmed, parseAddress } from './connection.js';
import { codec, DecodeError } from './decode.js';
import { get } from './route.js';

export const FLEET_MAX = 100;   // daemons; browsers open no more than 200 sockets
const KEPT = 60;                // rates of each that are drawn

const totals = codec({
  ServerMessage: ['state'], State: ['traffic', 'instant_ts', 'sequence', 'runtime', 'addresses', 'resources', 'counts'],
  Traffic: ['traffic_in', 'traffic_out'], DataGauge: ['cum_bytes', 'inst_bw'], OwnAddress: ['multiaddr', 'reachability'],
  Runtime: ['implementation', 'version', 'peer_id', 'source', 'hostname', 'interval_ms'],
  Resource: ['scope', 'name', 'used', 'limit'], Counts: ['connections', 'streams', 'dht_peers', 'inbound', 'peers'],
});

// The WebSocket URLs in what a person typed or pasted, and in words what was none.
export function parseFleet(text) {
  const urls = new Set(), wrong = [];
  for (const word of text.split(/[\s,;]+/).filter(Boolean)) {
    try {
      urls.add(parseAddress(word));
    } catch (e) {
      wrong.push(e.message);
    }
  }
  if (urls.size > FLEET_MAX)
    wrong.push(`Of ${urls.size} daemons the first ${FLEET_MAX} are watched.`);
  return { urls: [...urls].slice(0, FLEET_MAX), wrong };
}

// Those that the user wants, kept by the browser.
let wanted;
export function stored() {
  try {
    wanted ??= parseFleet(localStorage.getItem('fleet') ?? '').urls;
  } catch {
    wanted = [];
  }
  return wanted;
}

export function store(urls) {
  wanted = urls.slice(0, FLEET_MAX);
  try {
    localStorage.setItem('fleet', wanted.join(' '));
  } catch {
    // A browser that keeps nothing knows them until the page is closed.
  }
}

// Those in the page's address, else those that are kept, else the daemon at `own`.
export function listed(own) {
  const { urls } = parseFleet(get('daemons'));
  return urls.length ? urls : stored().length ? stored() : [own].filter(Boolean);
}

export const isKnown = (url) => stored().includes(url) || isConfirmed(url);

// A daemon and what it said last.
class Member {
  connection = new Connection();
  said;          // the State, without what totals leave out; undefined: nothing yet
  past = [];     // { at, rate, runtime } of late, the newest last

  constructor(url, changed) {
    this.url = url;
    this.connection.addEventListener('change', changed);
    this.connection.addEventListener('message', ({ detail }) => {
      this.#take(detail);
      changed();
    });
  }

  // The first snapshot comes unasked and is whole; what it leaves uncounted the next one tells.
  #take(bytes) {
    try {
      const message = totals.decode('ServerMessage', bytes), { state } = message, { traffic_in: i, traffic_out: o } = state.traffic;
      if (!Object.hasOwn(message, 'state'))
        return;
      this.connection.count(state.sequence);
      if (!Object.hasOwn(state, 'counts')) {
        state.counts = this.said?.counts;
        this.ask();
      }
      this.said = state;
      this.past.push({ at: Date.now(), rate: i.inst_bw + o.inst_bw, runtime: state.runtime });
      this.past.splice(0, this.past.length - KEPT);
    } catch (e) {
      if (!(e instanceof DecodeError))
        throw e;
    }
  }

  ask() {
    this.connection.ready(this.connection.received, { detail: 'TOTALS' });
  }
}

const members = new Map();   // by URL
let timer;

// Watches these and no others; changed is called when one of them said something. A page that
// nobody sees asks none of them.
export function watch(urls, changed) {
  for (const [url, member] of members) {
    if (!urls.includes(url)) {
      member.connection.close();
      members.delete(url);
    }
  }
  for (const url of urls) {
    if (!members.has(url))
      members.set(url, new Member(url, changed));
    if (members.get(url).connection.state === 'closed')
      members.get(url).connection.open(url);
  }
  timer ??= setInterval(() => {
    for (const { connection, said } of members.values())
      connection.check(Math.max(5000, 3 * (said?.runtime.interval_ms ?? 0)));
    if (!document.hidden) {
      members.forEach((member) => member.ask());
      changed();
    }
  }, 1000);
  return urls.map((url) => members.get(url));
}

// What they said stays.
export function unwatch() {
  members.forEach(({ connection }) => connection.close());
  clearInterval(timer);
  timer = undefined;
}
