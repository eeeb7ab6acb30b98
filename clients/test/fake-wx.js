// A `wx` without a network: answers come from a function, sockets from the test's hand.
'use strict';

const later = (deed) => setImmediate(deed);

/** `answer(options)` gives `{statusCode, data, header}` or throws for a lost request. */
function fakeWx(answer, parts = {}) {
  const storage = new Map();
  const asked = [];
  const sockets = [];
  const hooks = {};
  let codes = 0;
  const end = (options, deed) => later(() => {
    let result;
    try {
      result = deed();
    } catch (error) {
      options.fail({ errMsg: error.message });
      return;
    }
    Promise.resolve(result).then(
      (done) => options.success(done),
      (error) => options.fail({ errMsg: error.message }),
    );
  });
  return {
    asked,
    sockets,
    hooks,
    login: (options) => end(options, () => { codes += 1; return { code: `code-${codes}` }; }),
    checkSession: (options) => end(options, () => {
      if (parts.sessionKeyLost && parts.sessionKeyLost()) throw new Error('checkSession:fail');
      return {};
    }),
    request: (options) => {
      asked.push(options);
      end(options, () => Promise.resolve(answer(options)).then((said) => ({ header: {}, ...said })));
      return { abort() {} };
    },
    uploadFile: (options) => {
      asked.push(options);
      end(options, () => ({ header: {}, ...answer(options) }));
      return {};
    },
    connectSocket: (options) => {
      const socket = new FakeSocket(options);
      sockets.push(socket);
      if (parts.onSocket) later(() => parts.onSocket(socket, sockets.length));
      return socket;
    },
    getStorageSync: (key) => (storage.has(key) ? JSON.parse(storage.get(key)) : ''),
    setStorageSync: (key, value) => storage.set(key, JSON.stringify(value)),
    removeStorageSync: (key) => storage.delete(key),
    onAppShow: (f) => { hooks.show = f; },
    offAppShow: () => { delete hooks.show; },
    onNetworkStatusChange: (f) => { hooks.network = f; },
    offNetworkStatusChange: () => { delete hooks.network; },
  };
}

class FakeSocket {
  constructor(options) {
    this.options = options;
    this.sent = [];
    this.closed = null;
    this.on = {};
    ['Open', 'Message', 'Close', 'Error'].forEach((name) => {
      this[`on${name}`] = (f) => { this.on[name] = f; };
    });
  }

  send({ data, success, fail }) {
    if (this.broken) { later(() => fail && fail({ errMsg: 'send:fail' })); return; }
    this.sent.push(data);
    later(() => success && success({}));
  }

  close(options) { this.closed = options; }

  open() { this.on.Open({}); }

  say(text) { this.on.Message({ data: text }); }

  break(code = 1006) { this.on.Close({ code, reason: '' }); }
}

/** Waits for what `seen` returns, if it is truthy, for as long as a busy machine may take. */
async function until(seen, what) {
  const end = Date.now() + 30000;
  for (;;) {
    const found = seen();
    if (found) return found;
    if (Date.now() > end) throw new Error(`never: ${what || seen}`);
    await new Promise(later);
  }
}

/** The weappd of a unit test: any login is good, `skeys` are those it knows. */
function fakeWeappd(more) {
  const skeys = new Set();
  let count = 0;
  const weappd = {
    skeys,
    logins: 0,
    life: 1000, // seconds
    ahead: 0, // ms that its clock is ahead of the phone's
    answer(options) {
      const path = options.url.replace('https://a.example', '');
      const skey = options.header && options.header['X-WX-Skey'];
      if (path === '/weapp/session' && options.method === 'POST') {
        weappd.logins += 1;
        count += 1;
        const now = Date.now() + weappd.ahead;
        const session = { skey: `skey-${count}`, expires_at: now / 1000 + weappd.life, user: { openid: 'o1' } };
        skeys.add(session.skey);
        return { statusCode: 200, data: session, header: { Date: new Date(now).toUTCString() } };
      }
      if (path === '/weapp/session') return { statusCode: skeys.has(skey) ? 200 : 401, data: {} };
      if (more) {
        const said = more(path, options, skeys.has(skey));
        if (said) return said;
      }
      return skeys.has(skey)
        ? { statusCode: 200, data: { path, skey } }
        : { statusCode: 401, data: { code: -1, error: 'ERR_SKEY_INVALID' } };
    },
  };
  return weappd;
}

module.exports = { fakeWx, fakeWeappd, until };
