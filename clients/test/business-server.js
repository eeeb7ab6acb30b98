// A business server behind `weappd dev`: who calls, a tunnel that answers, a socket. Plain
// Node and `ws`.
'use strict';

const crypto = require('crypto');
const http = require('http');
const { WebSocketServer } = require('ws');

const { PORT, WEAPPD_INTERNAL_URL, WEAPPD_SERVER_HOST, WEAPPD_TUNNEL_KEY, CBR_ENV_ID } = process.env;
const hash = (name, text) => crypto.createHash(name).update(text, 'utf8').digest('hex');
const sign = (data) => hash('sha1', data + WEAPPD_TUNNEL_KEY);

const identity = ({ headers }) => ({
  openid: headers['x-wx-openid'] || null,
  appid: headers['x-wx-appid'] || null,
  source: headers['x-wx-source'] || null,
  env: headers['x-wx-env'] || null,
  callId: headers['x-wx-call-id'] || null,
  service: headers['x-wx-service'] || null,
  ownEnv: CBR_ENV_ID,
});

async function bodyOf(request) {
  let body = '';
  for await (const part of request.setEncoding('utf8')) body += part;
  return body;
}

async function ask(path, params) {
  const data = JSON.stringify(params);
  const response = await fetch(WEAPPD_INTERNAL_URL + path, {
    method: 'POST', body: JSON.stringify({ data, tcId: hash('md5', WEAPPD_SERVER_HOST), signature: sign(data) }),
  });
  const answer = await response.json();
  if (answer.code !== 0) throw new Error(`${path}: ${answer.message}`);
  return answer.data;
}

async function openTunnel(request) {
  const { openid } = identity(request);
  if (!openid) return [401, { code: -1, error: 'ERR_SKEY_INVALID' }];
  const receiveUrl = `http://${WEAPPD_SERVER_HOST}/weapp/tunnel`;
  return [200, { code: 0, data: JSON.parse(await ask('/get/wsurl', { receiveUrl, protocolType: 'wss' })) }];
}

/** Says `heard` to what is said, and closes at `bye`. */
async function callback(request) {
  const { data, signature } = JSON.parse(await bodyOf(request));
  if (signature !== sign(data)) return [400, { code: 9003, message: 'bad signature' }];
  const { tunnelId, type, content } = JSON.parse(data);
  const push = (packet) => ask('/ws/push', [{ tunnelIds: [tunnelId], ...packet }]).catch((e) => console.error(e.message));
  if (type === 'message') {
    const said = JSON.parse(content);
    if (said.type === 'bye') push({ type: 'close' });
    else push({ type: 'message', content: JSON.stringify({ type: 'heard', content: said.content }) });
  }
  return [200, { code: 0, message: 'ok' }];
}

const routes = {
  '/who': async (request) => [200, identity(request)],
  '/private': async (request) => (identity(request).openid ? [200, identity(request)] : [401, { error: 'who are you?' }]),
  '/echo': async (request) => [200, { method: request.method, body: await bodyOf(request) }],
  '/weapp/tunnel': (request) => (request.method === 'GET' ? openTunnel(request) : callback(request)),
};

const server = http.createServer((request, response) => {
  const route = routes[request.url.split('?')[0]] || (async () => [404, { error: 'nothing here' }]);
  route(request).catch((error) => [500, { error: error.message }]).then(([status, body]) => {
    response.writeHead(status, { 'content-type': 'application/json; charset=utf-8' }).end(JSON.stringify(body));
  });
});
const sockets = new WebSocketServer({ server, path: '/talk' });
sockets.on('connection', (socket, request) => {
  socket.send(JSON.stringify(identity(request)));
  socket.on('message', (text) => socket.send(`you said ${text}`));
});
server.listen(PORT, '127.0.0.1');
