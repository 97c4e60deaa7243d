// Wires the parts: connection -> store -> moment -> views. Whatever happens
// ends in update(), which draws once per frame.

import { confirm, Connection, isConfirmed, keepToken, parseAddress } from './connection.js';
import { DecodeError } from './decode.js';
import { h, render } from './dom.js';
import { watchEvents } from './events.js';
import { ago, bytes, count, moment as momentText, plural } from './format.js';
import { Moment } from './model.js';
import { code, id, onAnnounce, why } from './parts.js';
import { readRecording, writeRecording } from './recording.js';
import { CAP, Store } from './store.js';
import { Timeline } from './timeline.js';
import connections from './views/connections.js';
import dht from './views/dht.js';
import events from './views/events.js';
import overview from './views/overview.js';
import streams from './views/streams.js';
import swarm from './views/swarm.js';
import topics from './views/topics.js';

const VIEWS = { overview, connections, streams, dht, topics, events, swarm };
const HIDDEN = 30_000;    // ms between snapshots in a tab that nobody sees
const STALE = 5000;       // ms without a snapshot, or three intervals
const RECENT = 10_000;    // ms over which the rate of snapshots is taken
const REMEMBERED = 8;     // addresses
const SKIPPED = 'Snapshots taken while this page was hidden or busy with an earlier one. Nothing queues up.';
const SLICE = 12;         // ms of reading a recording at a time

const connection = new Connection();
const timeline = new Timeline(seek);
let live = new Store();
let file;              // an opened recording: { store, name, problems, loading }
let chosen;            // the snapshot shown; undefined: the newest
let moment;            // of it
let playing;           // timer
let stopEvents;
let notice = '';       // said to everybody for a moment
let trouble = '';      // the last thing that could not be read
let typed, typedWrong = '', tokenWrong = false;
let linked = '';       // a daemon that a link leads to, and that the user has not said yes to
let route = { view: 'overview', params: new URLSearchParams() };
let drawn = true;      // nothing waits for the next frame
let unanswered;        // timer of a hidden tab

const shown = () => file?.store ?? live;

// Drawing

function update() {
  if (drawn) {
    drawn = false;
    requestAnimationFrame(draw);
  }
}

function draw() {
  drawn = true;
  const store = shown(), { snapshots } = store;
  const index = chosen ? store.indexAt(chosen.at) : snapshots.length - 1;
  if (chosen && snapshots[index] !== chosen)
    chosen = snapshots[index];
  if (moment?.snapshot !== snapshots[index] || moment?.store !== store)
    moment = snapshots[index] && new Moment(store, index);
  else if (moment)
    moment.index = index;
  const focused = document.activeElement;
  drawShell();
  drawView();
  if (document.activeElement === document.body && focused.isConnected)
    focused.focus({ preventScroll: true });
  // By then the frame has been painted; what came meanwhile is not in it.
  const { received } = connection;
  if (!document.hidden)
    setTimeout(() => connection.ready(received));
}

const hostOf = (url) => url ? new URL(url).host : '';

// A WebSocket URL as short as it can be typed.
function brief(url) {
  const { protocol, port, pathname, host } = url ? new URL(url) : {};
  return protocol === 'ws:' && port && pathname === '/' ? host : url;
}

function stateOf() {
  if (file)
    return ['file', file.loading ? `Reading ${file.name}` : `Recording ${file.name}`];
  const host = hostOf(connection.url);
  return {
    open: ['open', `Connected to ${host}`],
    connecting: ['busy', host ? `Connecting to ${host}` : 'Looking for a daemon'],
    waiting: ['lost', 'Not connected'],
    closed: ['lost', 'Not connected'],
  }[connection.state];
}

// Snapshots per second, of late.
function pace() {
  const from = Date.now() - RECENT, { snapshots } = live;
  const recent = snapshots.slice(live.indexAt(from)).filter((s) => s.at >= from);
  const span = recent.length > 1 ? recent.at(-1).at - recent[0].at : 0;
  return span ? (recent.length - 1) * 1000 / span : 0;
}

const patience = () => Math.max(STALE, 3 * (live.snapshots.at(-1)?.runtime.interval_ms ?? 0));
const isStale = () => !file && connection.lastAt > 0 &&
  (connection.state !== 'open' || Date.now() - connection.lastAt > patience());

function vitals() {
  const last = shown().snapshots.at(-1);
  const speed = pace();
  const each = file ? [] : [
    ['Last', connection.lastAt ? ago(Date.now() - connection.lastAt) : '–'],
    ['Skipped', count(connection.skipped), SKIPPED],
  ];
  return h('dl', { class: 'vitals' }, [
    ['Snapshot', last ? `#${last.sequence || count(shown().snapshots.length)}` : '–'],
    ...each,
    ['Size', last ? bytes(last.bytes.length) : '–'],
    file ? ['Held', plural(file.store.snapshots.length, 'snapshot')] : ['Rate', speed ? `${speed.toFixed(1)} /s` : '–'],
  ].map(([k, v, title]) => h('div', { key: k, title }, h('dt', null, k), h('dd', null, v))));
}

function addresses() {
  try {
    return JSON.parse(localStorage.getItem('addresses') ?? '[]').map(String);
  } catch {
    return [];
  }
}

function remember(address) {
  try {
    const known = new Set([address, ...addresses()]);
    localStorage.setItem('addresses', JSON.stringify([...known].slice(0, REMEMBERED)));
  } catch {
    // A browser that keeps nothing still connects.
  }
}

function addressField() {
  const submit = (e) => {
    e.preventDefault();
    submitAddress(e.target.elements.address.value);
  };
  return h('form', { class: 'address', onsubmit: submit },
    h('input', {
      name: 'address', list: 'addresses', placeholder: 'host:port or ws://…',
      'aria-label': 'Daemon: host, host:port, ws:// or wss:// URL',
      autocomplete: 'off', autocapitalize: 'off', spellcheck: 'false', 'aria-invalid': typedWrong ? 'true' : false,
      value: typed ?? brief(connection.chosen || connection.url), oninput: (e) => { typed = e.target.value; },
    }),
    h('button', { type: 'submit' }, 'Connect'),
    h('datalist', { id: 'addresses' }, addresses().map((a) => h('option', { key: a, value: a }))),
    typedWrong && h('p', { class: 'wrong', role: 'alert' }, typedWrong));
}

function recordingTools() {
  const held = shown();
  const pick = (e) => {
    if (e.target.files[0])
      openRecording(e.target.files[0]);
    e.target.value = '';
  };
  return h('div', { class: 'recording' },
    h('p', { class: 'faint' }, `${bytes(held.bytes)} held${file ? '' : ` of ${bytes(CAP)}`}`),
    h('button', { type: 'button', onclick: exportRecording, disabled: !held.snapshots.length }, 'Export recording'),
    h('label', { class: 'button' }, 'Open recording',
      h('input', { type: 'file', class: 'unseen', onchange: pick })),
    file && h('button', { type: 'button', onclick: closeRecording }, 'Back to live'));
}

function drawShell() {
  const [state, text] = stateOf();
  document.body.className = isStale() ? 'stale' : '';
  render(document.getElementById('side'), [
    h('a', { class: 'brand', href: '#/overview' },
      h('img', { src: 'icon.svg', alt: '', width: 20, height: 20 }), 'introspectd'),
    h('div', { class: 'link' },
      h('p', { class: `state ${state}` }, h('span', { class: 'lamp' }), h('span', { role: 'status' }, text),
        connection.state === 'waiting' && !file &&
          h('button', { type: 'button', class: 'quiet', title: 'Try now', onclick: () => connection.retryNow() },
            connection.retryAt === Infinity ? 'Try again'
              : `Retry in ${Math.max(0, Math.ceil((connection.retryAt - Date.now()) / 1000))} s`)),
      addressField()),
    vitals(),
    h('nav', { 'aria-label': 'Views' }, Object.entries(VIEWS).map(([name, view]) => {
      const n = moment && view.badge?.(moment);
      return h('a', { key: name, href: hashOf(name), 'aria-current': name === route.view ? 'page' : false }, view.title,
        n !== undefined && n !== 0 && h('span', { class: 'num' }, count(n)));
    })),
    recordingTools(),
  ]);
  render(document.getElementById('notices'), [
    linked && question(),
    problem(),
    h('p', { key: 'notice', class: `toast${notice ? ' on' : ''}`, role: 'status' }, notice),
  ]);
  timeline.update({
    store: shown(), index: moment?.index ?? -1, following: !chosen, live: !file, playing, play,
    name: file ? file.name : 'the live data', now: Date.now(),
  });
}

function title() {
  const r = moment.runtime;
  const name = [r.implementation, r.version].filter(Boolean).join(' ') || 'unnamed node';
  return h('header', { class: 'title' },
    h('h1', null, name), r.hostname && h('span', { class: 'faint' }, r.hostname), r.peer_id && id(r.peer_id),
    chosen && h('span', { class: 'past' }, `Shown as it was at ${momentText(moment.ts)}`));
}

function drawView() {
  const main = document.getElementById('main');
  const view = VIEWS[route.view];
  main.className = moment && view.fills ? 'fills' : '';
  document.title = `${view.title} · introspectd`;
  render(main, moment ? [title(), h('div', { class: 'view', key: route.view },
    view.render(moment, { params: route.params, setParam, update, live: !file }))] : [welcome()]);
}

// What is wrong, and what to do about it

// A link is not to make this page open sockets to addresses, or show a token there, that
// the user knows nothing of.
function question() {
  const answer = (yes) => () => {
    const url = linked;
    linked = '';
    yes ? submitAddress(url) : navigateBack();
  };
  return h('div', { class: 'problem ask', key: 'linked', role: 'alert' },
    h('p', null, 'This link leads to another daemon: ', h('strong', { class: 'id' }, linked)),
    h('button', { type: 'button', onclick: answer(true) }, 'Connect to it'),
    h('button', { type: 'button', class: 'quiet', onclick: answer(false) }, 'Stay here'));
}

function navigateBack() {
  history.replaceState(null, '', hashOf(route.view, { q: route.params.get('q') }));
  update();
}

const isIP = (hostname) => /^[\d.]+$|^\[/.test(hostname);
const option = (name) => h('span', { class: 'nowrap' }, name);

function refused({ url, status, offered }) {
  const { hostname, origin } = new URL(url.replace(/^ws/, 'http'));
  const again = offered && status !== 200 && ' The token that was typed was not accepted.';
  if (status === 401)
    return [`${hostOf(url)} wants ${offered ? 'another' : 'a'} token.`, again, tokenForm(url)];
  if (origin === location.origin)
    return [
      `${hostOf(url)} answers, but did not let this page in.`, again,
      h('ul', { class: 'reasons' },
        h('li', null, 'Either it is full: see its option ', option('--max-clients'), '.'),
        !isIP(hostname) && hostname !== 'localhost' && h('li', null,
          'Or a proxy is between that changes the Host: nginx needs ', h('code', null, 'proxy_set_header Host $http_host'),
          ', Apache ', h('code', null, 'ProxyPreserveHost On'), '; else the daemon needs ', option(`--allow-origin ${origin}`), '.'),
        h('li', null, 'Or a proxy is between that does not pass Upgrade on: nginx needs ',
          h('code', null, 'proxy_http_version 1.1'), ' and the headers ', option('Upgrade'), ' and ', option('Connection'),
          ', Apache ', h('code', null, 'upgrade=websocket'), '.'),
        !status && h('li', null, 'Or it wants a token.')),
      !status && tokenForm(url),
    ];
  return [
    `${hostOf(url)} answers, but refused this page. Browsers hide the reason; ` +
      'most likely it does not know the origin of this page. Start that daemon with',
    code(`introspectd --allow-origin ${location.origin}${isIP(hostname) || hostname === 'localhost' ? '' : ` --allow-host ${hostname}`}`),
    h('p', null, 'If it knows this page already, it wants a token.', again), tokenForm(url),
  ];
}

function tokenForm(url) {
  const submit = (e) => {
    e.preventDefault();
    tokenWrong = !keepToken(url, e.target.elements.token.value.trim());
    if (!tokenWrong)
      connection.retryNow();
    update();
  };
  return h('form', { class: 'token', onsubmit: submit },
    h('input', { name: 'token', type: 'password', 'aria-label': 'Token', placeholder: 'Token', autocomplete: 'off' }),
    h('button', { type: 'submit' }, 'Use token'),
    tokenWrong && h('p', { class: 'wrong', role: 'alert' }, 'A token has 16 to 256 letters, digits and . _ ~ -'));
}

const mixed = (url) => [
  `This page came by https, and the browser lets it use no ${brief(url)}. `,
  `Give that daemon TLS and use ${url.replace('ws:', 'wss:')}, or open ${url.replace('ws:', 'http:')} instead.`,
];

function silent(url) {
  const { hostname, port } = new URL(url);
  const here = ['localhost', '127.0.0.1', '[::1]'].includes(hostname);
  const origin = new URL(url.replace(/^ws/, 'http')).origin === location.origin ? '' : ` --allow-origin ${location.origin}`;
  const secret = ` --listen 0.0.0.0:${port || (url.startsWith('wss') ? 443 : 80)} --tls-cert cert.pem --tls-key key.pem --token-file token`;
  const options = (here ? port === '4801' ? '' : ` --listen ${hostname}:${port}` : secret) + origin;
  return [
    connection.chosen || connection.lastAt
      ? `Nothing answers at ${hostOf(url)}${origin && ', or what does lets in no page of this origin'}. Start a daemon there:`
      : 'No daemon answers on this machine. Start one:',
    code(`introspectd${options}`),
  ];
}

function problem() {
  if (file)
    return file.problems.length > 0 && h('div', { class: 'problem', key: 'file', role: 'alert' },
      h('p', null, file.problems.slice(0, 3).join(' '),
        file.problems.length > 3 && ` And ${plural(file.problems.length - 3, 'more problem')}.`),
      h('button', { type: 'button', class: 'quiet', onclick: () => { file.problems = []; update(); } }, 'Dismiss'));
  const { failure } = connection;
  if (failure && connection.lastAt)
    return late(explain(failure));
  if (connection.state === 'open' && isStale())
    return late('The daemon is there, but its source has nothing new.');
  return trouble && h('div', { class: 'problem', key: 'trouble', role: 'alert' }, h('p', null, trouble));
}

// Screen readers hear the reason once, not every second of it.
const late = (reason) => h('div', { class: 'problem', key: 'late' },
  h('div', { class: 'grow' },
    h('strong', null, `Last snapshot ${ago(Date.now() - connection.lastAt)}. `),
    h('div', { role: 'alert' }, reason)));

function explain(failure) {
  const { kind, url, code: status } = failure;
  if (kind !== 'lost')
    return { refused: () => refused(failure), silent: () => silent(url), mixed: () => mixed(url) }[kind]();
  const reason = { 0: ': nothing answers there any more', 1001: ': the daemon went down', 1006: '' }[status] ?? ` (code ${status})`;
  return `The connection to ${hostOf(url)} was lost${reason}.`;
}

const FAILURES = { refused: 'The daemon refused this page', silent: 'No daemon there', mixed: 'Not from a page that came by https', lost: 'Connection lost' };

function welcome() {
  const { failure, state } = connection;
  if (file)
    return h('div', { class: 'empty' },
      h('h1', null, file.loading ? 'Reading the recording…' : 'Nothing to show in this recording'));
  if (failure)
    return h('div', { class: 'empty' },
      h('h1', null, FAILURES[failure.kind]),
      h('div', { class: 'why' }, explain(failure)),
      why('Or open a recording: drop the file anywhere on this page.'));
  return h('div', { class: 'empty' }, h('h1', null, state === 'open' ? 'Waiting for the first snapshot' : 'Connecting…'),
    state === 'open' && why('The daemon is there; its source has not spoken yet.'));
}

// Time

function seek(index) {
  clearTimeout(playing);
  playing = undefined;
  chosen = index === null ? undefined : shown().snapshots[index];
  update();
}

function play() {
  if (playing)
    return seek(moment.index);
  const { snapshots } = shown();
  const step = () => {
    const index = moment.index + 1;
    if (index >= snapshots.length - 1)
      return seek(file ? snapshots.length - 1 : null);
    chosen = snapshots[index];
    playing = setTimeout(step, Math.min(2000, snapshots[index + 1].at - chosen.at));
    return update();
  };
  return step();
}

// Recordings

function exportRecording() {
  const when = new Date().toISOString().slice(0, 19).replace(/\D/g, '');
  const href = URL.createObjectURL(writeRecording(shown().messages()));
  Object.assign(document.createElement('a'), { href, download: `introspection-${when}.mock` }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

async function openRecording(blob) {
  const mine = file = { store: new Store(Infinity), name: blob.name, problems: [], loading: true };
  connection.close();
  chosen = undefined;
  update();
  let recording;
  try {
    recording = readRecording(new Uint8Array(await blob.arrayBuffer()));
  } catch (e) {
    recording = { messages: [], problems: [`${blob.name} could not be read: ${e.message}.`] };
  }
  mine.problems = recording.problems;
  let until = performance.now() + SLICE;
  for (const message of recording.messages) {
    try {
      mine.store.add(message);
    } catch (e) {
      if (!(e instanceof DecodeError))
        throw e;
      mine.problems.push(`A message could not be read: ${e.message}.`);
    }
    if (performance.now() > until) {
      await new Promise((resolve) => { setTimeout(resolve); });
      until = performance.now() + SLICE;
      if (file !== mine)
        return;
      update();
    }
  }
  mine.loading = false;
  chosen = mine.store.snapshots[0];
  update();
}

function closeRecording() {
  file = undefined;
  chosen = undefined;
  connection.open(connection.chosen);
  update();
}

// The page's address: #/view?at=ADDRESS&q=SEARCH

function hashOf(view, changes = {}) {
  const params = new URLSearchParams();
  if (connection.chosen)
    params.set('at', connection.chosen);
  for (const [k, v] of Object.entries(changes))
    if (v)
      params.set(k, v);
  return `#/${view}${params.size ? `?${params}` : ''}`;
}

function setParam(name, value) {
  route.params.set(name, value);
  history.replaceState(null, '', hashOf(route.view, { q: route.params.get('q') }));
  update();
}

function navigate() {
  const [path, query] = location.hash.slice(2).split('?');
  const params = new URLSearchParams(query);
  const changed = path !== route.view;
  route = { view: Object.hasOwn(VIEWS, path) ? path : 'overview', params };
  const at = params.get('at');
  linked = '';
  if (at && at !== connection.chosen)
    follow(at);
  else if (!at && connection.chosen)
    history.replaceState(null, '', hashOf(route.view, { q: params.get('q') }));
  if (changed)
    document.getElementById('main').scrollTop = 0;
  draw();
  document.querySelector('nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
}

function follow(address) {
  try {
    const url = parseAddress(address);
    if (isConfirmed(url))
      return submitAddress(url);
    linked = url;
  } catch (e) {
    typedWrong = e.message;
  }
  return update();
}

function submitAddress(text) {
  try {
    const url = text.trim() && parseAddress(text);
    typed = undefined;
    typedWrong = linked = '';
    if (url) {
      remember(url);
      confirm(url);
    }
    live = new Store();
    connection.lastAt = 0;
    file = chosen = undefined;
    connection.open(url);
    history.replaceState(null, '', hashOf(route.view, { q: route.params.get('q') }));
  } catch (e) {
    typedWrong = e.message;
  }
  update();
}

// What happens

// A hidden page is not drawn; it keeps a snapshot every now and then.
function answerLater() {
  clearTimeout(unanswered);
  if (document.hidden)
    unanswered = setTimeout(() => connection.ready(), HIDDEN);
}

connection.addEventListener('change', () => {
  if (connection.state !== 'open') {
    stopEvents?.();
    stopEvents = undefined;
  }
  update();
});

connection.addEventListener('message', ({ detail }) => {
  try {
    const snapshot = live.add(detail, Date.now());
    trouble = '';
    if (snapshot)
      connection.count(snapshot.sequence);
    // Decoded here and drawn in the next frame, so that neither takes long.
    if (snapshot && !file && !chosen && !document.hidden)
      live.state(snapshot);
    if (!stopEvents && snapshot?.runtime?.event_types.length)
      stopEvents = watchEvents(connection.url, (message) => { live.add(message, Date.now()); update(); });
  } catch (e) {
    if (!(e instanceof DecodeError))
      throw e;
    trouble = `A snapshot could not be read: ${e.message}.`;
  }
  answerLater();
  update();
});

document.addEventListener('visibilitychange', () => {
  answerLater();
  update();
});

document.querySelector('.skip').addEventListener('click', (e) => {
  e.preventDefault();
  document.getElementById('main').focus();
});

addEventListener('hashchange', navigate);
addEventListener('dragover', (e) => e.preventDefault());
addEventListener('drop', (e) => {
  e.preventDefault();
  if (e.dataTransfer.files[0])
    openRecording(e.dataTransfer.files[0]);
});

let noticeTimer;
onAnnounce((text) => {
  notice = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { notice = ''; update(); }, 2000);
  update();
});

setInterval(() => {
  connection.check(patience());
  if (!document.hidden)
    drawShell();
}, 1000);

document.getElementById('foot').append(timeline.el);
navigate();
if (!connection.chosen)
  connection.open('');
