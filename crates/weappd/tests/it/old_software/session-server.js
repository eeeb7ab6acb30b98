// A business server of the Wafer years that keeps its users' sessions itself: Express with
// the unchanged wafer-node-session, and a WebSocket of its own instead of a tunnel. Its SDK
// exchanges codes at https://api.weixin.qq.com, a name written into its code.
//
//   PORT                    where to listen on 127.0.0.1
//   WX_APPID, WX_APPSECRET  the mini program
'use strict';

const http = require('http');
const express = require('express');
const waferSession = require('wafer-node-session');
const { WebSocketServer } = require('ws');

const { PORT, WX_APPID, WX_APPSECRET } = process.env;
const session = waferSession({ appId: WX_APPID, appSecret: WX_APPSECRET, loginPath: '/login' });

const app = express();
app.use(session);
app.get('/user', (req, res) => {
  if (req.session) res.json({ code: 0, data: { userInfo: req.session.userInfo } });
  else res.status(401).json({ code: -1 });
});
app.get('/', (req, res) => res.send('sessions of its own'));

const server = http.createServer(app);
// A browser's WebSocket has no headers: the session comes in the query.
const sockets = new WebSocketServer({ noServer: true });
server.on('upgrade', (req, socket, head) => {
  session(req, null, () => {
    if (!req.session) {
      socket.end('HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n');
      return;
    }
    sockets.handleUpgrade(req, socket, head, (ws) => {
      ws.on('message', (text) => ws.send(`${req.session.userInfo.nickName}: ${text}`));
    });
  });
});

server.listen(Number(PORT), '127.0.0.1', () => console.log(`listening on ${PORT}`));
process.on('SIGTERM', () => process.exit(0));
