// The pull client: finds a daemon, keeps a WebSocket to it, hands over each
// snapshot, and asks for the next one only when told that the last was shown.

const PORT = 4801;
const RETRY_MIN = 1000, RETRY_MAX = 30_000;   // ms between attempts
const PROBE = 3000;                           // ms until an address counts as silent
const HANDSHAKE = 8000;                       // ms; a daemon holds back its answer to a wrong token

// The WebSocket URL for what a person types: a host, host:port, [v6]:port, or a
// ws, wss, http or https URL. Throws an Error whose message is for that person.
export function parseAddress(typed) {
  let s = typed.trim();
  if (/^[0-9a-f:]*:[0-9a-f:]*:[0-9a-f:.]*$/i.test(s))
    s = `[${s}]`;
  const scheme = /^([a-z]+):\/\//i.exec(s)?.[1].toLowerCase();
  const secure = scheme ? scheme === 'wss' || scheme === 'https' : globalThis.location?.protocol === 'https:';
  if (scheme && !['ws', 'wss', 'http', 'https'].includes(scheme))
    throw new Error(`${scheme}:// is not a scheme for this; ws:// and wss:// are.`);
  const rest = scheme ? s.slice(scheme.length + 3) : s;
  const url = URL.canParse(`http://${rest}`) && new URL(`http://${rest}`);
  if (!url || !rest || url.username || url.password)
    throw new Error(`“${typed}” is not a host, host:port, ws:// or wss:// address.`);
  const port = /^(\[.*\]|[^:/]*):(\d+)/.exec(rest)?.[2] ?? (scheme ? '' : PORT);
  return new URL(`${secure ? 'wss' : 'ws'}://${url.hostname}${port === '' ? '' : `:${port}`}${url.pathname}`).href;
}

// What to offer as subprotocols: the token that was typed for this daemon, as a
// browser can show it in no other way.
const TOKENS = new Map();

export function offers(url) {
  const { host } = new URL(url);
  const token = TOKENS.get(host) ?? sessionItem('getItem', `token ${host}`);
  return token ? ['introspect', `introspect.token.${token}`] : [];
}

// Keeps a token for the session. False: no daemon would take this one.
export function keepToken(url, token) {
  if (!/^[\w.~-]{16,256}$/.test(token))
    return false;
  const { host } = new URL(url);
  TOKENS.set(host, token);
  sessionItem('setItem', `token ${host}`, token);
  return true;
}

// Some browsers are told to keep nothing.
function sessionItem(method, ...args) {
  try {
    return sessionStorage[method](...args);
  } catch {
    return null;
  }
}

const httpOf = (url) => url.replace(/^ws/, 'http');

// Answers whether anything that speaks HTTP is there. From another origin that
// is all a page may know; from our own it also tells an introspectd.
async function probe(url) {
  try {
    const health = new URL('healthz', httpOf(url));
    const same = health.origin === location.origin;
    const answer = await fetch(health, {
      mode: same ? 'same-origin' : 'no-cors', cache: 'no-store', signal: AbortSignal.timeout(PROBE),
    });
    return { there: true, daemon: same && answer.ok && (await answer.text()).trim() === 'ok' };
  } catch {
    return { there: false, daemon: false };
  }
}

// Emits `change` whenever a field below did, and `message` with the bytes of a
// snapshot in `detail`, which is answered by ready() once it is on the screen.
export class Connection extends EventTarget {
  state = 'closed';    // closed, connecting, open, waiting
  url = '';            // of the daemon, or of the one tried last
  chosen = '';         // set when the user named it; else daemons are looked for
  failure = null;      // why the last attempt failed: { kind: 'refused'|'silent'|'lost', url }
  retryAt = 0;         // ms, when state is waiting
  received = 0;        // snapshots in this connection
  skipped = 0;         // sequence numbers that did not come to us
  lastAt = 0;          // ms, when the last snapshot came; 0: none yet
  #socket;
  #timer;
  #attempt = 0;        // failures since the last success
  #round = 0;          // tells a superseded attempt that it is one
  #served = false;     // a daemon served this page: without a choice, that one is meant
  #sequence = 0;       // of the last snapshot
  #owing = false;      // a snapshot came and was not yet answered

  // url: '' to look for a daemon.
  open(url) {
    this.close();
    this.chosen = url;
    this.#attempt = 0;
    this.#try();
  }

  close() {
    this.#round++;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#socket = undefined;
    this.failure = null;
    this.#set('closed');
  }

  // Tells the number of the snapshot that came: those in between were skipped.
  count(sequence) {
    if (this.#sequence && sequence > this.#sequence)
      this.skipped += sequence - this.#sequence - 1;
    this.#sequence = sequence;
  }

  // Asks for the next snapshot, when no other came after the first `received` of
  // this connection. Each one is answered once.
  ready(received = this.received) {
    if (!this.#owing || received !== this.received || this.#socket?.readyState !== WebSocket.OPEN)
      return;
    this.#owing = false;
    this.#socket.send('r');
  }

  retryNow() {
    if (this.state === 'waiting') {
      clearTimeout(this.#timer);
      this.#try();
    }
  }

  #set(state) {
    this.state = state;
    this.dispatchEvent(new Event('change'));
  }

  async #candidates() {
    const own = new URL('.', location.href.replace(/^http/, 'ws')).href;
    if (!this.chosen && !this.#served)
      this.#served = (await probe(own)).daemon;
    return this.chosen ? [this.chosen] : this.#served ? [own] : [`ws://127.0.0.1:${PORT}/`, `ws://[::1]:${PORT}/`];
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
      if (await this.#connect(url, round))
        return;
      const { there } = await probe(url);
      failures.push({ kind: there ? 'refused' : 'silent', url });
    }
    if (round !== this.#round)
      return;
    this.failure = failures.find((f) => f.kind === 'refused') ?? failures[0];
    this.url = this.failure.url;
    this.#wait();
  }

  #wait() {
    const delay = Math.min(RETRY_MAX, RETRY_MIN * 2 ** this.#attempt++);
    this.retryAt = Date.now() + delay;
    this.#timer = setTimeout(() => this.#try(), delay);
    this.#set('waiting');
  }

  // Resolves to whether the connection opened.
  #connect(url, round) {
    return new Promise((resolve) => {
      const socket = new WebSocket(url, offers(url));
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
        this.#set('open');
        return resolve(true);
      };
      socket.onmessage = ({ data }) => {
        if (round !== this.#round || !(data instanceof ArrayBuffer))
          return;
        this.received++;
        this.lastAt = Date.now();
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
