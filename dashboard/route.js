// The page's address, #/view?name=value&…, in which everything stands that tells what is
// shown, so that a copy of it shows the same.

// What stays when another view is opened: the daemon, the time, the span that is counted.
const KEPT = ['at', 't', 'from', 'by', 'vs'];

export const PICK = 'pick';   // value of vs: a range to compare with is about to be selected

export const route = { view: 'overview', params: new URLSearchParams() };

let changed = () => {};
export const onRoute = (f) => { changed = f; };

function hashOf(view, params) {
  const text = String(params);
  return `#/${view}${text && `?${text}`}`;
}

// The address of a view with some values; '' leaves one out.
export function href(view, values = {}) {
  const params = new URLSearchParams();
  for (const name of KEPT)
    if (route.params.get(name))
      params.set(name, route.params.get(name));
  for (const [name, value] of Object.entries(values))
    value || value === 0 ? params.set(name, value) : params.delete(name);
  return hashOf(view, params);
}

// Changes values of the address in which the page is.
export function set(values) {
  for (const [name, value] of Object.entries(values))
    value || value === 0 ? route.params.set(name, value) : route.params.delete(name);
  history.replaceState(null, '', hashOf(route.view, route.params));
  changed();
}

export const get = (name) => route.params.get(name) ?? '';

export function readRoute(views) {
  const [path, query] = location.hash.slice(2).split('?');
  route.view = Object.hasOwn(views, path) ? path : 'overview';
  route.params = new URLSearchParams(query);
}

// What is counted: a key of SPANS.
export const span = () => {
  const by = get('by');
  return by === '10m' || by === 'total' || by === 'range' && get('from') ? by : get('from') && !by ? 'range' : 'now';
};
