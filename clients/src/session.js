// The session: logs in once for everybody who waits, keeps it in the phone's storage, and
// forgets it when the server does.
'use strict';

const { WeappdError } = require('./errors.js');
const { call, address, headerOf, sleep } = require('./platform.js');

/** How often a login is tried while nobody answers, and the pauses between, in ms. */
const PAUSES = [300, 1000];
/** A session is renewed this much before its end: ms, but at most a tenth of its life. */
const EARLY = 60000;
/** A login because data did not open comes once in this time, in ms. */
const KEY_PAUSE = 60000;
/** WeChat's numbers and ours for a code that is used up: wx.login gives another. */
const CODE_IS_SPENT = ['bad_code'];

class Session {
  constructor({ wx, url, storageKey, bearer, timeout, appid }) {
    this.wx = wx;
    this.url = url;
    this.key = storageKey || `weappd_session:${url}`;
    this.bearer = bearer;
    this.timeout = timeout;
    this.appid = appid;
    this.held = undefined;
    this.loggingIn = undefined;
    this.checking = undefined;
    this.checked = false;
    this.renewedAt = undefined;
  }

  /** The session in hand or in storage: `{skey, expires_at, user}`, or null. */
  current() {
    if (this.held === undefined) {
      const stored = stubborn(() => this.wx.getStorageSync(this.key));
      this.held = stored && typeof stored.skey === 'string' ? stored : null;
    }
    const { held } = this;
    return held && !(held.ends_at <= Date.now()) ? held : null;
  }

  /** `date` is the server's clock, for phones whose own is wrong: what counts is how long. */
  keep(session, date) {
    const life = session.expires_at * 1000 - Date.parse(date);
    const kept = life > 0
      ? Object.assign({ ends_at: Date.now() + life - Math.min(EARLY, life / 10) }, session)
      : session;
    this.held = kept;
    stubborn(() => this.wx.setStorageSync(this.key, kept));
    return kept;
  }

  /** Takes over what the server says of the same session. */
  update({ user, expires_at }) {
    this.held = Object.assign({}, this.held, { user, expires_at });
    stubborn(() => this.wx.setStorageSync(this.key, this.held));
    return this.held;
  }

  /** What the server has forgotten, the phone forgets too. */
  forgetPhone() {
    const session = this.current();
    if (!session || !session.user || !session.user.phone) return;
    const user = Object.assign({}, session.user);
    delete user.phone;
    this.update({ user, expires_at: session.expires_at });
  }

  /** Forgets the session; given an skey, only if it is still that one. */
  forget(skey) {
    const now = this.held;
    if (skey !== undefined && now && now.skey !== skey) return;
    this.held = null;
    stubborn(() => this.wx.removeStorageSync(this.key));
  }

  /** A session that holds as far as this phone knows; logs in if there is none. */
  ensure() {
    const session = this.current();
    if (session && this.checked) return Promise.resolve(session);
    if (!session) return this.login();
    // Once a launch: WeChat may have dropped the session_key, and with it the power to
    // decrypt, while weappd's session goes on. It still serves if no other is to be had.
    this.checking = this.checking || call(this.wx, 'checkSession', {})
      .then(() => session, () => this.login().catch(() => session))
      .then((found) => {
        this.checked = true;
        this.checking = undefined;
        return found;
      });
    return this.checking;
  }

  /**
   * Logs in, once for all who ask at the same time. `userInfo` is what getUserInfo gave:
   * `{encryptedData, iv}`, or `{rawData, signature}`.
   */
  login(userInfo) {
    if (this.loggingIn && !userInfo) return this.loggingIn;
    const done = () => { if (this.loggingIn === mine) this.loggingIn = undefined; };
    const mine = this.exchange(userInfo);
    this.loggingIn = mine;
    mine.then(done, done);
    return mine;
  }

  /** A login for its session_key, unless there was one of this kind a moment ago. */
  renewKey() {
    const now = Date.now();
    if (Math.abs(now - this.renewedAt) < KEY_PAUSE) return Promise.resolve();
    this.renewedAt = now;
    return this.login();
  }

  exchange(userInfo, spent) {
    return call(this.wx, 'login', {}).then(
      ({ code }) => this.post(code, userInfo, 0),
      (error) => { throw new WeappdError('login_failed', error.message, error.detail); },
    ).then(({ data, header }) => {
      this.checked = true;
      return this.keep(data, headerOf(header, 'date'));
    }, (error) => {
      const word = error.detail && error.detail.error && error.detail.error.code;
      if (spent || CODE_IS_SPENT.indexOf(word) < 0) throw error;
      // User data belongs to the login it was read after: a new code needs new data.
      if (userInfo) throw error;
      return this.exchange(undefined, true);
    });
  }

  /** weappd gives the same session for the same code, so a lost answer is asked for again. */
  post(code, userInfo, tried) {
    const data = Object.assign({ code }, brought(userInfo));
    const again = (error) => {
      if (tried >= PAUSES.length) throw error;
      return sleep(PAUSES[tried]).then(() => this.post(code, userInfo, tried + 1));
    };
    return call(this.wx, 'request', this.options({
      url: address(this.url, '/weapp/session'),
      method: 'POST',
      data,
      header: Object.assign(
        { 'content-type': 'application/json' },
        this.appid ? { 'X-Weappd-AppID': this.appid } : {},
      ),
    })).then((answer) => {
      const { statusCode, data: said } = answer;
      if (statusCode === 200 && said && said.skey) return answer;
      const reason = said && said.error;
      const error = new WeappdError(
        'login_failed',
        `login: ${(reason && reason.message) || `the server answered ${statusCode}`}`,
        said,
      );
      return statusCode >= 502 && statusCode <= 504 ? again(error) : Promise.reject(error);
    }, again);
  }

  /** Asks weappd whether the session still holds; forgets it if not. */
  check() {
    const session = this.current();
    if (!session) return Promise.resolve(false);
    return call(this.wx, 'request', this.options({
      url: address(this.url, '/weapp/session'),
      method: 'GET',
      header: this.header(session),
    })).then(({ statusCode }) => {
      if (statusCode === 401) this.forget(session.skey);
      return statusCode !== 401;
    });
  }

  /** Ends the session, here and at the server. */
  logout() {
    const session = this.current();
    this.forget();
    if (!session) return Promise.resolve();
    return call(this.wx, 'request', this.options({
      url: address(this.url, '/weapp/session'),
      method: 'DELETE',
      header: this.header(session),
    })).then(() => undefined);
  }

  /** What shows the session. WeChat's own gateway (微信网关) drops x-wx-* headers. */
  header(session) {
    return this.bearer
      ? { Authorization: `Bearer ${session.skey}` }
      : { 'X-WX-Skey': session.skey };
  }

  options(more) {
    return this.timeout ? Object.assign({ timeout: this.timeout }, more) : more;
  }
}

/** The proof of the user data: what was encrypted tells more than what was signed. */
function brought(userInfo) {
  if (!userInfo) return {};
  const { encryptedData, iv, rawData, signature } = userInfo;
  return encryptedData ? { encryptedData, iv } : { rawData, signature };
}

/** A storage that is full or forbidden costs the session of the next launch, no more. */
function stubborn(deed) {
  try {
    return deed();
  } catch (full) {
    return undefined;
  }
}

/** The magic key of Wafer 1's answers. */
const WAFER1 = 'F2C224D4-2BCE-4C64-AF9F-A6D872000D1A';

/** Whether an answer says that the session is not (or no longer) known, in any dialect. */
function deniesSession(statusCode, body) {
  if (statusCode === 401) return true;
  if (!body || typeof body !== 'object') return false;
  if (body[WAFER1]) return body.error === 'ERR_INVALID_SESSION';
  if (body.code !== -1) return false;
  const expired = body.error === undefined && body.data && Object.keys(body.data).length === 0;
  return body.error === 'ERR_SKEY_INVALID' || Boolean(expired);
}

module.exports = { Session, deniesSession };
