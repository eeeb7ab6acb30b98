// The wire in a file, and out of one. No DOM. docs/phone-page.md tells the format.
//
// A file may come from anybody: what is read is only ever data, checked and bounded here, and
// shown as text.

const FORMAT = 'weappd-wire';
const VERSION = 1;
const PARTIES = ['phone', 'weappd', 'wechat', 'app'];
const MOST_HOPS = 600;
const MOST_BYTES = 32 * 1024 * 1024;
const MOST_NAME = 300;

/** The text of a saved wire: `entries` are `{hop, user}`, oldest first. */
export function toSaved(entries, users) {
  const hops = entries.map(({ hop, user }) => ({ ...hop, phone: user || null }));
  return JSON.stringify({ format: FORMAT, version: VERSION, savedAt: new Date().toISOString(), users, hops }, null, 1);
}

/** `{savedAt, entries}` of a file, or an error whose message is a key of words.js. */
export async function fromSaved(file, users) {
  if (file.size > MOST_BYTES) throw new Error('openTooLarge');
  let saved;
  try {
    saved = JSON.parse(await file.text());
  } catch {
    throw new Error('openNoJson');
  }
  if (!saved || typeof saved !== 'object' || saved.format !== FORMAT || !Array.isArray(saved.hops)) throw new Error('openOther');
  if (saved.version !== VERSION) throw new Error('openNewer');
  const entries = saved.hops.slice(-MOST_HOPS).map((hop) => entryOf(hop, users)).filter(Boolean);
  const savedAt = Date.parse(saved.savedAt);
  return { savedAt: Number.isFinite(savedAt) ? savedAt : null, entries };
}

function entryOf(raw, users) {
  if (!raw || typeof raw !== 'object' || !PARTIES.includes(raw.from) || !PARTIES.includes(raw.to)) return null;
  const hop = {
    seq: Number.isSafeInteger(raw.seq) ? raw.seq : 0,
    at: Number.isFinite(raw.at) && Math.abs(raw.at) < 8e15 ? raw.at : 0,
    from: raw.from,
    to: raw.to,
    name: String(raw.name ?? '').slice(0, MOST_NAME),
    answer: raw.answer === true,
    who: typeof raw.who === 'string' ? raw.who.slice(0, MOST_NAME) : null,
    detail: raw.detail ?? null,
  };
  return { hop, user: users.includes(raw.phone) ? raw.phone : null };
}

// ---- HAR 1.2 ---------------------------------------------------------------------------------

/** The same as a HAR: each request with its answer. What was not HTTP goes as a POST of its name. */
export function toHar(entries, places) {
  const open = [];
  const pairs = [];
  for (const { hop, user } of entries) {
    if (!hop.answer) {
      const pair = { asked: hop, answered: null, user };
      pairs.push(pair);
      open.push(pair);
      continue;
    }
    const at = open.findIndex(({ asked }) => answers(hop, asked));
    if (at >= 0) open.splice(at, 1)[0].answered = hop;
  }
  const log = {
    version: '1.2',
    creator: { name: 'weappd dev', version: '1' },
    pages: [],
    entries: pairs.map((pair) => harEntry(pair, places)),
  };
  return JSON.stringify({ log }, null, 1);
}

// Some answers have a name of their own.
const ASKED_AS = { skey: 'code', userInfo: 'who am I?' };

function answers(hop, asked) {
  if (asked.from !== hop.to || asked.to !== hop.from) return false;
  const ids = [asked.detail?.id, hop.detail?.id];
  if (ids[0] && ids[1]) return ids[0] === ids[1];
  return asked.name === hop.name || asked.name === ASKED_AS[hop.name];
}

function harEntry({ asked, answered, user }, places) {
  const ms = answered ? Math.max(0, answered.at - asked.at) : 0;
  return {
    startedDateTime: new Date(asked.at).toISOString(),
    time: ms,
    request: harRequest(asked, places),
    response: harResponse(answered),
    cache: {},
    timings: { send: 0, wait: ms, receive: 0 },
    _from: asked.from, _to: asked.to, _name: asked.name, _phone: user || '',
  };
}

function harRequest({ name, to, detail }, places) {
  const { method, path, url, headers, body, query, ...rest } = detail && typeof detail === 'object' ? detail : {};
  const address = addressOf(String(url || path || `/${name}`), `${places[to] || places.weappd}/`);
  for (const [key, value] of Object.entries(query && typeof query === 'object' ? query : {})) address.searchParams.set(key, String(value));
  const sent = body ?? (method ? undefined : rest);
  const made = {
    method: method || 'POST',
    url: address.href,
    httpVersion: 'HTTP/1.1',
    cookies: [],
    headers: pairsOf(headers),
    queryString: [...address.searchParams].map(([key, value]) => ({ name: key, value })),
    headersSize: -1,
    bodySize: -1,
  };
  if (sent !== undefined) made.postData = { mimeType: 'application/json', text: textOf(sent) };
  return made;
}

function addressOf(written, place) {
  try {
    return new URL(written, place);
  } catch {
    return new URL(place);
  }
}

function harResponse(answered) {
  const { status, headers, body, id: _id, ...rest } = answered?.detail && typeof answered.detail === 'object' ? answered.detail : {};
  const text = answered ? textOf(body ?? rest) : '';
  return {
    status: answered ? status || 200 : 0,
    statusText: '',
    httpVersion: 'HTTP/1.1',
    cookies: [],
    headers: pairsOf(headers),
    content: { size: text.length, mimeType: headers?.['content-type'] || 'application/json', text },
    redirectURL: headers?.location || '',
    headersSize: -1,
    bodySize: -1,
  };
}

const pairsOf = (headers) => Object.entries(headers && typeof headers === 'object' ? headers : {}).map(([name, value]) => ({ name, value: String(value) }));
const textOf = (value) => (typeof value === 'string' ? value : JSON.stringify(value));
