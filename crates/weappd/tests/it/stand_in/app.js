'use strict';
// A business server whose SDK knows WeChat's API by its address alone. It tells what came of
// a call, made in the way that the path names.

const http = require('node:http');
const http2 = require('node:http2');
const https = require('node:https');
const net = require('node:net');
const tls = require('node:tls');

const PATH = '/wxa/msg_sec_check';

const text = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
};

const asked = (options, body, over = https) =>
  new Promise((resolve, reject) => {
    const request = over.request({ method: 'POST', ...options }, (answer) =>
      text(answer).then(resolve, reject));
    request.on('error', reject);
    request.end(body);
  });

const spoken = (socket, name, body) =>
  new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.write(`POST ${PATH} HTTP/1.1\r\nhost: ${name}\r\nconnection: close\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
    text(socket).then((all) => resolve(all.slice(all.indexOf('{'), all.lastIndexOf('}') + 1)), reject);
  });

const streamed = (name, body) =>
  new Promise((resolve, reject) => {
    const session = http2.connect(`https://${name}`);
    // The stream ends first, and says why.
    const failed = (error) => reject(error.cause || error);
    session.on('error', failed);
    const stream = session.request({ ':path': PATH, ':method': 'POST' });
    stream.end(body);
    text(stream).then(resolve, failed).finally(() => session.close());
  });

const ways = {
  request: (body, name) => asked({ host: name, path: PATH }, body),
  agent: (body, name) => {
    const agent = new https.Agent({ keepAlive: true });
    const twice = async () => {
      await asked({ hostname: name, path: PATH, agent }, body);
      return asked({ hostname: name, path: PATH, agent }, body);
    };
    return twice().finally(() => agent.destroy());
  },
  fetch: async (body, name) => (await fetch(`https://${name}${PATH}`, { method: 'POST', body })).text(),
  module: async (body, name) => {
    const { connect } = await import('node:tls');
    return spoken(connect(443, name, { servername: name }), name, body);
  },
  socket: (body, name) => spoken(tls.connect({ host: name, port: 443 }), name, body),
  inner: (body, name) => {
    const socket = net.connect({ host: name, port: 443 });
    return spoken(tls.connect({ socket, servername: name }), name, body);
  },
  http2: (body, name) => streamed(name, body),
  'plain-request': (body, name) => asked({ host: name, path: PATH }, body, http),
  'plain-agent': (body, name) => {
    const agent = new http.Agent({ keepAlive: true });
    const twice = async () => {
      await asked({ hostname: name, path: PATH, agent }, body, http);
      return asked({ hostname: name, path: PATH, agent }, body, http);
    };
    return twice().finally(() => agent.destroy());
  },
  'plain-fetch': async (body, name) =>
    (await fetch(`http://${name}${PATH}`, { method: 'POST', body })).text(),
  'plain-socket': (body, name) => spoken(net.connect(80, name), name, body),
  // Somebody else's name and port stay what they are.
  other: (body, name, url) => asked(
    { host: 'localhost', port: url.searchParams.get('port'), path: '/weapp/user', method: 'GET',
      ca: require('node:fs').readFileSync('ca.pem') }),
};

http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://app');
  const way = ways[url.pathname.split('/').pop()];
  try {
    const name = url.searchParams.get('name') || 'api.weixin.qq.com';
    response.end(await way(await text(request), name, url));
  } catch (error) {
    response.statusCode = 500;
    response.end(error.code || (error.cause && error.cause.code) || error.message);
  }
}).listen(process.env.PORT, '127.0.0.1');
