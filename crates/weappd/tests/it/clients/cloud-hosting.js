// An app as teams write it for WeChat's cloud hosting (微信云托管): Express, the caller's
// identity in headers, the port in PORT or 80. It knows nothing of weappd.
'use strict';

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

const port = process.env.PORT || 80;
app.listen(port, () => console.log('started on', port));
