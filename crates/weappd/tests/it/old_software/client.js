// What both client drivers share: orders come as JSON lines on stdin, what happens goes
// out as JSON lines on stdout. The orders are in ORDERS; an unknown one is an error event.
//
//   USER_NAME   the simulated user          WECHAT_URL  the simulator
//   LOGIN_URL, USER_URL, TUNNEL_URL         where the mini program's config.js points
'use strict';

const readline = require('readline');
const phone = require('./wx-shim.js');

const SESSION = 'weapp_session_F2C224D4-2BCE-4C64-AF9F-A6D872000D1A';

function tell(event, fields) {
  process.stdout.write(`${JSON.stringify({ event, ...fields })}\n`);
}

function failure(error) {
  return { type: error && error.type, message: (error && (error.message || error.errMsg)) || String(error) };
}

/** Drives the SDK named `sdk`, which is loaded only after `wx` stands. */
module.exports = function drive(sdkName) {
  const { USER_NAME, WECHAT_URL, LOGIN_URL, USER_URL, TUNNEL_URL } = process.env;
  const me = phone({ wechatUrl: WECHAT_URL, user: USER_NAME });
  global.wx = me.wx;
  const sdk = require(sdkName);
  sdk.setLoginUrl(LOGIN_URL);

  let tunnel = null;
  let frames = false;
  me.taps.on('in', (text) => frames && tell('frame', { way: 'in', text }));
  me.taps.on('out', (text) => frames && tell('frame', { way: 'out', text }));
  me.taps.on('closed', (code) => tell('socket_closed', { code }));

  const answers = (event) => ({
    success: (userInfo) => tell(event, { userInfo }),
    fail: (error) => tell(`${event}_failed`, failure(error)),
  });

  const ORDERS = {
    login: () => sdk.login(answers('login')),
    login_with_code: () => sdk.loginWithCode(answers('login')),
    request: ({ url = USER_URL, login = true, method = 'GET', data, header }) => sdk.request({
      url, login, method, data, header,
      success: ({ statusCode, data: body }) => tell('response', { status: statusCode, data: body }),
      fail: (error) => tell('request_failed', failure(error)),
    }),
    open_tunnel: () => {
      tunnel = new sdk.Tunnel(TUNNEL_URL);
      tunnel.on('*', (type, content) => tell('tunnel', { type, content }));
      tunnel.open();
    },
    emit: ({ type, content }) => tunnel.emit(type, content),
    speak: ({ word }) => tunnel.emit('speak', { word }),
    close_tunnel: () => tunnel.close(),
    tunnel_status: () => tell('tunnel_status', { status: tunnel && tunnel.status }),
    cut: () => tell('cut', { was_open: me.cut() }),
    frames: ({ on = true }) => { frames = on; tell('frames', { on }); },
    // The stored session, and a spoilt one: what the server no longer knows.
    session: () => tell('session', { session: wx.getStorageSync(SESSION) || null }),
    clear_session: () => { sdk.clearSession(); tell('session', { session: null }); },
    spoil_session: () => {
      const session = wx.getStorageSync(SESSION);
      session.skey = session.skey.replace(/^./, (c) => (c === '0' ? '1' : '0'));
      wx.setStorageSync(SESSION, session);
      tell('session', { session });
    },
    // Straight to the simulated phone: authorize, expire_session, ...
    phone: async ({ path, body }) => tell('phone', { path, answer: await me.ask(path, body) }),
    quit: () => process.exit(0),
  };

  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', async (line) => {
    if (!line.trim()) return;
    try {
      const order = JSON.parse(line);
      const deed = ORDERS[order.do];
      if (!deed) throw new Error(`no such order: ${order.do}`);
      await deed(order);
    } catch (error) {
      tell('order_failed', failure(error));
    }
  });
  lines.on('close', () => process.exit(0));
  process.on('uncaughtException', (error) => tell('crash', { message: error.stack }));
  tell('ready', { user: USER_NAME });
};
