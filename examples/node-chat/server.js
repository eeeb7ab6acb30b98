// A chat room for a mini program in plain Node: `weappd` keeps it alive, knows who calls
// and holds the WebSockets; this server only decides who hears what.
'use strict';

const crypto = require('crypto');
const http = require('http');

// What weappd tells every app.
const { PORT, WEAPPD_INTERNAL_URL, WEAPPD_SERVER_HOST, WEAPPD_TUNNEL_KEY } = process.env;

const expected = new Map(); // tunnelId -> person: has asked for a tunnel
const here = new Map(); // tunnelId -> person: is connected

const hash = (name, text) => crypto.createHash(name).update(text, 'utf8').digest('hex');
const sign = (data) => hash('sha1', data + WEAPPD_TUNNEL_KEY);

// Asks weappd's tunnel service, as every Wafer business server does.
async function ask(path, params) {
  const data = JSON.stringify(params);
  const answer = await fetch(WEAPPD_INTERNAL_URL + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      data, tcId: hash('md5', WEAPPD_SERVER_HOST), tcKey: WEAPPD_TUNNEL_KEY, signature: sign(data),
    }),
  }).then((response) => response.json());
  if (answer.code !== 0) throw new Error(`${path}: ${answer.code} ${answer.message}`);
  return answer.data;
}

// One push after the other: concurrent ones could overtake each other.
let pushes = Promise.resolve();
function push(packet) {
  pushes = pushes
    .then(() => ask('/ws/push', [packet]))
    .then((data) => (data && data.invalidTunnelIds || []).forEach(leave))
    .catch((error) => console.error(error.message));
}
const tellAll = (type, content) => push({ type: 'message', tunnelIds: [...here.keys()], content: JSON.stringify({ type, content }) });

function enter(tunnelId) {
  if (here.has(tunnelId)) return;
  const person = expected.get(tunnelId);
  if (!person) return push({ type: 'close', tunnelIds: [tunnelId] });
  expected.delete(tunnelId);
  here.set(tunnelId, person);
  console.log(`enter ${person.nickName}`);
  tellAll('people', { total: here.size, enter: person });
}

function leave(tunnelId) {
  expected.delete(tunnelId);
  const person = here.get(tunnelId);
  if (here.delete(tunnelId)) tellAll('people', { total: here.size, leave: person });
}

function hear(tunnelId, text) {
  const who = here.get(tunnelId);
  if (!who) return push({ type: 'close', tunnelIds: [tunnelId] });
  let said = {};
  try { said = JSON.parse(text) || {}; } catch { /* not a message of ours */ }
  const word = said.type === 'speak' && said.content && said.content.word;
  if (typeof word === 'string') tellAll('speak', { who, word: word.slice(0, 500) });
}

// GET /weapp/tunnel: a phone wants a tunnel. weappd says who it is. (/tunnel is the same for
// old clients, in the words of Wafer 1.)
const NO_SESSION = { 'F2C224D4-2BCE-4C64-AF9F-A6D872000D1A': 1, error: 'ERR_INVALID_SESSION', message: 'log in again' };
async function open(request) {
  const { 'x-wx-openid': openId, 'x-wx-id': id, 'x-wx-skey': skey } = request.headers;
  const path = request.url.split('?')[0];
  if (!openId) return path === '/tunnel' ? [200, NO_SESSION] : [401, { code: -1, error: 'ERR_SKEY_INVALID' }];
  const user = await askUser(id ? { 'x-wx-id': id, 'x-wx-skey': skey } : { 'x-wx-skey': skey });
  const { nickName = '微信用户', avatarUrl = '' } = user;
  const receiveUrl = `http://${WEAPPD_SERVER_HOST}${path}`;
  const tunnel = JSON.parse(await ask('/get/wsurl', { receiveUrl, protocolType: 'wss' }));
  expected.set(tunnel.tunnelId, { openId, nickName, avatarUrl });
  setTimeout(() => expected.delete(tunnel.tunnelId), 120000).unref();
  return [200, path === '/tunnel' ? { url: tunnel.connectUrl } : { code: 0, data: tunnel }];
}

async function askUser(headers) {
  const answer = await fetch(`${WEAPPD_INTERNAL_URL}/weapp/user`, { headers });
  const { code, data, error } = await answer.json();
  if (code !== 0) throw new Error(`who is it? ${error}`);
  return data;
}

// POST /weapp/tunnel: something happened in a tunnel.
async function callback(request) {
  let body = '';
  for await (const part of request.setEncoding('utf8')) body += part;
  const { data, signature } = JSON.parse(body);
  if (signature !== sign(data)) return [400, { code: 9003, message: 'the signature does not fit' }];
  const { tunnelId, type, content } = JSON.parse(data);
  if (type === 'connect') enter(tunnelId);
  if (type === 'message') hear(tunnelId, content);
  if (type === 'close') leave(tunnelId);
  return [200, { code: 0, message: 'ok' }];
}

const routes = { 'GET /weapp/tunnel': open, 'POST /weapp/tunnel': callback, 'GET /tunnel': open, 'POST /tunnel': callback };
http.createServer(async (request, response) => {
  const route = routes[`${request.method} ${request.url.split('?')[0]}`] || (() => [404, { code: 404 }]);
  const [status, body] = await Promise.resolve(request).then(route).catch((error) => [500, { code: 1, error: error.message }]);
  response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
}).listen(PORT, '127.0.0.1', () => console.log(`the chat room is open on ${PORT}`));
