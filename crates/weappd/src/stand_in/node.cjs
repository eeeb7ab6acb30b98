'use strict';
// Leads this process's TLS connections to api.weixin.qq.com to weappd, which makes the call
// and adds the access_token. Everything else is left alone. weappd loads it into the apps it
// runs (NODE_OPTIONS) where `wechat_https` is set under [internal].

const tls = require('node:tls');
const { syncBuiltinESMExports } = require('node:module');

const NAME = 'api.weixin.qq.com';
const at = process.env.WEAPPD_WECHAT_HTTPS;

if (at) {
  const colon = at.lastIndexOf(':');
  const host = at.slice(0, colon).replace(/^\[|\]$/g, '');
  const port = Number(at.slice(colon + 1));
  const connect = tls.connect;

  const isWeChats = (options) =>
    Boolean(options) &&
    typeof options === 'object' &&
    !options.socket &&
    !options.path &&
    Number(options.port) === 443 &&
    String(options.host).toLowerCase() === NAME;

  // tls.connect(options[, listener]) or tls.connect(port[, host][, options][, listener])
  tls.connect = function (...args) {
    const isPort = typeof args[0] === 'number' || (typeof args[0] === 'string' && /^\d+$/.test(args[0]));
    const given = args.find((arg) => arg !== null && typeof arg === 'object') || {};
    const named = isPort && typeof args[1] === 'string' ? { host: args[1] } : {};
    const options = isPort ? { ...given, port: args[0], ...named } : args[0];
    if (!isWeChats(options)) return connect.apply(this, args);
    const listener = args.find((arg) => typeof arg === 'function');
    const led = { ...options, host, port, servername: options.servername || NAME };
    return connect.call(this, led, listener);
  };
  syncBuiltinESMExports();
}
