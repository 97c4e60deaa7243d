// The pull client: finds a daemon, keeps a WebSocket to it, hands over each
// snapshot, and asks for the next one only when told that the last was shown.

import { encode } from './decode.js';

const PORT = 4801;
const RETRY_MIN = 1000, RETRY_MAX = 30_000;   // ms between attempts
const PROBE = 3000;                           // ms until an address counts as silent
const HANDSHAKE = 8000;                       // ms; a daemon holds back its answer to a wrong token
const PAST = 5000;                            // ms for data to come
const REFUSED_MIN = 4000;                     // ms until a daemon that refused is asked again
const PATIENCE = 60_000;                      // ms of silence until a socket is replaced; doubles

// The WebSocket URL for what a person types: a host, host:port, [v6]:port, or a
// ws, wss, http or https URL. Throws an Error whose message is for that person.
export function parseAddress(typed) {
  let s = typed.trim();
  if (/^[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:.]*$/i.test(s)) {
    if (s.endsWith(`:${PORT}`))
      throw new Error('An IPv6 address with a port is written as [::1]:4801, one without as [::1].');
    s = `[${s}]`;
  }
  const scheme = /^([a-z]+):\/\//i.exec(s)?.[1].toLowerCase();
  const secure = scheme ? scheme === 'wss' || scheme === 'https' : globalThis.location?.protocol === 'https:';
  if (scheme && !['ws', 'wss', 'http', 'https'].includes(scheme))
    throw new Error(`${scheme}:// is not a scheme for this; ws:// and wss:// are.`);
  const rest = scheme ? s.slice(scheme.length + 3) : s;
  if (/^\d+(?![\w.-])/.test(rest))   // a URL's host 4801 is 0.0.18.193
    throw new Error(`“${typed}” has no host: put 127.0.0.1: before a port.`);
  const url = URL.canParse(`http://${rest}`) && new URL(`http://${rest}`);
  if (!url || !rest || url.username || url.password || !/^(\[[\da-f:.]+\]|[\w.-]+)$/i.test(url.hostname))
    throw new Error(`“${typed}” is not a host, host:port, ws:// or wss:// address.`);
  const port = /^(\[.*\]|[^:/]*):(\d+)/.exec(rest)?.[2] ?? (scheme ? '' : PORT);
  return new URL(`${secure ? 'wss' : 'ws'}://${url.hostname}${port === '' ? '' : `:${port}`}${url.pathname}`).href;
}

// A WebSocket URL as short as it can be typed.
export function brief(url) {
  const { protocol, port, pathname, host } = url ? new URL(url) : {};
  return protocol === 'ws:' && port && pathname === '/' ? host : url;
}

// Tokens by origin with its scheme: what was typed for wss:// never goes over ws://.
const TOKENS = new Map();

const tokenFor = (url) => {
  const { origin } = new URL(url);
  return TOKENS.get(origin) ?? sessionItem('getItem', `token ${origin}`);
};

// What to offer as subprotocols: the token, as a browser can show it in no other way.
export function offers(url) {
  const token = tokenFor(url);
  return token ? ['introspect', `introspect.token.${token}`] : [];
}

// Keeps a token for the session. False: no daemon would take this one.
export function keepToken(url, token) {
  if (!/^[\w.~-]{16,256}$/.test(token))
    return false;
  const { origin } = new URL(url);
  TOKENS.set(origin, token);
  sessionItem('setItem', `token ${origin}`, token);
  return true;
}

// Whether the user named this daemon, or followed a link to it, in this tab.
export const isConfirmed = (url) =>
  new URL(url).origin === location.origin.replace(/^http/, 'ws') || sessionItem('getItem', 'confirmed') === url;
export const confirm = (url) => sessionItem('setItem', 'confirmed', url);

// Some browsers are told to keep nothing.
function sessionItem(method, ...args) {
  try {
    return sessionStorage[method](...args);
  } catch {
    return null;
  }
}

const httpOf = (url) => url.replace(/^ws/, 'http');

// Answers whether anything that speaks HTTP is there, whether it is an introspectd that lets this
// page read: our own does, and others that allow the page's origin; or whether it is too slow to tell.
async function probe(url) {
  const ask = (mode) => fetch(new URL('healthz', httpOf(url)), { mode, cache: 'no-store', signal: AbortSignal.timeout(PROBE) });
  try {
    const answer = await ask('cors');
    return { there: true, daemon: answer.ok && (await answer.text()).trim() === 'ok' };
  } catch (e) {
    const slow = e.name === 'TimeoutError', there = !slow && new URL(httpOf(url)).origin !== location.origin &&
      await ask('no-cors').then(() => true, () => false);
    return { there, daemon: false, slow };
  }
}

// The answer of the daemon to a request for data at a path; undefined when it has none, the way
// is too slow to wait for it, or it wants a token, which browsers show to daemons of other origins
// in WebSockets alone.
export const fetchData = async (url, path) => {
  const target = new URL(path, httpOf(url)), token = tokenFor(url);
  if (target.origin !== location.origin && token)
    return undefined;
  try {
    const answer = await fetch(target, {
      headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: 'no-store', signal: AbortSignal.timeout(PAST),
    });
    return answer.ok ? answer : undefined;
  } catch {
    return undefined;
  }
};

async function whyNot(url, offered) {
  const { there } = await probe(url);
  return there ? { kind: 'refused', url, offered, status: await verdict(url) } : { kind: 'silent', url };
}

// Why a daemon did not let the page in: the status of an answer that needs the same
// token as a WebSocket, and no Upgrade; 0 when it does not tell, or not to this page.
async function verdict(url) {
  const metrics = new URL('metrics', httpOf(url)), token = metrics.origin === location.origin && tokenFor(url);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  try {
    return (await fetch(metrics, { method: 'HEAD', headers, cache: 'no-store', signal: AbortSignal.timeout(HANDSHAKE) })).status;
  } catch {
    return 0;
  }
}

// Emits `change` whenever a field below did, and `message` with the bytes of a
// snapshot in `detail`, which is answered by ready() once it is on the screen.
export class Connection extends EventTarget {
  state = 'closed';    // closed, connecting, open, waiting
  url = '';            // of the daemon, or of the one tried last
  chosen = '';         // set when the user named it; else daemons are looked for
  // Why the last attempt failed: { kind, url, and for some code, status, offered }. kind is
  // refused, silent, lost, or mixed (ws:// in a page that came by https). status: what HTTP
  // said instead, 0 when unknown. offered: whether a token was shown.
  failure = null;
  retryAt = 0;         // ms, when state is waiting; Infinity: not before the user says so
  received = 0;        // snapshots in this connection
  skipped = 0;         // sequence numbers that did not come to us
  lastAt = 0;          // ms, when the last new snapshot came; 0: none yet
  #socket;
  #timer;
  #attempt = 0;        // failures since the last success
  #round = 0;          // tells a superseded attempt that it is one
  #served = false;     // a daemon served this page: without a choice, that one is meant
  #sequence = 0;       // of the last snapshot
  #owing = false;      // a snapshot came and was not yet answered
  #askedAt = 0;        // ms, when the next snapshot was last asked for
  #readyAt = 0;        // ms, the same, but for new sockets, to which the first one comes unasked
  #checkedAt = 0;      // ms, when the daemon last told that it is there
  #answers = false;    // it can be asked: a page of another site cannot
  #patience = PATIENCE;

  // url: '' to look for a daemon.
  open(url) {
    this.close();
    this.chosen = url;
    this.#attempt = 0;
    this.#try();
  }

  close() {
    this.#stop();
    this.failure = null;
    this.#set('closed');
  }

  #stop() {
    this.#round++;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#socket = undefined;
  }

  // Tells that a new snapshot came, and its number, 0 when it has none: those in between
  // were skipped.
  count(sequence) {
    this.lastAt = Date.now();
    this.#patience = PATIENCE;
    if (this.#sequence && sequence > this.#sequence)
      this.skipped += sequence - this.#sequence - 1;
    this.#sequence = sequence;
  }

  // ms for which the page waits for a snapshot, not the daemon for the page.
  get silence() {
    return this.#owing && this.state === 'open' ? 0 : Date.now() - Math.max(this.lastAt, this.#readyAt);
  }

  // To be called every second. A socket whose network is gone says nothing: after `silence`
  // (ms) without an answer, asks whether the daemon is there; when it is, but its silence
  // goes on, a new socket takes the place of this one.
  async check(silence) {
    const quiet = Date.now() - Math.max(this.#askedAt, this.#checkedAt);
    if (this.state !== 'open' || this.#owing || quiet < silence)
      return;
    const round = this.#round, { url } = this;
    this.#checkedAt = Date.now();
    const { there } = await probe(url);
    if (round !== this.#round || this.#owing || this.state !== 'open')
      return;
    if (!there && this.#answers) {
      this.#stop();
      this.failure = { kind: 'lost', url, code: 0 };
      this.#wait();
    } else if (Date.now() - this.#askedAt > this.#patience) {
      this.#patience *= 2;
      this.#stop();
      this.#try();
    }
  }

  // Asks for the next snapshot, when no other came after the first `received` of
  // this connection. Each one is answered once. wishes: what the Ready says, if anything.
  ready(received, wishes) {
    if (!this.#owing || received !== this.received || this.#socket?.readyState !== WebSocket.OPEN)
      return;
    this.#owing = false;
    this.#askedAt = this.#readyAt = Date.now();
    this.#socket.send(wishes ? encode('Ready', wishes) : 'r');
  }

  // With what is known now, e.g. a token, whatever an attempt on its way will say.
  retryNow() {
    if (this.state === 'waiting' || this.state === 'connecting') {
      this.#stop();
      this.#try();
    }
  }

  #set(state) {
    this.state = state;
    this.dispatchEvent(new Event('change'));
  }

  async #candidates() {
    const own = new URL('.', location.href.replace(/^http/, 'ws')).href;
    let slow = false;
    if (!this.chosen && !this.#served)
      ({ daemon: this.#served, slow } = await probe(own));
    return this.chosen ? [this.chosen] : this.#served || slow ? [own] : [`ws://127.0.0.1:${PORT}/`, `ws://[::1]:${PORT}/`];
  }

  async #try() {
    const round = ++this.#round;
    this.#set('connecting');
    const failures = [];
    for (const url of await this.#candidates()) {
      if (round !== this.#round)
        return;
      this.url = url;
      this.dispatchEvent(new Event('change'));
      const offered = tokenFor(url) != null;
      const opened = await this.#connect(url, round);
      if (opened || round !== this.#round)
        return;
      failures.push(opened === null ? { kind: 'mixed', url } : await whyNot(url, offered));
    }
    if (round !== this.#round)
      return;
    this.failure = failures.find((f) => f.kind === 'refused') ?? failures[0];
    this.url = this.failure.url;
    this.#wait();
  }

  // A daemon that wants a token counts attempts without one, and a ws:// address will never
  // do in a page that came by https: neither is tried again by itself.
  #wait() {
    const { kind, status } = this.failure;
    const hopeless = kind === 'mixed' || status === 401;
    const delay = Math.min(RETRY_MAX, (kind === 'refused' ? REFUSED_MIN : RETRY_MIN) * 2 ** this.#attempt++);
    this.retryAt = hopeless ? Infinity : Date.now() + delay;
    this.#timer = hopeless ? 0 : setTimeout(() => this.#try(), delay);
    this.#set('waiting');
  }

  // Resolves to whether the connection opened; null: the browser forbids this address.
  #connect(url, round) {
    return new Promise((resolve) => {
      let socket;
      try {
        socket = new WebSocket(url, offers(url));
      } catch {
        return resolve(null);
      }
      socket.binaryType = 'arraybuffer';
      this.#socket = socket;
      const silence = setTimeout(() => socket.close(), HANDSHAKE);
      socket.onopen = () => {
        clearTimeout(silence);
        if (round !== this.#round)
          return socket.close();
        this.#attempt = this.#sequence = this.received = this.skipped = 0;
        this.#owing = false;
        this.failure = null;
        this.#askedAt = Date.now();
        this.#set('open');
        probe(url).then(({ there }) => { this.#answers = there; });
        return resolve(true);
      };
      socket.onmessage = ({ data }) => {
        if (round !== this.#round || !(data instanceof ArrayBuffer))
          return;
        this.received++;
        this.#owing = true;
        this.dispatchEvent(new CustomEvent('message', { detail: new Uint8Array(data) }));
      };
      socket.onclose = ({ code }) => {
        clearTimeout(silence);
        resolve(false);
        if (round !== this.#round || this.state !== 'open')
          return;
        this.failure = { kind: 'lost', url, code };
        this.#wait();
      };
    });
  }
}
