// Why a connection to a daemon failed, and what to do about it.

import { brief, keepToken } from './connection.js';
import { h } from './dom.js';
import { code } from './parts.js';
import { set } from './route.js';

export const FAILURES = {
  refused: 'The daemon refused this page', silent: 'No daemon that lets this page in', lost: 'Connection lost',
  mixed: 'Not from a page that came by https',
};

export const hostOf = (url) => url ? new URL(url).host : '';

const isIP = (hostname) => /^[\d.]+$|^\[/.test(hostname);
const option = (name) => h('span', { class: 'nowrap' }, name);

function refused(connection, { url, status, offered }) {
  const { hostname, origin } = new URL(url.replace(/^ws/, 'http'));
  const again = offered && status !== 200 && ' The token that was typed was not accepted.';
  if (status === 401)
    return [`${hostOf(url)} wants ${offered ? 'another' : 'a'} token.`, again, tokenForm(connection, url)];
  if (origin === location.origin || status)
    return [
      `${hostOf(url)} answers, but did not let this page in.`, again,
      h('ul', { class: 'reasons' },
        h('li', null, 'Either it is full: see its option ', option('--max-clients'), '.'),
        !isIP(hostname) && hostname !== 'localhost' && h('li', null,
          'Or a proxy is between that changes the Host: nginx needs ', h('code', null, 'proxy_set_header Host $http_host'),
          ', Apache ', h('code', null, 'ProxyPreserveHost On'), '; else the daemon needs ', option(`--public-url ${origin}`), '.'),
        h('li', null, 'Or a proxy is between that does not pass Upgrade on: nginx needs ',
          h('code', null, 'proxy_http_version 1.1'), ' and the headers ', option('Upgrade'), ' and ', option('Connection'),
          ', Apache ', h('code', null, 'upgrade=websocket'), '.'),
        !status && h('li', null, 'Or it wants a token.')),
      !status && tokenForm(connection, url),
    ];
  return [
    `${hostOf(url)} answers, but refused this page. Browsers hide the reason; ` +
      'most likely it does not know the origin of this page. Start that daemon with',
    code(`introspectd --allow-origin ${location.origin}${isIP(hostname) || hostname === 'localhost' ? '' : ` --allow-host ${hostname}`}`),
    h('p', null, 'If it knows this page already, it wants a token.', again), tokenForm(connection, url),
  ];
}

let tokenWrong;   // the daemon for which something was typed that is no token

function tokenForm(connection, url) {
  const submit = (e) => {
    e.preventDefault();
    const good = keepToken(url, e.target.elements.token.value.trim());
    tokenWrong = good ? undefined : url;
    if (good)
      connection.retryNow();
    set({});
  };
  return h('form', { class: 'token', onsubmit: submit },
    h('input', { name: 'token', type: 'password', 'aria-label': 'Token', placeholder: 'Token', autocomplete: 'off' }),
    h('button', { type: 'submit' }, 'Use token'),
    tokenWrong === url && h('p', { class: 'wrong', role: 'alert' }, 'A token has 16 to 256 letters, digits and . _ ~ -'));
}

const mixed = (url) => [
  `This page came by https, and the browser lets it use no ${brief(url)}. `,
  `Give that daemon TLS and use ${url.replace('ws:', 'wss:')}, or open ${url.replace('ws:', 'http:')} instead.`,
];

function silent(connection, url) {
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

// What to say about the failure of a connection.
export function explain(connection) {
  const { failure } = connection, { kind, url, code: status } = failure;
  if (kind !== 'lost')
    return { refused: () => refused(connection, failure), silent: () => silent(connection, url), mixed: () => mixed(url) }[kind]();
  const reason = { 0: ': nothing answers there any more', 1001: ': the daemon went down', 1006: '' }[status] ?? ` (code ${status})`;
  return `The connection to ${hostOf(url)} was lost${reason}.`;
}
