// A part of what the page held, kept by the browser over a reload: snapshots some time apart,
// by daemon, under a cap. A browser that keeps nothing changes nothing.

const KEPT_CAP = 8 * 2 ** 20;   // bytes, of all daemons
const EVERY = 10_000;                  // ms between snapshots that are kept
const AGE_MAX = 24 * 3_600_000;        // ms
const TABLE = 'snapshots';

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

let opened;
function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open('introspectd', 1);
    request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: ['url', 'at', 'size'] });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  return opened;
}

const table = async (mode) => (await database()).transaction(TABLE, mode).objectStore(TABLE);

// Takes away what is too old, and the oldest of what is too much.
async function prune() {
  const snapshots = await table('readwrite'), sizes = [];
  await new Promise((resolve, reject) => {
    const request = snapshots.openKeyCursor();
    request.onerror = () => reject(request.error);
    request.onsuccess = ({ target: { result: cursor } }) => {
      if (!cursor)
        return resolve();
      sizes.push({ key: cursor.key, at: cursor.key[1], size: cursor.key[2] });
      return cursor.continue();
    };
  });
  sizes.sort((a, b) => b.at - a.at);
  let sum = 0;
  for (const { key, at, size } of sizes) {
    sum += size;
    if (sum > KEPT_CAP || at < Date.now() - AGE_MAX)
      snapshots.delete(key);
  }
}

let last = { url: '', at: 0 };

// Keeps a snapshot of the daemon at url, when the last one is long enough ago.
export const keep = async (url, { bytes, at }) => {
  if (last.url === url && at - last.at < EVERY || bytes.length > KEPT_CAP / 4)
    return;
  last = { url, at };
  try {
    await done((await table('readwrite')).put({ url, at, size: bytes.length, bytes }));
    await prune();
  } catch {
    // The browser keeps nothing, or has no room.
  }
};

// What is kept of the daemon at url: { bytes, at }, the oldest first.
export const kept = async (url) => {
  try {
    const all = await done((await table('readonly')).getAll(IDBKeyRange.bound([url, 0], [url, Infinity])));
    return all.filter(({ at }) => at > Date.now() - AGE_MAX && at <= Date.now());
  } catch {
    return [];
  }
};
