// The `wx` a mini program sees, over fetch and WebSocket: no DOM, so it also runs in Node.
//
// Faithful where client code can tell: callbacks come later, never during the call; `success`
// or `fail`, then `complete`; every result carries `errMsg` in WeChat's words; any HTTP status
// is a success of wx.request. Without callbacks most calls give a promise, as base library
// 2.10.2 and later do.
//
// `wx.owner` is no part of WeChat: it is what the person holding the phone does.

import { Fail, settle } from './wx-calls.js';
import { sockets } from './wx-sockets.js';

const DEFAULT_TIMEOUT_MS = 60000;

/**
 * @param {object} parts
 * @param {string} parts.user           whose phone: [a-z0-9_-]{1,32}
 * @param {string} parts.wechatUrl      the simulated WeChat
 * @param {string} [parts.storagePrefix]
 * @param {Storage} [parts.storage]     getItem/setItem/removeItem/key/length; localStorage, or memory
 * @param {Function} [parts.fetch]
 * @param {Function} [parts.WebSocket]
 * @param {(toast: {title: string}) => void} [parts.onToast]
 * @param {() => Promise<Blob[]>} [parts.pickImages]  what wx.chooseImage gives
 * @param {string} [parts.referrer]     the Referer of every request; phones send one of WeChat's
 * @param {() => string} [parts.language]  the Accept-Language of every request
 */
export function createWx(parts) {
  const phone = {
    user: parts.user,
    wechatUrl: parts.wechatUrl.replace(/\/+$/, ''),
    fetch: parts.fetch || ((...args) => globalThis.fetch(...args)),
    WebSocket: parts.WebSocket || globalThis.WebSocket,
    referrer: parts.referrer,
    language: parts.language || (() => ''),
    files: createFiles(),
    mayShare: true,
  };
  return {
    ...identity(phone),
    ...network(phone),
    ...sockets(phone),
    ...storage(parts.storage || defaultStorage(), parts.storagePrefix || `wx:${parts.user}:`),
    ...screen(phone, parts),
    owner: owner(phone),
  };
}

// ---- who the user is -----------------------------------------------------------------------

function identity(phone) {
  const profile = (api, options, withCredentials) => settle(api, options, async () => {
    const got = await ask(phone, 'user_info', {});
    if (!got.userInfo) throw new Fail(reasonOf(got.errMsg, 'auth deny'));
    const { userInfo, rawData, signature, encryptedData, iv } = got;
    return withCredentials === false
      ? { userInfo, rawData }
      : { userInfo, rawData, signature, encryptedData, iv };
  });
  return {
    login: (options = {}) => settle('login', options, async () => {
      const { code, errMsg } = await ask(phone, 'login', {});
      if (!code) throw new Fail(reasonOf(errMsg, 'no code'));
      return { code };
    }),
    checkSession: (options = {}) => settle('checkSession', options, async () => {
      const { valid } = await ask(phone, 'check_session', {});
      if (!valid) throw new Fail('session_key expired');
      return {};
    }),
    getUserInfo: (options = {}) => profile('getUserInfo', options, options.withCredentials),
    getUserProfile: (options = {}) => profile('getUserProfile', options, true),
    getSetting: (options = {}) => settle('getSetting', options, async () => (
      { authSetting: { 'scope.userInfo': phone.mayShare } }
    )),
    authorize: (options = {}) => settle('authorize', options, async () => {
      if (!phone.mayShare) throw new Fail('auth deny');
      return {};
    }),
  };
}

/** What the person holding the phone does; a mini program cannot. */
function owner(phone) {
  return {
    /** Answers WeChat's question whether the mini program may see the profile. */
    async authorize(allow) {
      await ask(phone, 'authorize', { allow });
      phone.mayShare = allow;
    },
    /** Lets WeChat forget the session_key, as it does after some idle days. */
    expireSession: () => ask(phone, 'expire_session', {}),
    /** `{openid, nickName, avatarUrl, allows, ...}` as WeChat knows this user. */
    async about() {
      const about = await ask(phone, '', undefined);
      phone.mayShare = about.allows !== false;
      return about;
    },
  };
}

async function ask(phone, verb, body) {
  const url = `${phone.wechatUrl}/phone/${encodeURIComponent(phone.user)}${verb && '/'}${verb}`;
  try {
    const answer = await phone.fetch(url, body === undefined ? {} : {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
      credentials: 'omit',
    });
    if (!answer.ok) throw new Fail(`WeChat answered ${answer.status}`);
    return await answer.json();
  } catch (error) {
    if (error instanceof Fail) throw error;
    throw new Fail('WeChat is unreachable', { unreachable: true });
  }
}

const reasonOf = (errMsg, otherwise) => (errMsg || '').split(':fail ')[1] || otherwise;

// ---- request, upload, download -------------------------------------------------------------

function network(phone) {
  return {
    request(options) {
      const method = (options.method || 'GET').toUpperCase();
      return task(phone, 'request', options, async (signal) => {
        const { url, body, header } = encode(options, method);
        const answer = await phone.fetch(url, { ...plain(phone, signal), method, headers: spoken(phone, header), body });
        return { data: await decode(answer, options), ...headOf(answer), cookies: [] };
      });
    },

    uploadFile(options) {
      return task(phone, 'uploadFile', options, async (signal, progress) => {
        const { blob, name } = phone.files.find(options.filePath);
        const form = new FormData();
        for (const [key, value] of Object.entries(options.formData || {})) form.append(key, value);
        form.append(options.name || 'file', blob, name);
        const answer = await phone.fetch(checkedUrl(options.url), {
          ...plain(phone, signal), method: 'POST', headers: spoken(phone, sendable(options.header)), body: form,
        });
        progress({ progress: 100, totalBytesSent: blob.size, totalBytesExpectedToSend: blob.size });
        // The answer of an upload stays text: mini programs parse it themselves.
        return { data: await answer.text(), ...headOf(answer) };
      });
    },

    downloadFile(options) {
      return task(phone, 'downloadFile', options, async (signal, progress) => {
        const answer = await phone.fetch(checkedUrl(options.url), {
          ...plain(phone, signal), headers: spoken(phone, sendable(options.header)),
        });
        const blob = await answer.blob();
        progress({ progress: 100, totalBytesWritten: blob.size, totalBytesExpectedToWrite: blob.size });
        const tempFilePath = phone.files.keep(blob, nameOf(options.url));
        return { tempFilePath, dataLength: blob.size, ...headOf(answer) };
      });
    },
  };
}

/** Starts a call that can be aborted and times out; gives WeChat's RequestTask. */
function task(phone, api, options, work) {
  const control = new AbortController();
  const watchers = { headers: new Set(), progress: new Set() };
  let over = '';
  const end = (why) => { over = over || why; control.abort(); };
  const timer = setTimeout(() => end('timeout'), options.timeout || DEFAULT_TIMEOUT_MS);
  // Callbacks are given even when the mini program gave none: a task is no promise.
  const heard = { ...options, complete: options.complete || (() => {}) };
  settle(api, heard, async () => {
    try {
      const result = await work(control.signal, (at) => watchers.progress.forEach((f) => f(at)));
      watchers.headers.forEach((f) => f({ header: result.header }));
      return result;
    } catch (error) {
      if (over) throw new Fail(over);
      if (error instanceof Fail) throw error;
      throw new Fail('the server is unreachable', { unreachable: true });
    } finally {
      clearTimeout(timer);
    }
  });
  return {
    abort: () => end('abort'),
    onHeadersReceived: (f) => watchers.headers.add(f),
    offHeadersReceived: (f) => watchers.headers.delete(f),
    onProgressUpdate: (f) => watchers.progress.add(f),
    offProgressUpdate: (f) => watchers.progress.delete(f),
  };
}

const plain = ({ referrer }, signal) => ({
  signal, credentials: 'omit', cache: 'no-store',
  ...(referrer ? { referrer, referrerPolicy: 'same-origin' } : {}),
});

/** With the language of the phone, where the mini program names none. */
function spoken(phone, header) {
  const language = phone.language();
  const isNamed = Object.keys(header).some((name) => name.toLowerCase() === 'accept-language');
  return language && !isNamed ? { ...header, 'Accept-Language': language } : header;
}

function headOf(answer) {
  return { statusCode: answer.status, header: Object.fromEntries(answer.headers.entries()) };
}

/** Data goes into the query of a GET, and into the body of anything else. */
function encode(options, method) {
  const header = sendable(options.header);
  const url = checkedUrl(options.url);
  const { data } = options;
  if (data === undefined || data === null || data === '') return { url, header };
  if (method === 'GET' || method === 'HEAD') {
    const query = typeof data === 'string' ? data : new URLSearchParams(data).toString();
    return { url: query ? `${url}${url.includes('?') ? '&' : '?'}${query}` : url, header };
  }
  const named = Object.keys(header).find((name) => name.toLowerCase() === 'content-type');
  if (!named) header['content-type'] = 'application/json';
  if (typeof data === 'string' || data instanceof ArrayBuffer || ArrayBuffer.isView(data)) {
    return { url, header, body: data };
  }
  const asForm = /x-www-form-urlencoded/.test(header[named] || '');
  return { url, header, body: asForm ? new URLSearchParams(data).toString() : JSON.stringify(data) };
}

async function decode(answer, options) {
  if (options.responseType === 'arraybuffer') return answer.arrayBuffer();
  const text = await answer.text();
  if ((options.dataType || 'json') !== 'json') return text;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}

/** WeChat sends every header as text and never a Referer of the mini program's choosing. */
function sendable(header) {
  const kept = Object.entries(header || {})
    .filter(([name, value]) => name.toLowerCase() !== 'referer' && value !== undefined && value !== null);
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]));
}

function checkedUrl(url) {
  if (!/^https?:\/\//i.test(String(url))) throw new Fail(`invalid url "${url}"`);
  return String(url);
}

const nameOf = (url) => decodeURIComponent(String(url).split(/[?#]/)[0].split('/').pop() || 'file');

/** Temporary files: what a path of this phone stands for. */
function createFiles() {
  const kept = new Map();
  let count = 0;
  const keep = (blob, name) => {
    count += 1;
    const path = typeof URL.createObjectURL === 'function'
      ? URL.createObjectURL(blob)
      : `wxfile:tmp_${count}`;
    kept.set(path, { blob, name: blob.name || name || `tmp_${count}` });
    return path;
  };
  const find = (file) => {
    if (file instanceof Blob) return { blob: file, name: file.name || 'file' };
    if (file && file.path) return find(file.path);
    const found = kept.get(file);
    if (!found) throw new Fail(`file not found "${file}"`);
    return found;
  };
  return { keep, find };
}

// ---- storage -------------------------------------------------------------------------------

function storage(store, prefix) {
  const keys = () => {
    const all = [];
    for (let at = 0; at < store.length; at += 1) all.push(store.key(at));
    return all.filter((key) => key.startsWith(prefix)).map((key) => key.slice(prefix.length));
  };
  const sync = {
    setStorageSync: (key, data) => store.setItem(prefix + key, JSON.stringify({ data })),
    getStorageSync: (key) => {
      const text = store.getItem(prefix + key);
      return text === null ? '' : JSON.parse(text).data;
    },
    removeStorageSync: (key) => store.removeItem(prefix + key),
    clearStorageSync: () => keys().forEach((key) => store.removeItem(prefix + key)),
    getStorageInfoSync: () => ({ keys: keys(), currentSize: 0, limitSize: 10240 }),
  };
  return {
    ...sync,
    setStorage: (options) => settle('setStorage', options, () => sync.setStorageSync(options.key, options.data)),
    getStorage: (options) => settle('getStorage', options, () => {
      if (!keys().includes(options.key)) throw new Fail('data not found');
      return { data: sync.getStorageSync(options.key) };
    }),
    removeStorage: (options) => settle('removeStorage', options, () => sync.removeStorageSync(options.key)),
    clearStorage: (options) => settle('clearStorage', options, () => sync.clearStorageSync()),
    getStorageInfo: (options) => settle('getStorageInfo', options, () => sync.getStorageInfoSync()),
  };
}

/** The browser's storage, or memory where there is none or it is forbidden. */
function defaultStorage() {
  try {
    if (globalThis.localStorage) return globalThis.localStorage;
  } catch { /* forbidden: memory, then */ }
  const kept = new Map();
  return {
    get length() { return kept.size; },
    key: (at) => [...kept.keys()][at],
    getItem: (key) => (kept.has(key) ? kept.get(key) : null),
    setItem: (key, text) => { kept.set(key, text); },
    removeItem: (key) => { kept.delete(key); },
  };
}

// ---- screen --------------------------------------------------------------------------------

function screen(phone, parts) {
  return {
    showToast: (options = {}) => settle('showToast', options, () => (parts.onToast || (() => {}))(options)),
    hideToast: (options = {}) => settle('hideToast', options, () => (parts.onToast || (() => {}))({ title: '' })),
    chooseImage: (options = {}) => settle('chooseImage', options, async () => {
      const blobs = parts.pickImages ? await parts.pickImages() : [];
      if (!blobs.length) throw new Fail('cancel');
      const tempFiles = blobs.map((blob) => ({ path: phone.files.keep(blob), size: blob.size }));
      return { tempFiles, tempFilePaths: tempFiles.map(({ path }) => path) };
    }),
  };
}
