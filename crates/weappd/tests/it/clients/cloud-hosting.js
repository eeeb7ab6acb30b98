// An app as teams write it for WeChat's cloud hosting (微信云托管): Express, the caller's
// identity in headers, the port in PORT or 80. It knows nothing of weappd.
'use strict';

const http = require('http');
const path = require('path');
const express = require('express');

const app = express();
app.use(express.urlencoded({ extended: false }));
app.use(express.json());

let count = 0;

app.post('/api/count', (req, res) => {
  const { action } = req.body;
  if (action === 'inc') count += 1;
  if (action === 'clear') count = 0;
  res.send({ code: 0, data: count });
});

app.get('/api/count', (req, res) => {
  res.send({ code: 0, data: count });
});

// Only calls from a mini program have a source.
app.get('/api/wx_openid', (req, res) => {
  if (req.headers['x-wx-source']) {
    res.send(req.headers['x-wx-openid']);
  } else {
    res.status(403).send('not from WeChat');
  }
});

app.get('/api/context', (req, res) => {
  const context = {};
  for (const name of Object.keys(req.headers)) {
    if (name.startsWith('x-wx-') && name !== 'x-wx-skey') context[name] = req.headers[name];
  }
  res.send({ context, ip: req.headers['x-original-forwarded-for'], env: process.env.CBR_ENV_ID, file: path.basename(__filename) });
});

// WeChat's server API over plain HTTP, without a token: the platform adds it.
app.post('/api/check', (req, res) => {
  const body = JSON.stringify({
    version: 2, scene: 1, openid: req.headers['x-wx-openid'], content: req.body.content,
  });
  const headers = { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) };
  const ask = http.request('http://api.weixin.qq.com/wxa/msg_sec_check', { method: 'POST', headers }, (answer) => {
    res.set('x-openapi-seqid', answer.headers['x-openapi-seqid'] || '');
    res.type('json');
    answer.pipe(res);
  });
  ask.on('error', (error) => res.status(502).send({ errmsg: error.message }));
  ask.end(body);
});

const port = process.env.PORT || 80;
app.listen(port, () => console.log('started on', port));
