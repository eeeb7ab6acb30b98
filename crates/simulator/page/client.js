// A mini-program client for weappd, written against nothing but `wx`.
//
// Logging in gives an skey, kept in storage; every request carries it; when the server no
// longer knows it (401, or code -1) the client logs in with a new code and asks once more, so
// the user notices nothing. A tunnel is a WebSocket whose address the server hands out.

const MAGIC = 'F2C224D4-2BCE-4C64-AF9F-A6D872000D1A';
const STORED_AS = `weapp_session_${MAGIC}`;
const HEARTBEAT_MS = 15000;
const RECONNECT_TRIES = 5;
const RECONNECT_STEP_MS = 1000;

/** What went wrong, in a word (`kind`), beside the text. */
export class ClientError extends Error {
  constructor(kind, message, more = {}) {
    super(message);
    Object.assign(this, { kind }, more);
  }
}

/** A `wx` call as a promise. */
const call = (wx, api, options = {}) => new Promise((success, fail) => {
  wx[api]({ ...options, success, fail });
});

/**
 * @param {object} wx
 * @param {object} parts
 * @param {string} parts.base       `scheme://host/weapp`
 * @param {(what: string) => void} [parts.onRenew]  hears `expired`, then `renewed`
 */
export function createClient(wx, { base, onRenew = () => {} }) {
  let loggingIn = null;

  const session = () => wx.getStorageSync(STORED_AS) || null;
  const forget = () => wx.removeStorageSync(STORED_AS);

  /** Logs in anew. One login at a time: who asks meanwhile gets the same answer. */
  function login({ withProfile = true } = {}) {
    loggingIn = loggingIn || freshLogin(withProfile).finally(() => { loggingIn = null; });
    return loggingIn;
  }

  async function freshLogin(withProfile) {
    const { code } = await call(wx, 'login').catch(asError('wechat'));
    const header = { 'X-WX-Code': code };
    let shared = false;
    if (withProfile) {
      // The profile must be asked for after wx.login: it is sealed with the new session_key.
      try {
        const profile = await call(wx, 'getUserInfo', { withCredentials: true });
        header['X-WX-Encrypted-Data'] = profile.encryptedData;
        header['X-WX-IV'] = profile.iv;
        shared = true;
      } catch (refused) {
        if (!/auth den/.test(refused.errMsg)) throw toError('wechat', refused);
      }
    }
    const { statusCode, data } = await call(wx, 'request', { url: `${base}/login`, header })
      .catch(asError('server'));
    if (!data || data.code !== 0 || !data.data || !data.data.skey) {
      throw new ClientError('login', describe(data, statusCode), { statusCode });
    }
    wx.setStorageSync(STORED_AS, data.data);
    return { ...data.data, shared };
  }

  /** Whether WeChat and storage both still know this user; nothing is asked of the server. */
  async function resume() {
    const stored = session();
    if (!stored) return null;
    try {
      await call(wx, 'checkSession');
      return stored;
    } catch {
      return null;
    }
  }

  /** Sends with the skey; a refused skey is renewed once. `send(header)` gives {statusCode, data}. */
  async function withSession(send) {
    const used = session() || await login();
    const first = await send({ 'X-WX-Skey': used.skey });
    if (!isRefused(first)) return first;
    onRenew('expired');
    const now = session();
    // Somebody else may have renewed it while this answer was on its way.
    if (!now || now.skey === used.skey) {
      forget();
      await login({ withProfile: false });
    }
    const second = await send({ 'X-WX-Skey': session().skey });
    if (isRefused(second)) throw new ClientError('session', describe(second.data, second.statusCode));
    onRenew('renewed');
    return second;
  }

  async function request(path, options = {}) {
    const answer = await withSession((header) => call(wx, 'request', {
      ...options, url: `${base}${path}`, header: { ...options.header, ...header },
    }).catch(asError('server')));
    return envelope(answer);
  }

  async function upload(filePath) {
    const answer = await withSession(async (header) => {
      const sent = await call(wx, 'uploadFile', {
        url: `${base}/upload`, filePath, name: 'file', header,
      }).catch(asError('server'));
      return { ...sent, data: parsed(sent.data) };
    });
    return envelope(answer);
  }

  async function download(url) {
    const absolute = /^https?:/.test(url) ? url : new URL(url, base).href;
    const got = await call(wx, 'downloadFile', { url: absolute }).catch(asError('server'));
    if (got.statusCode !== 200) throw new ClientError('server', describe(null, got.statusCode), got);
    return got;
  }

  return {
    session, forget, login, resume, request, upload, download,
    user: () => request('/user'),
    tunnel: () => createTunnel(wx, () => request('/tunnel')),
    /** Makes the stored skey one the server does not know, as if it had run out. */
    spoil() {
      const stored = session();
      if (!stored) return;
      const turned = [...stored.skey].reverse().join('');
      const skey = turned === stored.skey ? `${turned.slice(1)}0` : turned;
      wx.setStorageSync(STORED_AS, { ...stored, skey });
    },
  };
}

// Code -1 with another status than 200 is about the request, not about who sent it.
const isRefused = ({ statusCode, data }) => statusCode === 401 || (statusCode === 200 && Boolean(data && data.code === -1));

function envelope({ statusCode, data }) {
  if (statusCode !== 200 || !data || data.code !== 0) {
    throw new ClientError('server', describe(data, statusCode), { statusCode });
  }
  return data.data;
}

/** The server's own words for a refusal; weappd's are an object with a sentence. */
function describe(data, statusCode) {
  const words = data && (data.error || data.message);
  return (words && words.message) || words || `HTTP ${statusCode}`;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

const toError = (kind, { errMsg }) => new ClientError(kind, errMsg);
const asError = (kind) => (failed) => { throw toError(kind, failed); };

/**
 * A tunnel. Events: `connect`, `reconnecting`, `reconnect`, `close`, `error`, and every message
 * type of the business server (prefixed with `@` where it would be one of those), or `*`.
 */
export function createTunnel(wx, fetchUrl) {
  const OWN = ['connect', 'close', 'reconnecting', 'reconnect', 'error'];
  const handlers = [];
  const queue = [];
  let status = 'CLOSED';
  let socket = null;
  let beat = HEARTBEAT_MS;
  let tries = 0;
  let timers = {};

  const tell = (type, payload) => handlers.forEach(([wanted, f]) => {
    if (wanted === '*') f(type, payload);
    else if (wanted === type) f(payload);
  });
  const after = (name, ms, f) => {
    clearTimeout(timers[name]);
    timers[name] = setTimeout(f, ms);
  };
  const quiet = () => {
    Object.values(timers).forEach(clearTimeout);
    timers = {};
  };

  async function open() {
    if (status !== 'CLOSED') return;
    status = 'CONNECTING';
    await connect();
  }

  async function connect() {
    const first = status === 'CONNECTING';
    let given;
    try {
      given = await fetchUrl();
      if (!given || !given.connectUrl) throw new ClientError('tunnel', 'no connectUrl in the answer');
    } catch (error) {
      if (status === 'CLOSED') return;
      if (!first) return retry(error);
      status = 'CLOSED';
      tell('error', { code: 1001, error });
      return;
    }
    if (status === 'CLOSED') return;
    made.tunnelId = given.tunnelId;
    listen(wx.connectSocket({ url: given.connectUrl }), first);
  }

  function listen(opened, first) {
    if (!opened) return broken(first);
    socket = opened;
    // Only the newest socket is heard: a late close of an old one means nothing.
    const mine = (f) => (event) => { if (socket === opened && status !== 'CLOSED') f(event); };
    opened.onOpen(mine(() => {
      tries = 0;
      status = 'ACTIVE';
      tell(first ? 'connect' : 'reconnect', { tunnelId: made.tunnelId });
      queue.splice(0).forEach(send);
      nextPing();
    }));
    opened.onMessage(mine(({ data }) => receive(data)));
    // Refused while reconnecting counts as a try like any other; an error is followed by a close.
    opened.onClose(mine((event) => broken(first && status === 'CONNECTING', event)));
  }

  function broken(first, event) {
    socket = null;
    if (!first) return retry(new ClientError('tunnel', `closed (${(event && event.code) || '?'})`));
    status = 'CLOSED';
    quiet();
    tell('error', { code: 3001, error: new ClientError('tunnel', 'the WebSocket was refused') });
  }

  function retry(error) {
    quiet();
    drop();
    if (tries >= RECONNECT_TRIES) {
      finish();
      tell('error', { code: 2001, error });
      return;
    }
    status = 'RECONNECTING';
    tries += 1;
    if (tries === 1) tell('reconnecting');
    after('reconnect', tries * RECONNECT_STEP_MS, connect);
  }

  const drop = () => {
    const old = socket;
    socket = null;
    if (old) old.close({ code: 1000 });
  };
  const send = (text) => {
    if (status === 'ACTIVE' && socket) socket.send({ data: text });
    else queue.push(text);
  };

  function receive(raw) {
    if (typeof raw !== 'string') return;
    const at = raw.indexOf(':');
    const type = at < 0 ? raw : raw.slice(0, at);
    const content = at < 0 ? null : parsed(raw.slice(at + 1));
    if (type === 'pong') nextPing();
    else if (type === 'close') close();
    else if (type === 'timeout' && content > 0) {
      beat = content * 1000;
      ping();
    } else if (type === 'message' && content && typeof content.type === 'string') {
      tell(OWN.includes(content.type) ? `@${content.type}` : content.type, content.content);
    }
  }

  const nextPing = () => {
    clearTimeout(timers.pong);
    after('ping', beat, ping);
  };
  const ping = () => {
    if (status !== 'ACTIVE') return;
    send('ping');
    clearTimeout(timers.ping);
    after('pong', beat, () => retry(new ClientError('tunnel', 'no pong')));
  };

  function finish() {
    quiet();
    drop();
    queue.length = 0;
    tries = 0;
    status = 'CLOSED';
    tell('close');
  }

  function close() {
    if (status === 'CLOSED') return;
    if (status === 'ACTIVE') send('close');
    finish();
  }

  const made = {
    tunnelId: null,
    open,
    close,
    on: (type, f) => { handlers.push([type, f]); return made; },
    emit: (type, content) => send(`message:${JSON.stringify({ type, content })}`),
    get status() { return status; },
  };
  return made;
}
