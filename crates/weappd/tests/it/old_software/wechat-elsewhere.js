// Preload (`node --require ./wechat-elsewhere.js server.js`, or NODE_OPTIONS): what a
// program asks of https://api.weixin.qq.com goes to WECHAT_URL, a plain HTTP server. For
// packages with the name written into their code, which stay unchanged.
'use strict';

const http = require('http');
const https = require('https');

const target = new URL(process.env.WECHAT_URL);
const original = https.request;

https.request = function request(options, ...rest) {
  const asked = typeof options === 'string' ? new URL(options) : options;
  if ((asked.hostname || asked.host) !== 'api.weixin.qq.com') return original.call(https, options, ...rest);
  return http.request({
    protocol: 'http:',
    hostname: target.hostname,
    port: target.port,
    method: asked.method,
    path: asked.path || `${asked.pathname}${asked.search}`,
    headers: { ...asked.headers, host: 'api.weixin.qq.com' },
  }, ...rest);
};
https.get = (...args) => https.request(...args).end();
