// A phone's `wx` for Node: just enough of the mini-program runtime for the real client
// SDKs to run unchanged. The WeChat behind it is the simulator's phone API; requests go
// through fetch, the socket through `ws`. Certificates are checked as usual; a test CA
// comes in through NODE_EXTRA_CA_CERTS only.
'use strict';

const { EventEmitter } = require('events');
const WebSocket = require('ws');

const noop = () => {};

/** Makes a `wx` for the simulated user `user`; `taps` hears what crosses the socket. */
module.exports = function phone({ wechatUrl, user }) {
  const taps = new EventEmitter();
  const storage = new Map();
  const on = { open: noop, message: noop, close: noop, error: noop };
  let socket = null;

  async function ask(path, body) {
    const answer = await fetch(`${wechatUrl}/phone/${user}/${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(body || {}),
    });
    if (!answer.ok) throw new Error(`${path}:fail ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  // Runs `deed` and calls back the way wx does: success or fail, then complete.
  function call(options, deed) {
    const { success = noop, fail = noop, complete = noop } = options || {};
    deed().then(
      (result) => { success(result); complete(result); },
      (error) => {
        const result = { errMsg: error.message };
        fail(result);
        complete(result);
      },
    );
  }

  function request(options) {
    call(options, async () => {
      const method = (options.method || 'GET').toUpperCase();
      const header = { 'content-type': 'application/json', ...options.header };
      const url = new URL(options.url);
      let body;
      if (options.data !== undefined) {
        if (method === 'GET') {
          for (const [name, value] of Object.entries(options.data)) url.searchParams.set(name, value);
        } else {
          body = typeof options.data === 'string' ? options.data : JSON.stringify(options.data);
        }
      }
      let answer;
      try {
        answer = await fetch(url, { method, headers: header, body });
      } catch (error) {
        throw new Error(`request:fail ${error.cause ? error.cause.message : error.message}`);
      }
      let data = await answer.text();
      try { data = JSON.parse(data); } catch { /* not JSON: the text itself, as wx does */ }
      return { errMsg: 'request:ok', statusCode: answer.status, header: Object.fromEntries(answer.headers), data };
    });
  }

  function connectSocket(options) {
    const mine = new WebSocket(options.url, options.protocols || [], { headers: options.header });
    socket = mine;
    // Events of a socket that was let go must not reach the SDK as news of the next one.
    const current = () => socket === mine;
    mine.on('open', () => current() && on.open({}));
    mine.on('message', (data, isBinary) => {
      if (!current()) return;
      const text = isBinary ? data : data.toString();
      taps.emit('in', text);
      on.message({ data: text });
    });
    mine.on('error', (error) => current() && on.error({ errMsg: error.message }));
    mine.on('close', (code, reason) => {
      taps.emit('closed', code);
      if (!current()) return;
      socket = null;
      on.close({ code, reason: reason.toString() });
    });
    call(options, async () => ({ errMsg: 'connectSocket:ok' }));
  }

  function sendSocketMessage(options) {
    const text = options.data;
    if (!socket || socket.readyState !== WebSocket.OPEN) {
      call(options, async () => { throw new Error('sendSocketMessage:fail not connected'); });
      return;
    }
    taps.emit('out', text);
    socket.send(text, (error) => call(options, async () => {
      if (error) throw error;
      return { errMsg: 'sendSocketMessage:ok' };
    }));
  }

  function closeSocket(options = {}) {
    const old = socket;
    socket = null;
    if (!old) return;
    if (old.readyState === WebSocket.CONNECTING) old.terminate();
    else old.close(options.code || 1000);
    setImmediate(() => on.close({ code: options.code || 1000, reason: '' }));
  }

  const wx = {
    login: (options) => call(options, async () => ({ errMsg: 'login:ok', ...(await ask('login')) })),
    checkSession: (options) => call(options, async () => {
      const { valid } = await ask('check_session');
      if (!valid) throw new Error('checkSession:fail session time out');
      return { errMsg: 'checkSession:ok' };
    }),
    getUserInfo: (options) => call(options, async () => {
      const info = await ask('user_info');
      if (!info.userInfo) throw new Error(info.errMsg || 'getUserInfo:fail');
      return { errMsg: 'getUserInfo:ok', ...info };
    }),
    request,
    connectSocket,
    sendSocketMessage,
    closeSocket,
    onSocketOpen: (callback) => { on.open = callback; },
    onSocketMessage: (callback) => { on.message = callback; },
    onSocketClose: (callback) => { on.close = callback; },
    onSocketError: (callback) => { on.error = callback; },
    // wx keeps copies, and answers '' for what is not there.
    getStorageSync: (key) => (storage.has(key) ? JSON.parse(storage.get(key)) : ''),
    setStorageSync: (key, value) => { storage.set(key, JSON.stringify(value)); },
    removeStorageSync: (key) => { storage.delete(key); },
  };

  return {
    wx,
    taps,
    ask,
    /** Cuts the wire under the socket, as a tunnel under a mountain does: no close frame. */
    cut() {
      if (socket) socket.terminate();
      return Boolean(socket);
    },
  };
};
