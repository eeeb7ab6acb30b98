'use strict';
// Leads this process's connections to WeChat's API, https and plain http, to weappd, which
// makes the call and adds the access_token. Everything else is left alone. weappd loads it
// into the apps it runs (NODE_OPTIONS) where `wechat_https` is set under [internal].

const net = require('node:net');

const NAMES = [
  'api.weixin.qq.com',
  'api2.weixin.qq.com',
  'sh.api.weixin.qq.com',
  'sz.api.weixin.qq.com',
  'hk.api.weixin.qq.com',
];
const PORTS = [443, 80];
const at = process.env.WEAPPD_WECHAT_HTTPS;

if (at) {
  const colon = at.lastIndexOf(':');
  const host = at.slice(0, colon).replace(/^\[|\]$/g, '');
  const port = Number(at.slice(colon + 1));

  const isWeChats = (options) =>
    !options.path &&
    PORTS.includes(Number(options.port)) &&
    NAMES.includes(String(options.host).toLowerCase().replace(/\.$/, ''));

  // Every connection comes by here: of net, tls, http, https, http2 and fetch. Called by
  // these with a list of options and listener, by others as connect(options[, listener]) or
  // connect(port[, host][, listener]).
  const connect = net.Socket.prototype.connect;
  net.Socket.prototype.connect = function (...args) {
    const given = Array.isArray(args[0]) ? args[0] : args;
    let options = given[0];
    if (options === null || typeof options !== 'object') options = { port: given[0], host: given[1] };
    if (!isWeChats(options)) return connect.apply(this, args);
    const listener = given.find((arg) => typeof arg === 'function');
    const led = { ...options, host, port };
    return listener ? connect.call(this, led, listener) : connect.call(this, led);
  };
}
