// A mini program's side of weappd: log in, ask, send files, hold a tunnel.
//
// No dependency, no build step, ES2017: runs as it is in a mini program (as an npm package
// or copied), and in Node with a `wx` handed in.
'use strict';

const { WeappdError } = require('./errors.js');
const { platform, call, address, sleep } = require('./platform.js');
const { Session, deniesSession } = require('./session.js');
const { Tunnel } = require('./tunnel.js');

/** Asking twice does no harm with these. */
const SAFE = ['GET', 'HEAD', 'OPTIONS'];
/** Pauses before a question is asked again, in ms. */
const PAUSES = [300, 1000, 3000];

class Client {
  constructor(options) {
    const given = options || {};
    if (!/^https?:\/\/[^/]+/i.test(given.url || '')) {
      throw new WeappdError('bad_argument', 'options.url: write the site, as in https://www.example.com');
    }
    this.wx = platform(given.wx);
    this.url = given.url.replace(/\/+$/, '');
    this.timeout = given.timeout;
    this.session = new Session({
      wx: this.wx,
      url: this.url,
      storageKey: given.storageKey,
      bearer: Boolean(given.bearer),
      timeout: given.timeout,
      appid: given.appid,
    });
  }

  /** Logs in unless there is a session; with `userInfo` or `force`, in any case. */
  login(options) {
    const { userInfo, force } = options || {};
    return userInfo || force ? this.session.login(userInfo) : this.session.ensure();
  }

  /** Ends the session. */
  logout() {
    return this.session.logout();
  }

  /** Who is logged in, as weappd told at the login; null if nobody is. */
  get user() {
    const session = this.session.current();
    return session ? session.user : null;
  }

  /**
   * wx.request with the session. A session that the server no longer knows is renewed and
   * the question asked once more. Every answer is an answer, whatever its status.
   */
  request(options) {
    const given = typeof options === 'string' ? { path: options } : options;
    const method = (given.method || 'GET').toUpperCase();
    const retries = given.retries === undefined ? Number(SAFE.indexOf(method) >= 0) : given.retries;
    return this.insist(retries, () => this.send('request', given, { method }));
  }

  /** wx.uploadFile with the session; `data` of the answer is read as JSON where it is. */
  upload(options) {
    const given = Object.assign({ path: '/weapp/upload', name: 'file' }, options);
    const heard = (task) => {
      if (given.onProgress && task.onProgressUpdate) task.onProgressUpdate(given.onProgress);
      if (given.onTask) given.onTask(task);
    };
    return this.send('uploadFile', Object.assign({}, given, { onTask: heard }), {
      filePath: given.filePath,
      name: given.name,
      formData: given.formData,
    });
  }

  /**
   * Keeps what the user says of themselves: `{nickName, avatarUrl}`, or `{rawData, signature}`
   * as wx.getUserInfo gave them. `avatarFile` goes up last. Gives the user as kept.
   */
  setProfile(profile) {
    const { avatarFile } = profile;
    const said = Object.assign({}, profile);
    delete said.avatarFile;
    const put = () => this.request({ path: '/weapp/session/profile', method: 'PUT', data: said })
      .then((answer) => this.session.update(accepted('the profile', answer)).user);
    if (!avatarFile) return put();
    const ready = Object.keys(said).length > 0 ? put() : Promise.resolve();
    return ready.then(() => this.setAvatar(avatarFile));
  }

  /**
   * Keeps the picture a user chose, from a button with `open-type="chooseAvatar"`: its
   * temporary file. The one before is removed. Gives the user as kept.
   */
  setAvatar(filePath, options) {
    return this.upload(Object.assign({}, options, { filePath, path: '/weapp/session/avatar' }))
      .then((answer) => this.session.update(accepted('the picture', answer)).user);
  }

  /**
   * Opens data that WeChat encrypted for the user: WeRun, group ids, phone numbers. With
   * `kind`, data of another kind is refused.
   */
  decrypt({ encryptedData, iv, kind }) {
    const data = kind ? { encryptedData, iv, kind } : { encryptedData, iv };
    return this.request({ path: '/weapp/session/decrypt', method: 'POST', data })
      .then((answer) => this.keyed('the data', answer))
      .then((said) => said.data);
  }

  /**
   * Proves the user's phone number and keeps it: `detail` is what the phone-number button
   * gave, `{code}` or `{encryptedData, iv}`. Gives the number.
   */
  setPhone(detail) {
    const { code, encryptedData, iv } = detail;
    const data = code ? { code } : { encryptedData, iv };
    // weappd gives the same answer for the same code, for some seconds.
    return this.request({ path: '/weapp/session/phone', method: 'POST', data, retries: 1 })
      .then((answer) => this.keyed('the phone number', answer))
      .then((said) => this.session.update(said).user.phone);
  }

  /** Has weappd forget the user's phone number. */
  forgetPhone() {
    return this.request({ path: '/weapp/session/phone', method: 'DELETE', retries: 1 }).then((answer) => {
      if (answer.statusCode !== 204) accepted('the phone number', answer);
      this.session.forgetPhone();
    });
  }

  /** Whether WeChat still takes the session_key that data is encrypted with. */
  checkKey() {
    return this.request('/weapp/session/key')
      .then((answer) => accepted('the session_key', answer).valid);
  }

  /**
   * Has WeChat give another session_key; data encrypted with the last ones still opens. Where
   * there is none to replace, a login gives one.
   */
  resetKey() {
    return this.request({ path: '/weapp/session/key/reset', method: 'POST', retries: 1 })
      .then((answer) => (keyIsGone(answer)
        ? this.session.login()
        : accepted('the session_key', answer)))
      .then(() => undefined);
  }

  /**
   * The body of an answer. Where the data does not open, the session_key may be another by now:
   * a login brings weappd the new one. Or the data is damaged, which looks the same and no login
   * mends, so there is one login at most a minute for this.
   */
  keyed(what, answer) {
    if (!keyIsGone(answer)) return accepted(what, answer);
    const refuse = () => {
      const { message } = answer.data.error;
      throw new WeappdError('session_key_expired', `${what}: ${message}`, answer.data);
    };
    return this.session.renewKey().then(refuse, refuse);
  }

  /** A tunnel through `GET path`; open it with `.open()`. */
  tunnel(options) {
    return new Tunnel(this, typeof options === 'string' ? { path: options } : options || {});
  }

  /** One question, and once more with a new session if that was what was wrong. */
  send(api, given, more) {
    const withSession = given.session !== false;
    const once = (session) => call(this.wx, api, this.options(given, more, session), given.onTask)
      .then((answer) => (api === 'uploadFile' ? parsed(answer) : answer));
    if (!withSession) return once(null);
    const attempt = (last) => this.session.ensure().then((session) => once(session).then((answer) => {
      if (!deniesSession(answer.statusCode, answer.data)) return answer;
      this.session.forget(session.skey);
      return last ? answer : attempt(true);
    }));
    return attempt(false);
  }

  options(given, more, session) {
    const options = Object.assign({ url: address(this.url, given.path || given.url || '/') }, more);
    ['data', 'dataType', 'responseType', 'timeout', 'enableChunked', 'enableHttp2'].forEach((name) => {
      if (given[name] !== undefined) options[name] = given[name];
    });
    if (options.timeout === undefined && this.timeout) options.timeout = this.timeout;
    // A session goes to its own server and to nobody else.
    const own = session && inside(this.url, options.url);
    options.header = Object.assign({}, own ? this.session.header(session) : {}, given.header);
    return options;
  }

  /** Asks again when no answer came, or when the server says it is not ready. */
  insist(retries, ask, tried) {
    const times = tried || 0;
    const again = () => sleep(PAUSES[Math.min(times, PAUSES.length - 1)])
      .then(() => this.insist(retries, ask, times + 1));
    return ask().then(
      (answer) => (times < retries && isNotReady(answer.statusCode) ? again() : answer),
      (error) => {
        if (times < retries && error.code === 'unreachable') return again();
        throw error;
      },
    );
  }
}

/** The body of an answer that says yes; its own words if it says no. */
function accepted(what, { statusCode, data }) {
  if (statusCode === 200 && data && !data.error) return data;
  const { error } = data || {};
  const words = (error && (error.message || error)) || `the server answered ${statusCode}`;
  throw new WeappdError('refused', `${what}: ${words}`, data);
}

/** Whether the data may be encrypted with a session_key that weappd does not hold. */
function keyIsGone({ statusCode, data }) {
  const word = statusCode === 409 && data && data.error && data.error.code;
  return ['bad_user_data', 'session_key_expired', 'no_session_key'].indexOf(word) >= 0;
}

const isNotReady = (status) => status >= 502 && status <= 504;

/** Whether `url` lies on the site `base`: `https://a.example.evil.example` does not. */
function inside(base, url) {
  return url === base || ['/', '?', '#'].some((next) => url.indexOf(base + next) === 0);
}

/** wx.uploadFile leaves the answer's text as it came. */
function parsed(answer) {
  if (typeof answer.data !== 'string') return answer;
  try {
    return Object.assign({}, answer, { data: JSON.parse(answer.data) });
  } catch (notJson) {
    return answer;
  }
}

module.exports = { Client, Tunnel, WeappdError };
