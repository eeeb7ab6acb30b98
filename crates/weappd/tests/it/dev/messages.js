// A business server that keeps what WeChat pushed and tells it to whoever asks.

const http = require('http');

let got = [];
const server = http.createServer((request, response) => {
  let body = '';
  request.on('data', (part) => { body += part; });
  request.on('end', () => {
    if (request.method === 'POST' && request.url === '/weapp/message') {
      const { 'x-wx-openid': openid, 'x-wx-appid': appid } = request.headers;
      got.push({ openid, appid, message: JSON.parse(body) });
      response.end('success');
      return;
    }
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(got));
  });
});

server.listen(process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
