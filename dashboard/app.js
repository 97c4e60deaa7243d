// Wires the parts: connection -> store -> moment -> views. Whatever happens
// ends in update(), which draws once per frame, or by a timer where there are no frames.

import { brief, confirm, Connection, fetchData, parseAddress } from './connection.js';
import { codec, DecodeError } from './decode.js';
import { h, render } from './dom.js';
import { watchEvents } from './events.js';
import { explain, FAILURES, hostOf } from './failure.js';
import { isKnown } from './fleet.js';
import { ago, bytes, count, moment as momentText, plural } from './format.js';
import { health, worst } from './health.js';
import { keyboard, sheet } from './keys.js';
import { Moment } from './model.js';
import { copyLink, id, onAnnounce, why } from './parts.js';
import { readRecording, writeRecording } from './recording.js';
import { loadNetworks } from './networks.js';
import { keep, kept } from './past.js';
import { get, href, onRoute, PICK, readRoute, route, set } from './route.js';
import { CAP, Store } from './store.js';
import { Timeline } from './timeline.js';
import connections from './views/connections.js';
import dht from './views/dht.js';
import events from './views/events.js';
import fleet from './views/fleet.js';
import overview from './views/overview.js';
import peers from './views/peers.js';
import streams from './views/streams.js';
import swarm from './views/swarm.js';
import topics from './views/topics.js';

const VIEWS = { overview, peers, connections, streams, dht, topics, events, swarm, fleet };
const HIDDEN = 30_000;    // ms between snapshots in a tab that nobody sees
const STALE = 5000;       // ms without a snapshot, or three intervals
const RECENT = 10_000;    // ms over which the rate of snapshots is taken
const REMEMBERED = 8;     // addresses
const REMEMBERED_MAX = 24 * 3_600_000;   // ms of what the daemon remembers
const FRAME_MAX = 1000;   // ms until the page is drawn without a frame
const SKIPPED = 'Snapshots taken while this page was hidden or busy with an earlier one. Nothing queues up.';
const SLICE = 12;         // ms of reading a recording at a time

const times = codec({ ServerMessage: ['state', 'event'], State: ['instant_ts'], Event: ['ts'] });
const connection = new Connection();
const timeline = new Timeline({ seek, play, compare: (from, to) => set({ vs: `${toNode(from)}-${toNode(to)}` }) });
let live = new Store();
let file;              // an opened recording: { store, name, problems, loading }
let chosen;            // the snapshot shown; undefined: the newest
let moment;            // of it
let wanted = 0;        // ms, the time in the address, until a snapshot of it is found
let playing;           // timer
let speed = 1;         // of playing
let taken = 0;         // snapshots of this connection that are in the store
let stopEvents;
let notice = '';       // said to everybody for a moment
let trouble = '';      // the last thing that could not be read
let absent = '';       // why the time in the address is not shown
let typed, untouched, typedWrong = '';
let linked = '';       // a daemon that a link leads to, and that the user has not said yes to
let frame, noFrame;    // what draws next, whichever comes first
let unanswered;        // timer of a hidden tab
let rare = false;      // the next snapshot was asked for late, as nobody looks

const shown = () => file?.store ?? live;
// A difference to the snapshot that is held will do.
const wishes = () => live.have ? { have: live.have } : undefined;

// Drawing

// A tab or window that nobody sees gets no frames, and its title is seen all the same.
function update() {
  frame ??= requestAnimationFrame(draw);
  noFrame ??= setTimeout(draw, FRAME_MAX);
}

// The index of the snapshot that is shown. What is looked at is pinned in its store.
function chosenIndex({ snapshots, pinned }) {
  if (!chosen)
    return snapshots.length - 1;
  const index = snapshots.lastIndexOf(chosen);
  if (index >= 0 || !pinned.includes(chosen))
    return index;
  chosen = undefined;
  return snapshots.length - 1;
}

// Times in the address are those of the node's clock, the store's time line is that of
// arrivals. Each is told by the snapshot at or before it: not all took equally long to come.
const toLine = (ts) => {
  const { snapshots } = shown(), s = snapshots.findLast((x) => x.ts <= ts) ?? snapshots[0];
  return s.at + ts - s.ts;
};

const toNode = (at) => {
  const s = shown().snapshots[shown().indexAt(at)];
  return Math.round(s.ts + at - s.at);
};

// What the address says that a span is compared with, as Moment takes it.
function compared() {
  const [from, to] = get('vs').split('-').map(Number);
  return to && shown().snapshots.length ? [toLine(from), toLine(to)] : from || 0;
}

// Finds what the address asks for once there is something to look in.
function lookBack() {
  const { snapshots } = shown();
  if (!wanted || !snapshots.length || file?.loading)
    return;
  const at = toLine(wanted), first = snapshots[0];
  if (at < first.at - 1000)
    absent = `${momentText(wanted)} is not held in this page: its past begins at ${momentText(first.ts)}.`;
  else
    chosen = at >= snapshots.at(-1).at ? undefined : snapshots[shown().indexAt(at)];
  wanted = 0;
}

function draw() {
  cancelAnimationFrame(frame);
  clearTimeout(noFrame);
  frame = noFrame = undefined;
  lookBack();
  const store = shown(), { snapshots } = store;
  // A range begins with a snapshot.
  const range = get('from') && snapshots.length ? [snapshots[store.indexAt(toLine(Number(get('from'))))].at, 0] : undefined;
  const second = compared();
  store.pinned = [chosen, ...[range?.[0], ...[second].flat()].map((at) => at > REMEMBERED_MAX && snapshots[store.indexAt(at)])].filter(Boolean);
  const index = chosenIndex(store), snapshot = snapshots[index];
  if (range)
    range[1] = snapshot.at;
  if (moment?.snapshot !== snapshot || moment?.store !== store || String([moment?.range, moment?.compared]) !== String([range, second]))
    moment = snapshot && new Moment(store, index, range, second);
  else if (moment)
    moment.index = index;
  const focused = document.activeElement;
  drawShell();
  drawView();
  if (document.activeElement === document.body && focused.isConnected)
    focused.focus({ preventScroll: true });
  // By then the frame has been painted; what came meanwhile is not in it.
  const received = taken;
  if (!document.hidden)
    setTimeout(() => connection.ready(received, wishes()));
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
const isStale = () => !file && connection.lastAt > 0 && (connection.state !== 'open' || connection.silence > patience());

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
      // While daemons are looked for, what somebody is about to type over stays as it is.
      onfocus: (e) => { typed ??= untouched = e.target.value; }, onblur: () => { if (typed === untouched) typed = undefined; },
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
    file && h('button', { type: 'button', onclick: closeRecording }, 'Back to live'),
    h('button', { type: 'button', class: 'quiet', onclick: () => sheet().showModal() }, 'Keys ', h('kbd', null, '?')));
}

// All that is seldom needed, in one line that opens.
function more() {
  const last = shown().snapshots.at(-1);
  return h('details', { class: 'more', open: opened() },
    h('summary', { onclick: () => { unfolded = !opened(); } }, last ? `Snapshot #${last.sequence || count(shown().snapshots.length)}` : 'No snapshot yet',
      !file && connection.lastAt > 0 && h('span', { class: 'faint' }, ` ${ago(Date.now() - connection.lastAt)}`)),
    vitals(), addressField(), recordingTools());
}

let unfolded;   // as the user left it; else as the width is
const opened = () => unfolded ?? innerWidth > 860;

function drawShell() {
  const [state, text] = stateOf();
  document.body.className = isStale() ? 'stale' : '';
  render(document.getElementById('side'), [
    h('a', { class: 'brand', href: href('overview') },
      h('img', { src: 'icon.svg', alt: '', width: 20, height: 20 }), 'introspectd'),
    h('p', { class: `state ${state}` }, h('span', { class: 'lamp' }), h('span', { role: 'status' }, text),
      connection.state === 'waiting' && !file &&
        h('button', { type: 'button', class: 'quiet', title: 'Try now', onclick: () => connection.retryNow() },
          connection.retryAt === Infinity ? 'Try again'
            : `Retry in ${Math.max(0, Math.ceil((connection.retryAt - Date.now()) / 1000))} s`)),
    h('nav', { 'aria-label': 'Views' }, Object.entries(VIEWS).map(([name, view]) => {
      const n = (moment || view.alone) && view.badge?.(moment);
      return h('a', { key: name, href: href(name, { q: get('q') }), 'aria-current': name === route.view ? 'page' : false }, view.title,
        n !== undefined && n !== 0 && h('span', { class: 'num' }, count(n)));
    })),
    more(),
  ]);
  render(document.getElementById('notices'), [
    linked && question(),
    problem(),
    h('p', { key: 'notice', class: `toast${notice ? ' on' : ''}`, role: 'status' }, notice),
  ]);
  timeline.update({
    second: moment && (moment.range || get('vs')) && moment.second(moment.range ? 'range' : '10m'), picking: get('vs') === PICK,
    store: shown(), index: moment?.index ?? -1, following: !chosen, live: !file, playing, speed, range: moment?.range,
    name: file ? file.name : 'the live data', now: Date.now(),
  });
}

function nodeName() {
  const { implementation, version, hostname } = moment.runtime;
  return [implementation, version].filter(Boolean).join(' ') || hostname || 'unnamed node';
}

function search() {
  return h('input', {
    type: 'search', class: 'search', placeholder: 'Search in every view', 'aria-label': 'Search in every view',
    value: get('q'), oninput: (e) => set({ q: e.target.value }),
  });
}

const copyButton = () => h('button', {
  type: 'button', class: 'quiet', title: 'The address of this page, with all that is chosen in it', onclick: copyLink,
}, 'Copy link');

// Of a view that is about no single node.
const heading = (view) => h('header', { class: 'title' }, h('h1', null, view.title), h('span', { class: 'grow' }), search(), copyButton());

function title() {
  const r = moment.runtime;
  return h('header', { class: 'title' },
    h('h1', null, nodeName()), r.hostname && r.hostname !== nodeName() && h('span', { class: 'faint host' }, r.hostname), r.peer_id && id(r.peer_id),
    (chosen || moment.range) && h('span', { class: 'past' }, `Shown as it was at ${momentText(moment.ts)}`),
    moment.snapshot.partial && h('span', { class: 'faint' },
      `remembered by the daemon: of ${plural(moment.snapshot.connections, 'connection')} those that moved most`),
    h('span', { class: 'grow' }), search(), copyButton());
}

function drawView() {
  const main = document.getElementById('main');
  const view = VIEWS[route.view];
  const there = moment || view.alone;
  main.className = there && view.fills ? 'fills' : '';
  const healthList = moment && health(moment, file || chosen ? undefined : connection.silence), bad = healthList && worst(healthList) === 'bad';
  document.title = `${bad ? '⚠ ' : ''}${view.title}${moment && !view.alone ? ` · ${nodeName()}` : ''} · introspectd`;
  const icon = document.querySelector('link[rel=icon]'), want = bad ? 'alert.svg' : 'icon.svg';
  if (icon.getAttribute('href') !== want)
    icon.setAttribute('href', want);
  const body = () => view.render(moment, { update, live: !file, healthList, own: connection.chosen || connection.url });
  render(main, there ? [view.alone ? heading(view) : title(), h('div', { class: 'view', key: route.view }, body())] : [welcome()]);
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

const navigateBack = () => set({ at: connection.chosen });

function problem() {
  if (file)
    return file.problems.length > 0 && h('div', { class: 'problem', key: 'file', role: 'alert' },
      h('p', null, file.problems.slice(0, 3).join(' '),
        file.problems.length > 3 && ` And ${plural(file.problems.length - 3, 'more problem')}.`),
      h('button', { type: 'button', class: 'quiet', onclick: () => { file.problems = []; update(); } }, 'Dismiss'));
  const { failure } = connection;
  if (failure && connection.lastAt)
    return late(explain(connection));
  if (connection.state === 'open' && isStale())
    return late('The daemon is there, but its source has nothing new.');
  return (trouble || absent) && h('div', { class: 'problem', key: 'trouble', role: 'alert' }, h('p', null, trouble || absent));
}

// Screen readers hear the reason once, not every second of it.
const late = (reason) => h('div', { class: 'problem', key: 'late' },
  h('div', { class: 'grow' },
    h('strong', null, `Last snapshot ${ago(Date.now() - connection.lastAt)}. `),
    h('div', { role: 'alert' }, reason)));

function welcome() {
  const { failure, state } = connection;
  if (file)
    return h('div', { class: 'empty' },
      h('h1', null, file.loading ? 'Reading the recording…' : 'Nothing to show in this recording'));
  if (failure)
    return h('div', { class: 'empty' },
      h('h1', null, FAILURES[failure.kind]),
      h('div', { class: 'why' }, explain(connection)),
      why('Or open a recording: drop the file anywhere on this page.'));
  return h('div', { class: 'empty' }, h('h1', null, state === 'open' ? 'Waiting for the first snapshot' : 'Connecting…'),
    state === 'open' && why('The daemon is there; its source has not spoken yet.'));
}

// Time

// index: of the snapshot to show, null to follow the newest. from: ms on the store's time
// line, where a range begins that ends with it.
function seek(index, from) {
  clearTimeout(playing);
  playing = undefined;
  look(index, from);
}

function look(index, from) {
  const store = shown();
  absent = '';
  chosen = index === null ? undefined : store.snapshots[index];
  if (chosen)
    store.pinned = [...store.pinned, chosen];
  const start = from === undefined ? '' : toNode(from);
  set({ t: chosen ? chosen.ts : '', from: start, by: start ? 'range' : get('by') === 'range' ? '' : get('by') });
}

// times: how fast; 0: stop.
function play(times) {
  clearTimeout(playing);
  playing = undefined;
  speed = times;
  const { snapshots } = shown();
  const step = () => {
    const index = moment.index + 1;
    if (index >= snapshots.length - 1)
      return seek(file ? snapshots.length - 1 : null);
    playing = setTimeout(step, Math.min(2000, snapshots[index + 1].at - snapshots[index].at) / speed);
    return look(index);
  };
  return times ? step() : update();
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
  set({ t: '', from: '', by: '' });
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
      await mine.store.addInSlices(message);
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
  if (!wanted)
    chosen = mine.store.snapshots[0];
  update();
}

function closeRecording() {
  file = undefined;
  chosen = undefined;
  connection.open(connection.chosen);
  update();
}

// The page's address

function navigate() {
  const before = route.view;
  readRoute(VIEWS);
  typedWrong = linked = absent = '';
  const at = get('at');
  if (at && at !== (connection.chosen || connection.url))
    follow(at);
  else if (!at && connection.chosen)
    set({ at: connection.chosen });
  const t = Number(get('t'));
  if (t && t !== chosen?.ts)
    wanted = t;
  else if (!t)
    chosen = undefined;
  if (before !== route.view) {
    VIEWS[before].leave?.();
    document.getElementById('main').scrollTop = 0;
  }
  draw();
  document.querySelector('nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });
}

function follow(address) {
  try {
    const url = parseAddress(address);
    if (isKnown(url))
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
    // What was chosen among the data of one daemon means nothing in those of another.
    if (url !== connection.chosen)
      route.params = new URLSearchParams();
    connection.open(url);
    set({ at: url });
  } catch (e) {
    typedWrong = e.message;
  }
  update();
}

// What happens

// A hidden page keeps a snapshot every now and then.
function answerLater() {
  clearTimeout(unanswered);
  if (document.hidden)
    unanswered = setTimeout(() => connection.ready(taken, wishes()), HIDDEN);
}

connection.addEventListener('change', () => {
  if (connection.state !== 'open') {
    stopEvents?.();
    stopEvents = undefined;
  }
  update();
});

// What the browser kept over a reload comes first, and what the daemon remembers of the time
// when nobody looked. now: the node's clock, ms.
async function restore(store, url, now) {
  store.restored = true;
  const [remembered] = await Promise.all([
    fetchData(url, `past?since=${Math.max(0, now - REMEMBERED_MAX)}`).then((answer) => answer?.arrayBuffer()).catch(() => {}), loadNetworks(url),
  ]), ahead = Date.now() - now;
  const past = readRecording(new Uint8Array(remembered ?? 0)).messages.flatMap((bytes) => {
    try {
      const { state, event } = times.decode('ServerMessage', bytes);
      return [{ bytes, at: (state.instant_ts || event.ts) + ahead }];
    } catch {
      return [];   // damaged: the rest is shown
    }
  });
  for (const { bytes, at } of [...past, ...await kept(url)].sort((a, b) => a.at - b.at)) {
    try {
      if (at < Date.now())
        await store.addInSlices(bytes, at, true);
    } catch (e) {
      if (!(e instanceof DecodeError))
        throw e;
    }
  }
}

connection.addEventListener('message', async ({ detail }) => {
  const store = live, { received } = connection;
  try {
    if (!store.restored)
      await restore(store, connection.url, times.decode('ServerMessage', detail).state.instant_ts);
    const snapshot = await store.addInSlices(detail, Date.now(), rare);
    if (store !== live)
      return;
    rare = document.hidden;
    trouble = '';
    if (snapshot) {
      connection.count(snapshot.sequence);
      keep(connection.url, snapshot);
    }
    if (!stopEvents && snapshot?.runtime?.event_types.length)
      stopEvents = watchEvents(connection.url, (message) => { live.add(message, Date.now()); update(); });
  } catch (e) {
    if (!(e instanceof DecodeError))
      throw e;
    trouble = `A snapshot could not be read: ${e.message}.`;
  }
  taken = received;
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
keyboard({
  go: (name) => { location.hash = href(name, { q: get('q') }); },
  step: (by) => moment && seek(Math.max(0, Math.min(shown().snapshots.length - 1, moment.index + by))),
  live: () => moment && seek(null),
  play: () => moment && play(playing ? 0 : 1),
});

onRoute(update);

onAnnounce((text) => {
  notice = text;
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => { notice = ''; update(); }, 2000);
  update();
});

setInterval(() => {
  connection.check(patience());
  if (isStale())
    update();
  else if (!document.hidden)
    drawShell();
}, 1000);

document.getElementById('foot').append(timeline.el);
navigate();
if (!connection.chosen)
  connection.open('');
