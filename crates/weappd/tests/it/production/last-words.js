// A business server that writes down what it hears, one JSON line each, into heard.jsonl: the
// callbacks of its tunnels, and at SIGTERM what weappd answers to its own last calls.
// With MUTE=1 it never answers a `close`.
'use strict';

const crypto = require('crypto');
const fs = require('fs');
const http = require('http');

const { PORT, WEAPPD_INTERNAL_URL, WEAPPD_TUNNEL_KEY, WEAPPD_SERVER_HOST, MUTE } = process.env;
const note = (what) => fs.appendFileSync('heard.jsonl', `${JSON.stringify(what)}\n`);
const hash = (name, text) => crypto.createHash(name).update(text, 'utf8').digest('hex');

async function call(path, body) {
  const answer = await fetch(WEAPPD_INTERNAL_URL + path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  return answer.json();
}

const tunnelCall = (path, params) => {
  const data = JSON.stringify(params);
  return call(path, { data, tcId: hash('md5', WEAPPD_SERVER_HOST), signature: hash('sha1', data + WEAPPD_TUNNEL_KEY) });
};

const server = http.createServer(async (request, response) => {
  let body = '';
  for await (const part of request) body += part;
  const say = (answer) => response.setHeader('content-type', 'application/json').end(JSON.stringify(answer));
  if (request.method === 'GET') {
    const receiveUrl = `http://${WEAPPD_SERVER_HOST}${request.url}`;
    const { data } = await tunnelCall('/get/wsurl', { receiveUrl });
    return say({ code: 0, data: JSON.parse(data) });
  }
  const { type } = JSON.parse(JSON.parse(body).data);
  note({ callback: type });
  return MUTE && type === 'close' ? undefined : say({ code: 0 });
});
server.listen(PORT, '127.0.0.1');

process.on('SIGTERM', async () => {
  const rpc = { version: 1, componentName: 'MA', interface: { interfaceName: 'qcloud.cam.auth', para: { id: 'x', skey: 'y' } } };
  for (const [name, last] of [
    ['rpc', () => call('/mina_auth/', rpc).then((answer) => answer.returnCode)],
    ['push', () => tunnelCall('/ws/push', [{ tunnelIds: [], type: 'close' }]).then((answer) => answer.code)],
  ]) {
    note({ [name]: await last().catch((error) => `${error.message} ${error.cause}`) });
  }
  process.exit(0);
});
