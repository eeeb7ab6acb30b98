// The second service of the app for WeChat's cloud hosting: a WebSocket server that knows
// its callers by the headers of the upgrade. It knows nothing of weappd.
'use strict';

const http = require('http');
const WebSocket = require('ws');

const contextOf = (req) => {
  const names = Object.keys(req.headers).filter((name) => name.startsWith('x-wx-') && name !== 'x-wx-skey');
  return Object.fromEntries(names.map((name) => [name, req.headers[name]]));
};

const server = http.createServer((req, res) => {
  res.setHeader('content-type', 'application/json');
  res.end(JSON.stringify({ service: 'talk', context: contextOf(req) }));
});
const sockets = new WebSocket.Server({ server });
sockets.on('connection', (socket, req) => {
  socket.send(JSON.stringify({ path: req.url, context: contextOf(req) }));
  socket.on('message', (text) => socket.send(`${text}!`));
});

server.listen(process.env.PORT || 80);
