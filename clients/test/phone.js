// A phone for the tests against a real weappd: the `wx` of the phone page, in Node, whose
// sockets carry headers and can be cut.
//
//   SITE_URL    https://localhost:PORT        WECHAT_URL  the simulated WeChat
//   WX_MODULE   the phone page's wx.js
// Certificates come through NODE_EXTRA_CA_CERTS, the package `ws` through NODE_PATH.
'use strict';

const { pathToFileURL } = require('url');
const WebSocket = require('ws');

const { SITE_URL, WECHAT_URL, WX_MODULE } = process.env;

async function phone(user) {
  const { createWx } = await import(pathToFileURL(WX_MODULE));
  let header = {};
  const open = new Set();
  class Socket extends WebSocket {
    constructor(url, protocols) {
      super(url, protocols, { headers: header });
      open.add(this);
      this.once('close', () => open.delete(this));
    }
  }
  const wx = createWx({ user, wechatUrl: WECHAT_URL, WebSocket: Socket });
  const { connectSocket } = wx;
  // Browsers cannot send headers with a socket; mini programs can.
  wx.connectSocket = (options) => {
    header = options.header || {};
    return connectSocket(options);
  };
  /** Breaks the wire under every socket, without a word. */
  wx.cut = () => open.forEach((socket) => socket.terminate());
  return wx;
}

/** What a button gives that no call of `wx` does: the phone-number button and the like. */
async function press(user, verb) {
  const answer = await fetch(`${WECHAT_URL}/phone/${user}/${verb}`, { method: 'POST', body: '{}' });
  return answer.json();
}

module.exports = { phone, press, siteUrl: SITE_URL };
