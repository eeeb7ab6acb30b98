'use strict';
// A business server whose SDK knows WeChat's API by its address alone. It tells what came of
// a call, made in the way that the path names.

const http = require('node:http');
const https = require('node:https');
const tls = require('node:tls');

const NAME = 'api.weixin.qq.com';
const PATH = '/wxa/msg_sec_check';

const text = async (stream) => {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
};

const asked = (options, body) =>
  new Promise((resolve, reject) => {
    const request = https.request({ method: 'POST', ...options }, (answer) =>
      text(answer).then(resolve, reject));
    request.on('error', reject);
    request.end(body);
  });

const spoken = (socket, body) =>
  new Promise((resolve, reject) => {
    socket.on('error', reject);
    socket.write(`POST ${PATH} HTTP/1.1\r\nhost: ${NAME}\r\nconnection: close\r\n` +
      `content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
    text(socket).then((all) => resolve(all.slice(all.indexOf('{'), all.lastIndexOf('}') + 1)), reject);
  });

const ways = {
  request: (body) => asked({ host: NAME, path: PATH }, body),
  agent: (body) => {
    const agent = new https.Agent({ keepAlive: true });
    const twice = async () => {
      await asked({ hostname: NAME, path: PATH, agent }, body);
      return asked({ hostname: NAME, path: PATH, agent }, body);
    };
    return twice().finally(() => agent.destroy());
  },
  fetch: async (body) => (await fetch(`https://${NAME}${PATH}`, { method: 'POST', body })).text(),
  module: async (body) => {
    const { connect } = await import('node:tls');
    return spoken(connect(443, NAME, { servername: NAME }), body);
  },
  socket: (body) => spoken(tls.connect({ host: NAME, port: 443 }), body),
  // Somebody else's name and port stay what they are.
  other: (body, url) => asked(
    { host: 'localhost', port: url.searchParams.get('port'), path: '/weapp/user', method: 'GET',
      ca: require('node:fs').readFileSync('ca.pem') }),
};

http.createServer(async (request, response) => {
  const url = new URL(request.url, 'http://app');
  const way = ways[url.pathname.split('/').pop()];
  try {
    response.end(await way(await text(request), url));
  } catch (error) {
    response.statusCode = 500;
    response.end(error.code || (error.cause && error.cause.code) || error.message);
  }
}).listen(process.env.PORT, '127.0.0.1');
