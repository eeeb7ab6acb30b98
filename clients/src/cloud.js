// wx.cloud.callContainer and wx.cloud.connectContainer without Tencent's cloud: the same
// calls, on wx.request and wx.connectSocket, with a weappd session in place of the private
// protocol. Errors and limits are those of 微信云托管.
'use strict';

const { Client } = require('./index.js');
const { WeappdError } = require('./errors.js');
const { headerOf, platform } = require('./platform.js');
const { sizeOf } = require('./bytes.js');

const LIMITS = { requestBytes: 100 * 1024, responseBytes: 1000 * 1024, timeout: 15000 };
/** What wx.request can send. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE', 'OPTIONS', 'TRACE', 'CONNECT'];
const SAFE = ['GET', 'HEAD', 'OPTIONS'];

const CODES = {
  arguments: 40097,
  timeout: 102002,
  method: 102005,
  path: -501000,
  requestTooLong: -606001,
  responseTooLong: -606002,
};

/** A `wx.cloud` whose containers stand behind the weappd at `options.url` (or of
 * `options.client`); `options.urls` names others by environment. */
function createCloud(options) {
  const given = options || {};
  const wx = platform(given.wx);
  const limits = Object.assign({}, LIMITS, given.limits);
  const home = given.client || new Client(Object.assign({}, given, { wx }));
  const clients = { [home.url]: home };
  const clientOf = (env) => {
    const url = ((given.urls && given.urls[env]) || home.url).replace(/\/+$/, '');
    clients[url] = clients[url] || new Client(Object.assign({}, given, { wx, url }));
    return clients[url];
  };

  class Cloud {
    constructor(config) {
      this.config = config || {};
      this.env = envOf(this.config.resourceEnv || this.config.env);
    }

    /** Nothing to wait for; a promise, as Tencent's gives one. */
    init(config) {
      const { env } = config || {};
      if (env) this.env = envOf(env);
      return Promise.resolve();
    }

    callContainer(call) {
      return settle('cloud.callContainer', call, (about) => callContainer(this, call, about));
    }

    connectContainer(call) {
      return settle('cloud.connectContainer', call, (about) => connectContainer(this, call, about));
    }
  }

  function callContainer(cloud, call, about) {
    const method = (call.method || 'GET').toUpperCase();
    if (METHODS.indexOf(method) < 0) throw new Refusal(CODES.method, `method ${call.method} is not supported`);
    const path = pathOf(call.path);
    if (sizeOf(call.data) > limits.requestBytes) {
      throw new Refusal(CODES.requestTooLong, `the request has more than ${limits.requestBytes} bytes`);
    }
    const client = clientOf(envOf((call.config || {}).env) || cloud.env);
    const started = Date.now();
    const limit = Math.min(call.timeout || limits.timeout, limits.timeout);
    const ask = () => client.request({
      path,
      method,
      data: call.data,
      header: call.header,
      dataType: call.dataType,
      responseType: call.responseType,
      timeout: Math.max(1, limit - (Date.now() - started)),
      retries: 0,
    });
    return within(limit, ask().then((answer) => doubted(client, method, answer, ask))).then((answer) => {
      about.callID = headerOf(answer.header, 'x-wx-call-id') || about.callID;
      if (answer.statusCode === 401 && saysWeappd(answer.data)) {
        throw new Refusal(CODES.path, 'the server does not know this user');
      }
      if (answer.statusCode === 404 && errorCode(answer.data) === 'service_not_found') {
        throw new Refusal(CODES.path, 'X-WX-SERVICE names no service of this site');
      }
      const told = Number(headerOf(answer.header, 'content-length'));
      if (Math.max(told || 0, sizeOf(answer.data)) > limits.responseBytes) {
        throw new Refusal(CODES.responseTooLong, `the answer has more than ${limits.responseBytes} bytes`);
      }
      const { data, statusCode, header, cookies } = answer;
      return Object.assign({ data, statusCode, header }, cookies ? { cookies } : {});
    });
  }

  function connectContainer(cloud, call) {
    const path = pathOf(call.path);
    const client = clientOf(envOf((call.config || {}).env) || cloud.env);
    // What is doubtful about the session must be known before: a socket cannot ask again.
    return within(limits.timeout, client.login()
      .then(() => client.session.check())
      .then((good) => (good ? client.session.current() : client.login()))).then((session) => {
      const service = call.service ? { 'X-WX-SERVICE': call.service } : {};
      const header = Object.assign({}, call.header, service, client.session.header(session));
      const options = { url: client.url.replace(/^http/i, 'ws') + path, header, success() {}, fail() {} };
      ['protocols', 'tcpNoDelay', 'perMessageDeflate', 'timeout'].forEach((name) => {
        if (call[name] !== undefined) options[name] = call[name];
      });
      const socketTask = wx.connectSocket(options);
      if (!socketTask) throw new Refusal(CODES.arguments, 'wx.connectSocket gave no SocketTask');
      return { socketTask };
    });
  }

  const shared = new Cloud();
  return {
    Cloud,
    init: (config) => { shared.init(config); },
    callContainer: (call) => shared.callContainer(call),
    connectContainer: (call) => shared.connectContainer(call),
  };
}

/** Puts it where the mini program looks for it, if this `wx` lets itself be changed. */
function install(options) {
  const cloud = createCloud(options);
  const wx = platform(options.wx);
  try {
    Object.defineProperty(wx, 'cloud', { value: cloud, configurable: true, enumerable: true, writable: true });
  } catch (fixed) {
    Object.assign(wx.cloud || {}, cloud);
  }
  return cloud;
}

/**
 * weappd marks the answers to everybody it knows with X-WX-CALL-ID. Without the mark the
 * app saw nobody: was the session forgotten? Then the next call logs in; this one is made
 * again only if that does no harm.
 */
function doubted(client, method, answer, ask) {
  if (headerOf(answer.header, 'x-wx-call-id') || answer.statusCode === 401) return answer;
  return client.session.check().then(
    (good) => (!good && SAFE.indexOf(method) >= 0 ? ask() : answer),
    () => answer,
  );
}

/** A refusal in the numbers of Tencent's gateway. */
class Refusal extends Error {
  constructor(errCode, message) {
    super(message);
    this.errCode = errCode;
  }
}

function pathOf(path) {
  if (path !== undefined && typeof path !== 'string') throw new Refusal(CODES.arguments, 'path must be a text');
  const asked = path || '/';
  // `//host` and `https://host` would lead elsewhere.
  if (asked.charAt(0) !== '/' || asked.charAt(1) === '/' || asked.indexOf('\\') >= 0) {
    throw new Refusal(CODES.path, `path ${asked} must begin with one /`);
  }
  return asked;
}

/** `init({env})` takes a text, or one for each service. */
function envOf(env) {
  return env && typeof env === 'object' ? env.default : env;
}

/** The code in one of weappd's own errors. */
const errorCode = (body) => (body && body.error ? body.error.code : undefined);

const saysWeappd = (body) => errorCode(body) === 'login_required'
  || Boolean(body && body.error === 'ERR_SKEY_INVALID');

function within(ms, work) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Refusal(CODES.timeout, `no answer within ${ms} ms`)), ms);
    const end = (deed) => (value) => {
      clearTimeout(timer);
      deed(value);
    };
    work.then(end(resolve), end(reject));
  });
}

/** As every call of wx ends: a promise without callbacks; else success or fail, then complete. */
function settle(api, options, work) {
  const { success, fail, complete } = options || {};
  const about = { callID: localId() };
  const done = new Promise((resolve) => {
    if (!options || typeof options !== 'object') throw new Refusal(CODES.arguments, 'give an object');
    resolve(work(about));
  }).then(
    (result) => ({ ok: true, result: Object.assign(result, { errMsg: `${api}:ok`, callID: about.callID }) }),
    (error) => ({ ok: false, result: failure(api, error, about.callID) }),
  );
  if (!success && !fail && !complete) {
    return done.then(({ ok, result }) => {
      if (ok) return result;
      throw Object.assign(new Error(result.errMsg), result);
    });
  }
  done.then(({ ok, result }) => {
    [ok ? success : fail, complete].forEach((callback) => {
      if (typeof callback !== 'function') return;
      try {
        callback(result);
      } catch (error) {
        setTimeout(() => { throw error; });
      }
    });
  });
  return undefined;
}

function failure(api, error, callID) {
  let { errCode } = error;
  if (errCode === undefined) errCode = error.code === 'timeout' ? CODES.timeout : -1;
  if (error instanceof WeappdError && error.code === 'login_failed') errCode = CODES.path;
  return { errCode, errMsg: `${api}:fail errCode: ${errCode} errMsg: ${error.message} (callId: ${callID})`, callID };
}

/** Until the server gives one. */
function localId() {
  return `${Date.now().toString(16)}-${Math.random().toString(16).slice(2, 14)}`;
}

module.exports = { createCloud, install, LIMITS };
