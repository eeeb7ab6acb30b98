// The sockets of `wx`: SocketTask, and the older calls that mean the newest socket. No DOM.

import { Fail, guarded, settle } from './wx-calls.js';

const MAX_SOCKETS = 5;

export function sockets(phone) {
  const open = new Set();
  // The old global calls mean the newest socket; each keeps one listener, as WeChat does.
  const listeners = { open: null, message: null, close: null, error: null };
  let newest = null;

  function connectSocket(options = {}) {
    if (open.size >= MAX_SOCKETS) {
      settle('connectSocket', withCallback(options), async () => {
        throw new Fail(`exceed max socket count ${MAX_SOCKETS}`);
      });
      return undefined;
    }
    let socket;
    try {
      socket = new phone.WebSocket(options.url, options.protocols || []);
    } catch {
      settle('connectSocket', withCallback(options), async () => {
        throw new Fail(`invalid url "${options.url}"`);
      });
      return undefined;
    }
    const made = socketTask(socket, (kind, event) => {
      if (kind === 'close') open.delete(made);
      if (made === newest) guarded(listeners[kind], event);
    });
    open.add(made);
    newest = made;
    settle('connectSocket', withCallback(options), async () => ({ socketTaskId: open.size }));
    return made;
  }

  const newestDoes = (api, options, act) => {
    if (newest) return act(newest);
    return settle(api, withCallback(options), async () => {
      throw new Fail('WebSocket is not connected');
    });
  };
  return {
    connectSocket,
    sendSocketMessage: (options = {}) => newestDoes('sendSocketMessage', options, (one) => one.send(options)),
    closeSocket: (options = {}) => newestDoes('closeSocket', options, (one) => one.close(options)),
    onSocketOpen: (f) => { listeners.open = f; },
    onSocketMessage: (f) => { listeners.message = f; },
    onSocketClose: (f) => { listeners.close = f; },
    onSocketError: (f) => { listeners.error = f; },
  };
}

/** One socket as WeChat's SocketTask; `tell` hears what the task's own listeners hear. */
function socketTask(socket, tell) {
  const listeners = { open: new Set(), message: new Set(), close: new Set(), error: new Set() };
  const heard = (kind, event) => {
    listeners[kind].forEach((f) => guarded(f, event));
    tell(kind, event);
  };
  socket.binaryType = 'arraybuffer';
  socket.onopen = () => heard('open', { header: {} });
  socket.onmessage = (event) => heard('message', { data: event.data });
  socket.onerror = () => heard('error', { errMsg: 'connectSocket:fail the connection broke or was refused' });
  socket.onclose = (event) => heard('close', { code: event.code, reason: event.reason });
  const made = {
    CONNECTING: 0, OPEN: 1, CLOSING: 2, CLOSED: 3,
    get readyState() { return socket.readyState; },
    send: (options = {}) => settle('sendSocketMessage', withCallback(options), async () => {
      if (socket.readyState !== 1) throw new Fail('WebSocket is not connected');
      socket.send(options.data);
      return {};
    }),
    close: (options = {}) => settle('closeSocket', withCallback(options), async () => {
      if (socket.readyState > 1) throw new Fail('WebSocket is not connected');
      // Other codes than 1000 and 3000 to 4999 are not ours to send.
      const code = options.code === 1000 || options.code >= 3000 ? options.code : 1000;
      socket.close(code, options.reason || '');
      return {};
    }),
  };
  for (const kind of Object.keys(listeners)) {
    const name = kind[0].toUpperCase() + kind.slice(1);
    made[`on${name}`] = (f) => listeners[kind].add(f);
    made[`off${name}`] = (f) => listeners[kind].delete(f);
  }
  return made;
}

// Socket calls never give promises: old client code ignores what they return.
const withCallback = (options) => ({ ...options, complete: options.complete || (() => {}) });
