// A business server that tells whoever asks what reached it.

const http = require('http');

const server = http.createServer((request, response) => {
  const { method, url, rawHeaders } = request;
  const headers = [];
  for (let at = 0; at < rawHeaders.length; at += 2) {
    headers.push([rawHeaders[at].toLowerCase(), rawHeaders[at + 1]]);
  }
  const { WEAPPD_INTERNAL_URL: internal, WEAPPD_TOKEN: token } = process.env;
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ method, url, headers, internal, token }));
});

server.listen(process.env.PORT, '127.0.0.1');
process.on('SIGTERM', () => process.exit(0));
