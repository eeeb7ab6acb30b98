// A tunnel: a WebSocket that comes back by itself. The packets are those of weappd's
// docs/wire/tunnel.md, the events those of the Wafer clients.
//
// Every connection has a number (`turn`). What an older connection still says is not heard:
// that is how the old clients came to reconnect twice, or never again.
'use strict';

const { WeappdError } = require('./errors.js');
const { utf8Length } = require('./bytes.js');

const STATUS = {
  CLOSED: 'CLOSED',
  CONNECTING: 'CONNECTING',
  ACTIVE: 'ACTIVE',
  RECONNECTING: 'RECONNECTING',
};

/** Names of events of our own; a message of that type is heard as `@connect` and so on. */
const RESERVED = ['connect', 'close', 'reconnecting', 'reconnect', 'error'];

const DEFAULTS = {
  path: '/weapp/tunnel',
  tries: 10, // in a row, before it is closed for good
  firstPause: 1000, // ms; doubles with every try
  longestPause: 15000,
  connectTimeout: 10000, // ms until the socket must be open
  heartbeat: 15000, // ms, until the server says `timeout:`
  maxQueue: 64, // packets that wait for a connection
  maxMessageBytes: 32 * 1024, // what weappd takes; a longer one would cost the connection
};

class Tunnel {
  constructor(client, options) {
    this.client = client;
    this.config = Object.assign({}, DEFAULTS, options);
    this.status = STATUS.CLOSED;
    this.tunnelId = null;
    this.listeners = {};
    this.queue = [];
    this.turn = 0;
    this.tried = 0;
    this.socket = null;
    this.timers = {};
    this.hooks = [];
  }

  /** Hears events: `connect`, `reconnecting`, `reconnect`, `close`, `error`, `*`, or a
   * message's type. */
  on(type, listener) {
    (this.listeners[type] = this.listeners[type] || []).push(listener);
    return this;
  }

  off(type, listener) {
    this.listeners[type] = (this.listeners[type] || []).filter((one) => one !== listener);
    return this;
  }

  /** Connects, and stays connected until `close` or until every try failed. */
  open() {
    if (this.status !== STATUS.CLOSED) return this;
    this.status = STATUS.CONNECTING;
    this.tried = 0;
    this.watchPhone();
    this.attempt();
    return this;
  }

  /**
   * Sends a message, or keeps it until there is a connection. False if it can be neither
   * sent nor kept.
   */
  emit(type, content) {
    const text = JSON.stringify({ type, content });
    if (utf8Length(text) > this.config.maxMessageBytes) {
      throw new WeappdError('too_long', `a message has at most ${this.config.maxMessageBytes} bytes`);
    }
    if (this.status === STATUS.CLOSED) return false;
    const packet = `message:${text}`;
    if (this.status === STATUS.ACTIVE) {
      this.send(packet);
      return true;
    }
    if (this.queue.length >= this.config.maxQueue) return false;
    this.queue.push(packet);
    return true;
  }

  /** Hangs up for good. */
  close() {
    if (this.status === STATUS.CLOSED) return;
    const { socket } = this;
    if (socket && this.status === STATUS.ACTIVE) {
      const hangUp = () => quietly(() => socket.close({ code: 1000 }));
      quietly(() => socket.send({ data: 'close', success: hangUp, fail: hangUp }));
      this.socket = null;
    }
    this.end('client');
  }

  // ---- connecting --------------------------------------------------------------------------

  attempt() {
    const turn = this.nextTurn();
    // retries: the tunnel itself tries again, with pauses of its own.
    this.client.request({ path: this.config.path, retries: 0 }).then((answer) => {
      if (turn !== this.turn) return;
      const told = tunnelOf(answer);
      if (!told) {
        throw new WeappdError('no_tunnel', `${this.config.path} answered ${answer.statusCode} and no tunnel`, answer.data);
      }
      this.tunnelId = told.tunnelId;
      this.connect(told.connectUrl, turn);
    }).catch((error) => {
      if (turn === this.turn) this.failed(error);
    });
  }

  connect(url, turn) {
    const mine = (deed) => (event) => { if (turn === this.turn) deed(event || {}); };
    const failed = mine((event) => this.failed(new WeappdError('unreachable', event.errMsg || 'the socket failed', event)));
    this.later('connect', this.config.connectTimeout, () => failed({ errMsg: 'the socket took too long to open' }));
    // Set before the socket can speak: some platforms answer during the call.
    const socket = this.client.wx.connectSocket({ url, success() {}, fail: failed });
    if (!socket || !socket.onOpen) {
      failed({ errMsg: 'wx.connectSocket gave no SocketTask: base library 1.7.0 or later is needed' });
      return;
    }
    if (turn !== this.turn) {
      quietly(() => socket.close({}));
      return;
    }
    this.socket = socket;
    socket.onOpen(mine(() => this.opened()));
    socket.onMessage(mine((event) => this.heard(event.data)));
    socket.onError(failed);
    socket.onClose(mine((event) => {
      const words = `the socket was closed with ${event.code}${event.reason ? `: ${event.reason}` : ''}`;
      this.failed(new WeappdError('unreachable', words, event));
    }));
  }

  opened() {
    clearTimeout(this.timers.connect);
    const again = this.status === STATUS.RECONNECTING;
    this.status = STATUS.ACTIVE;
    this.missed = 0;
    this.beat(this.config.heartbeat);
    const { turn } = this;
    this.tell(again ? 'reconnect' : 'connect');
    // A listener may have closed the tunnel.
    while (turn === this.turn && this.queue.length) this.send(this.queue.shift());
  }

  /** The connection broke, or never came to be. */
  failed(error) {
    const wasActive = this.status === STATUS.ACTIVE;
    this.dropSocket();
    const turn = this.nextTurn();
    this.tried += 1;
    if (!wasActive) this.tell('error', error);
    if (turn !== this.turn) return; // a listener closed or reopened it
    if (this.tried > this.config.tries) {
      this.end('gave_up');
      return;
    }
    if (wasActive) {
      this.status = STATUS.RECONNECTING;
      this.tell('reconnecting', error);
      if (turn !== this.turn) return;
    }
    const { firstPause, longestPause } = this.config;
    const pause = Math.min(longestPause, firstPause * (2 ** (this.tried - 1)));
    // Not all phones at the same moment: a server that comes back shall stay.
    this.later('retry', pause * (0.5 + Math.random() / 2), () => this.attempt());
  }

  // ---- talking -----------------------------------------------------------------------------

  heard(text) {
    this.missed = 0;
    // Only a server that speaks ends a row of tries: one that takes connections and drops
    // them must not be tried without pause.
    this.tried = 0;
    clearTimeout(this.timers.probe);
    if (typeof text !== 'string') return;
    const colon = text.indexOf(':');
    const kind = colon < 0 ? text : text.slice(0, colon);
    const content = colon < 0 ? '' : text.slice(colon + 1);
    if (kind === 'timeout') this.timeout(Number(content));
    if (kind === 'message') this.message(content);
    if (kind === 'close') this.end('server');
  }

  timeout(secs) {
    if (!(secs > 0)) return;
    this.beat(secs * 1000);
    this.send('ping');
  }

  message(content) {
    let said;
    try {
      said = JSON.parse(content);
    } catch (notJson) {
      said = null;
    }
    if (!said || typeof said.type !== 'string') {
      this.tell('error', new WeappdError('bad_message', 'a message without a type was dropped', content));
      return;
    }
    this.tell(RESERVED.indexOf(said.type) < 0 ? said.type : `@${said.type}`, said.content);
  }

  send(packet) {
    const { turn, socket } = this;
    const fail = (result) => {
      if (turn !== this.turn) return;
      // It did not leave: first in line for the next connection.
      if (packet.indexOf('message:') === 0) this.queue.unshift(packet);
      this.failed(new WeappdError('unreachable', (result && result.errMsg) || 'the socket takes nothing', result));
    };
    try {
      socket.send({ data: packet, fail });
    } catch (error) {
      fail({ errMsg: error.message });
    }
  }

  /** Pings every `period` ms. Two in a row without a word back: the wire is dead. */
  beat(period) {
    clearInterval(this.timers.beat);
    this.timers.beat = setInterval(() => {
      this.missed += 1;
      if (this.missed > 2) this.failed(new WeappdError('unreachable', 'the server fell silent'));
      else this.send('ping');
    }, period);
  }

  // ---- the phone ---------------------------------------------------------------------------

  /** Back on screen or back on the network: find out now, not at the next beat. */
  watchPhone() {
    const { wx } = this.client;
    const hook = (name, listener) => {
      if (typeof wx[`on${name}`] !== 'function') return;
      wx[`on${name}`](listener);
      this.hooks.push(() => { if (typeof wx[`off${name}`] === 'function') wx[`off${name}`](listener); });
    };
    hook('AppShow', () => this.hurry());
    hook('NetworkStatusChange', (now) => { if (!now || now.isConnected !== false) this.hurry(); });
  }

  hurry() {
    if (this.status === STATUS.ACTIVE) {
      this.later('probe', 5000, () => this.failed(new WeappdError('unreachable', 'the wire was cut meanwhile')));
      this.send('ping');
    } else if (this.timers.retry) {
      this.tried = 0;
      this.attempt();
    }
  }

  // ---- ending ------------------------------------------------------------------------------

  end(reason) {
    this.nextTurn();
    this.dropSocket();
    this.queue = [];
    this.hooks.splice(0).forEach((unhook) => unhook());
    this.status = STATUS.CLOSED;
    this.tell('close', { reason });
  }

  dropSocket() {
    const { socket } = this;
    this.socket = null;
    if (socket) quietly(() => socket.close({ code: 1000 }));
  }

  /** From here on nothing counts that an older connection or timer has to say. */
  nextTurn() {
    Object.keys(this.timers).forEach((name) => {
      clearTimeout(this.timers[name]);
      clearInterval(this.timers[name]);
    });
    this.timers = {};
    this.turn += 1;
    return this.turn;
  }

  later(name, ms, deed) {
    clearTimeout(this.timers[name]);
    this.timers[name] = setTimeout(deed, ms);
  }

  tell(type, content) {
    (this.listeners[type] || []).slice().forEach((listener) => guarded(() => listener(content)));
    (this.listeners['*'] || []).slice().forEach((listener) => guarded(() => listener(type, content)));
  }
}

/** Wafer 2 answers `{code, data: {tunnelId, connectUrl}}`, Wafer 1 `{url}`. */
function tunnelOf({ statusCode, data }) {
  if (statusCode !== 200 || !data) return null;
  if (typeof data.url === 'string') return { tunnelId: null, connectUrl: data.url };
  const { connectUrl, tunnelId } = data.data || {};
  return data.code === 0 && typeof connectUrl === 'string' ? { tunnelId, connectUrl } : null;
}

/** A listener that throws is the mini program's affair, and nobody else's. */
function guarded(deed) {
  try {
    deed();
  } catch (error) {
    setTimeout(() => { throw error; });
  }
}

/** Sockets that are closed already may say so. */
function quietly(deed) {
  try {
    const said = deed();
    if (said && said.catch) said.catch(() => {});
  } catch (closedAlready) { /* that was the aim */ }
}

module.exports = { Tunnel };
