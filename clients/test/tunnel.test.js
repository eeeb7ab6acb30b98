'use strict';

const test = require('node:test');
const assert = require('node:assert');
const { Client } = require('..');
const { fakeWx, fakeWeappd, until } = require('./fake-wx.js');

// A time-out only where a test waits for it: a busy machine may stand still for longer.
const FAST = { firstPause: 1, longestPause: 4, connectTimeout: 30000 };

/** A tunnel whose sockets do what `onSocket` says; `events` is all it told. */
function start(onSocket, options) {
  let opened = 0;
  const weappd = fakeWeappd((path, asked, known) => {
    if (path !== '/weapp/tunnel' || !known) return null;
    opened += 1;
    return { statusCode: 200, data: { code: 0, data: { tunnelId: `t${opened}`, connectUrl: `wss://a.example/${opened}` } } };
  });
  const wx = fakeWx(weappd.answer, { onSocket });
  const tunnel = new Client({ wx, url: 'https://a.example' }).tunnel({ ...FAST, ...options });
  const events = [];
  tunnel.on('*', (type, content) => events.push([type, content]));
  const names = () => events.map(([type]) => type);
  return { wx, weappd, tunnel, events, names, has: (name) => until(() => names().includes(name), name) };
}

const healthy = (socket) => { socket.open(); socket.say('timeout:15'); };

test('it connects, pings at once, and hears messages under their type', async (t) => {
  const { wx, tunnel, events, has } = start(healthy);
  t.after(() => tunnel.close());
  let statusThen;
  tunnel.on('connect', () => { statusThen = tunnel.status; });
  tunnel.open();
  assert.strictEqual(tunnel.emit('early', 1), true);
  await has('connect');
  assert.strictEqual(statusThen, 'ACTIVE');
  assert.strictEqual(tunnel.tunnelId, 't1');
  const [socket] = wx.sockets;
  assert.strictEqual(socket.options.url, 'wss://a.example/1');
  await until(() => socket.sent.length === 2);
  assert.deepStrictEqual(socket.sent, ['message:{"type":"early","content":1}', 'ping']);
  socket.say('message:{"type":"speak","content":{"word":"a:b"}}');
  socket.say('message:{"type":"close","content":1}');
  assert.deepStrictEqual(events.slice(-2), [['speak', { word: 'a:b' }], ['@close', 1]]);
  assert.strictEqual(tunnel.status, 'ACTIVE');
});

test('a second timeout changes the rhythm and nothing else', async (t) => {
  const { wx, tunnel, names, has } = start(healthy);
  t.after(() => tunnel.close());
  tunnel.open();
  await has('connect');
  wx.sockets[0].say('timeout:0.02');
  wx.sockets[0].say('timeout:0.02');
  const begun = Date.now();
  const pongs = setInterval(() => wx.sockets[0].say('pong'), 5);
  const pings = () => wx.sockets[0].sent.filter((text) => text === 'ping').length;
  await until(() => pings() >= 10);
  clearInterval(pongs);
  assert.deepStrictEqual(names(), ['connect']);
  // Three at once, then one every 20 ms: two rhythms side by side would take half the time.
  const least = (10 - 3) * 20;
  assert.ok(Date.now() - begun >= least * 0.8, `${pings()} pings in ${Date.now() - begun} ms`);
});

test('nonsense is dropped and told, not thrown', async (t) => {
  const { wx, tunnel, names, has } = start(healthy);
  t.after(() => tunnel.close());
  tunnel.open();
  await has('connect');
  for (const text of ['message:null', 'message:x', 'message:', 'message:[]', 'message:{"type":1}']) {
    wx.sockets[0].say(text);
  }
  for (const text of ['ping', 'later:1', '', 'timeout:x', new ArrayBuffer(4)]) wx.sockets[0].say(text);
  assert.deepStrictEqual(names().slice(1), ['error', 'error', 'error', 'error', 'error']);
  assert.strictEqual(tunnel.status, 'ACTIVE');
});

test('a broken wire is mended, and what was said meanwhile follows in order', async (t) => {
  const { wx, tunnel, names, has } = start(healthy);
  t.after(() => tunnel.close());
  tunnel.open();
  await has('connect');
  const [old] = wx.sockets;
  old.break();
  assert.strictEqual(tunnel.status, 'RECONNECTING');
  tunnel.emit('a', 1);
  tunnel.emit('b', 2);
  await has('reconnect');
  assert.deepStrictEqual(names(), ['connect', 'reconnecting', 'reconnect']);
  assert.strictEqual(tunnel.tunnelId, 't2');
  await until(() => wx.sockets[1].sent.length === 3);
  assert.deepStrictEqual(wx.sockets[1].sent.slice(0, 2), [
    'message:{"type":"a","content":1}', 'message:{"type":"b","content":2}',
  ]);
  // The old socket has more to say, but nobody hears it.
  old.say('close');
  old.break();
  assert.strictEqual(tunnel.status, 'ACTIVE');
});

test('a refused handshake is no dead end, nor is a tunnel that is refused', async (t) => {
  let refuse = 0;
  const { wx, tunnel, names, has } = start((socket, number) => {
    if (number > 1 && number < 4) socket.options.fail({ errMsg: 'connectSocket:fail 404' });
    else if (number === 4) socket.on.Error({ errMsg: 'boom' });
    else healthy(socket);
  });
  t.after(() => tunnel.close());
  wx.request = ((request) => (options) => {
    if (options.url.endsWith('/weapp/tunnel') && refuse > 0) {
      refuse -= 1;
      setImmediate(() => options.success({ statusCode: 200, header: {}, data: { code: -1, error: 'full' } }));
      return {};
    }
    return request(options);
  })(wx.request);
  tunnel.open();
  await has('connect');
  refuse = 1;
  wx.sockets[0].break(1001);
  await has('reconnect');
  assert.deepStrictEqual(names(), ['connect', 'reconnecting', 'error', 'error', 'error', 'error', 'reconnect']);
  assert.strictEqual(wx.sockets.length, 5);
});

test('a server that takes connections and drops them is given up, with pauses', async () => {
  const { wx, tunnel, events, has } = start((socket) => { socket.open(); socket.break(1008); }, { tries: 3 });
  tunnel.open();
  await has('close');
  assert.deepStrictEqual(events[events.length - 1], ['close', { reason: 'gave_up' }]);
  assert.strictEqual(wx.sockets.length, 4);
  assert.strictEqual(tunnel.status, 'CLOSED');
  assert.strictEqual(tunnel.emit('x'), false);
});

test('a tunnel that worked may break as often as it will', async (t) => {
  const { wx, tunnel, names } = start(healthy, { tries: 1 });
  t.after(() => tunnel.close());
  tunnel.open();
  for (let time = 1; time <= 4; time += 1) {
    await until(() => wx.sockets.length === time && tunnel.status === 'ACTIVE');
    await until(() => wx.sockets[time - 1].sent.includes('ping'));
    wx.sockets[time - 1].break();
  }
  await until(() => tunnel.status === 'ACTIVE');
  assert.ok(!names().includes('close'));
});

test('the packet close is the end', async () => {
  const { wx, tunnel, events, has } = start(healthy);
  tunnel.open();
  await has('connect');
  wx.sockets[0].say('close');
  assert.deepStrictEqual(events[events.length - 1], ['close', { reason: 'server' }]);
  wx.sockets[0].break(1000);
  await new Promise((resolve) => { setTimeout(resolve, 30); });
  assert.strictEqual(wx.sockets.length, 1);
  assert.deepStrictEqual(wx.hooks, {});
  tunnel.open();
  await until(() => wx.sockets.length === 2, 'it can be opened again');
  tunnel.close();
});

test('closing says so, once, and is heard', async () => {
  const { wx, tunnel, names, has } = start(healthy);
  tunnel.open();
  await has('connect');
  tunnel.close();
  tunnel.close();
  const [socket] = wx.sockets;
  await until(() => socket.closed);
  assert.strictEqual(socket.sent[socket.sent.length - 1], 'close');
  assert.deepStrictEqual(names(), ['connect', 'close']);
});

test('closing while it connects leaves nothing behind', async () => {
  const { wx, tunnel, names } = start(() => {});
  tunnel.open();
  tunnel.close();
  await new Promise((resolve) => { setTimeout(resolve, 100); });
  assert.deepStrictEqual([names(), wx.sockets.length], [['close'], 0]);
});

test('a socket that never opens and a server that falls silent are both left', async (t) => {
  const { wx, tunnel, names, has } = start((socket, number) => {
    if (number === 2) { socket.open(); socket.say('timeout:0.01'); }
    if (number > 2) healthy(socket);
  }, { connectTimeout: 50 });
  t.after(() => tunnel.close());
  tunnel.open();
  await has('reconnect');
  assert.deepStrictEqual(names(), ['error', 'connect', 'reconnecting', 'reconnect']);
  assert.ok(wx.sockets[0].closed && wx.sockets[1].closed);
});

test('a message that did not leave is the first of the next connection', async (t) => {
  const { wx, tunnel, has } = start(healthy);
  t.after(() => tunnel.close());
  tunnel.open();
  await has('connect');
  wx.sockets[0].broken = true;
  tunnel.emit('a', 1);
  await has('reconnect');
  await until(() => wx.sockets[1].sent.includes('message:{"type":"a","content":1}'));
});

test('back on screen, a dead wire is found out soon, a waiting try made now', async (t) => {
  const { wx, tunnel, has } = start((socket, number) => {
    if (number === 2) socket.options.fail({ errMsg: 'no network' });
    else healthy(socket);
  }, { firstPause: 60000, longestPause: 60000 });
  t.after(() => tunnel.close());
  tunnel.open();
  await has('connect');
  const before = wx.sockets[0].sent.length;
  wx.hooks.show();
  assert.deepStrictEqual(wx.sockets[0].sent.slice(before), ['ping']);
  wx.sockets[0].break();
  wx.hooks.network({ isConnected: false });
  assert.strictEqual(tunnel.status, 'RECONNECTING');
  wx.hooks.network({ isConnected: true });
  await has('error');
  wx.hooks.show();
  await has('reconnect');
});

test('what cannot be sent or kept is refused', async () => {
  const { tunnel } = start(() => {}, { maxQueue: 1 });
  assert.strictEqual(tunnel.emit('a'), false, 'not open');
  tunnel.open();
  assert.strictEqual(tunnel.emit('a'), true);
  assert.strictEqual(tunnel.emit('b'), false);
  assert.throws(() => tunnel.emit('c', '好'.repeat(11000)), { code: 'too_long' });
  tunnel.close();
});

test('a listener may close it', async () => {
  const { wx, tunnel, names, has } = start(healthy);
  tunnel.on('connect', () => tunnel.close());
  tunnel.open();
  tunnel.emit('queued');
  await has('connect');
  assert.deepStrictEqual(names(), ['close', 'connect'], 'in the order of the listeners');
  assert.ok(!wx.sockets[0].sent.some((text) => text.includes('queued')));
  assert.strictEqual(tunnel.status, 'CLOSED');
});

test('the Wafer 1 answer opens a tunnel too', async (t) => {
  const weappd = fakeWeappd((path) => (path === '/tunnel' ? { statusCode: 200, data: { url: 'wss://a.example/w1' } } : null));
  const wx = fakeWx(weappd.answer, { onSocket: healthy });
  const tunnel = new Client({ wx, url: 'https://a.example' }).tunnel('/tunnel');
  t.after(() => tunnel.close());
  tunnel.open();
  await until(() => tunnel.status === 'ACTIVE');
  assert.strictEqual(wx.sockets[0].options.url, 'wss://a.example/w1');
});
