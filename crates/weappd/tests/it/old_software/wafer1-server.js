// A Wafer 1 business server as its README says to write one: Express and the unchanged
// qcloud-weapp-server-sdk. It knows nothing of weappd; only its sdk.config says where the
// session server and the tunnel server are.
//
//   PORT        where to listen on 127.0.0.1 (0: any; the line "listening on N" says which)
//   SDK_CONFIG  path of the sdk.config, /etc/qcloud/sdk.config in its days
'use strict';

const fs = require('fs');
const express = require('express');
const { config, LoginService, TunnelService } = require('qcloud-weapp-server-sdk');
const chatRoom = require('./chat-room.js');

const given = JSON.parse(fs.readFileSync(process.env.SDK_CONFIG || '/etc/qcloud/sdk.config', 'utf8'));
config({
  ServerHost: given.serverHost,
  AuthServerUrl: given.authServerUrl,
  TunnelServerUrl: given.tunnelServerUrl,
  TunnelSignatureKey: given.tunnelSignatureKey,
  NetworkTimeout: given.networkTimeout || 30000,
});

const room = chatRoom({
  broadcast: (ids, type, content) => TunnelService.broadcast(ids, type, content),
  closeTunnel: (id) => TunnelService.closeTunnel(id),
});

const handler = {
  onRequest: (tunnelId, userInfo) => room.asked(tunnelId, userInfo),
  onConnect: (tunnelId) => room.connect(tunnelId),
  onMessage: (tunnelId, type, content) => room.message(tunnelId, type, content),
  onClose: (tunnelId) => room.leave(tunnelId),
};

// The SDK has answered the phone already when it rejects.
const answered = (error) => console.log(`refused ${error.type}: ${error.message}`);

const app = express();
app.use(express.json());

app.get('/login', (req, res) => {
  new LoginService(req, res).login().then(({ userInfo }) => console.log(`login ${userInfo.nickName}`), answered);
});

app.get('/user', (req, res) => {
  new LoginService(req, res).check().then(({ userInfo }) => {
    res.json({ code: 0, message: 'ok', data: { userInfo } });
  }, answered);
});

app.all('/tunnel', (req, res) => {
  new TunnelService(req, res).handle(handler, { checkLogin: true });
});

app.get('/', (req, res) => res.send('wafer 1'));

const server = app.listen(Number(process.env.PORT || 5757), '127.0.0.1', () => {
  console.log(`listening on ${server.address().port}`);
});
process.on('SIGTERM', () => server.close(() => process.exit(0)));
