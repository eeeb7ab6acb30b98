// The client against a real `weappd dev` with business-server.js behind it.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const { Client } = require('weappd-client');
const { createCloud } = require('weappd-client/cloud');
const { phone, press, siteUrl } = require('./phone.js');

const KEY = `weappd_session:${siteUrl}`;

async function start(user) {
  const wx = await phone(user);
  return { wx, client: new Client({ wx, url: siteUrl }) };
}

/** What the server no longer knows. */
function spoil(wx) {
  const session = wx.getStorageSync(KEY);
  wx.setStorageSync(KEY, { ...session, skey: session.skey.replace(/^./, (c) => (c === '0' ? '1' : '0')) });
}

const next = (tunnel, type) => new Promise((resolve) => {
  const heard = (content) => { tunnel.off(type, heard); resolve(content); };
  tunnel.on(type, heard);
});

test('logs in, is known to the app, and is again after the session is lost', async () => {
  const { wx, client } = await start('alice');
  const openid = (await wx.owner.about()).openid;
  const session = await client.login();
  assert.strictEqual(session.user.openid, openid);
  assert.ok(session.expires_at > Date.now() / 1000);
  const { data } = await client.request('/private');
  assert.strictEqual(data.openid, openid);
  assert.strictEqual(client.user.openid, openid);

  // The next launch has a session that the server does not know.
  spoil(wx);
  const launch = new Client({ wx, url: siteUrl });
  const again = await launch.request('/private');
  assert.deepStrictEqual([again.statusCode, again.data.openid], [200, openid]);
  assert.notStrictEqual(wx.getStorageSync(KEY).skey, session.skey);

  // WeChat lost the session_key: another login at the next launch.
  const before = wx.getStorageSync(KEY).skey;
  await wx.owner.expireSession();
  await new Client({ wx, url: siteUrl }).request('/private');
  assert.notStrictEqual(wx.getStorageSync(KEY).skey, before);
});

test('user data goes along, and logging out is final', async () => {
  const { wx, client } = await start('bob');
  // A login first: the data is sealed with the session_key it makes.
  const profile = await wx.login({}).then(({ code }) => wx.getUserInfo({ withCredentials: true }).then((info) => ({ code, info })));
  const { login } = wx;
  wx.login = (options) => { wx.login = login; options.success({ code: profile.code }); };
  const session = await client.login({ userInfo: profile.info });
  assert.strictEqual(session.user.info.nickName, profile.info.userInfo.nickName);
  await client.logout();
  assert.strictEqual(client.user, null);
  assert.strictEqual(wx.getStorageSync(KEY), '');
  const shown = await client.request({ path: '/who', session: false, header: { 'X-WX-Skey': session.skey } });
  assert.strictEqual(shown.data.openid, null);
});

test('keeps the name and the picture a user chose, and opens what WeChat sealed', async () => {
  const { wx, client } = await start('grace');
  const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==', 'base64');
  const user = await client.setProfile({ nickName: '三木', avatarFile: new File([png], 'me.png', { type: 'image/png' }) });
  assert.strictEqual(user.info.nickName, '三木');
  assert.match(user.info.avatarUrl, /\/weapp\/files\/.+\.png$/);
  const second = await client.setAvatar(new File([png], 'again.png', { type: 'image/png' }));
  assert.strictEqual(second.info.nickName, '三木');
  assert.notStrictEqual(second.info.avatarUrl, user.info.avatarUrl);
  const picture = (url) => client.request({ path: url, responseType: 'arraybuffer' });
  assert.strictEqual((await picture(second.info.avatarUrl)).statusCode, 200);
  assert.strictEqual((await picture(user.info.avatarUrl)).statusCode, 404, 'the one before is gone');
  await assert.rejects(client.setAvatar(new File(['words'], 'me.png', { type: 'image/png' })), (error) => error.code === 'refused' && error.detail.error.code === 'not_a_picture');
  assert.strictEqual(client.user.info.nickName, '三木');
  assert.strictEqual(new Client({ wx, url: siteUrl }).user.info.nickName, '三木');
  await assert.rejects(client.setProfile({ nickName: '' }), (error) => error.code === 'refused' && error.detail.error.code === 'bad_request');

  const sealed = await wx.getUserInfo({ withCredentials: true });
  const opened = await client.decrypt(sealed);
  assert.strictEqual(opened.openId, client.user.openid);
  await assert.rejects(client.decrypt({ ...sealed, iv: 'AAAAAAAAAAAAAAAAAAAAAA==' }), { code: 'session_key_expired' });
});

test('proves a phone number, minds the session_key, and opens each kind of data', async () => {
  const { wx, client } = await start('heidi');
  await client.login();
  const proven = await client.setPhone(await press('heidi', 'phone_number'));
  assert.match(proven.phone_number, /^\+86\d{11}$/);
  assert.strictEqual(client.user.phone.phone_number, proven.phone_number);
  const sealed = await press('heidi', 'phone_number');
  const again = await client.setPhone({ encryptedData: sealed.encryptedData, iv: sealed.iv });
  assert.strictEqual(again.phone_number, proven.phone_number);
  await assert.rejects(client.setPhone({ code: 'never given' }), (error) => error.code === 'refused'
    && error.detail.error.code === 'bad_code' && error.detail.error.errcode === 40029);
  await client.forgetPhone();
  assert.strictEqual(client.user.phone, undefined);

  const steps = await press('heidi', 'we_run_data');
  assert.strictEqual((await client.decrypt({ ...steps, kind: 'werun' })).stepInfoList.length, 31);
  await assert.rejects(client.decrypt({ ...steps, kind: 'group' }), { code: 'refused' });
  assert.strictEqual(await client.checkKey(), true);
  await client.resetKey();
  assert.strictEqual(await client.checkKey(), true);
  assert.strictEqual((await client.decrypt(steps)).stepInfoList.length, 31, 'of the key before');
  await wx.owner.expireSession();
  assert.strictEqual(await client.checkKey(), false);
  await client.login({ force: true });
  assert.strictEqual(await client.checkKey(), true);
});

test('sends data and reads answers of every kind', async () => {
  const { client } = await start('carol');
  const { data } = await client.request({ path: '/echo', method: 'POST', data: { word: '大家好' } });
  assert.deepStrictEqual(data, { method: 'POST', body: '{"word":"大家好"}' });
  const missing = await client.request('/nowhere');
  assert.strictEqual(missing.statusCode, 404);
  const nowhere = new Client({ wx: await phone('carol'), url: 'http://127.0.0.1:9', storageKey: 'nowhere' });
  await assert.rejects(nowhere.request('/x'), { code: 'unreachable' });
});

test('a picture goes up and comes back', async () => {
  const { wx, client } = await start('dave');
  await client.login();
  spoil(wx);
  const launch = new Client({ wx, url: siteUrl });
  const png = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg==', 'base64');
  const answer = await launch.upload({ filePath: new File([png], 'dot.png', { type: 'image/png' }) });
  assert.strictEqual(answer.statusCode, 200, JSON.stringify(answer.data));
  assert.strictEqual(answer.data.data.mimeType, 'image/png');
  const back = await launch.request({ path: answer.data.data.imgUrl, responseType: 'arraybuffer' });
  assert.deepStrictEqual(Buffer.from(back.data), png);
});

test('a tunnel talks, survives a cut wire, and ends when the server says so', async (t) => {
  const { wx, client } = await start('erin');
  const tunnel = client.tunnel();
  t.after(() => tunnel.close());
  const errors = [];
  tunnel.on('error', (error) => errors.push(error));
  tunnel.open();
  tunnel.emit('say', 'before it was open');
  assert.strictEqual(await next(tunnel, 'heard'), 'before it was open');
  const first = tunnel.tunnelId;

  const mended = next(tunnel, 'reconnect');
  const cut = next(tunnel, 'reconnecting');
  wx.cut();
  await cut;
  tunnel.emit('say', 'while it was cut');
  const answered = next(tunnel, 'heard');
  await mended;
  assert.strictEqual(await answered, 'while it was cut');
  assert.notStrictEqual(tunnel.tunnelId, first);

  const ended = next(tunnel, 'close');
  tunnel.emit('bye');
  assert.deepStrictEqual(await ended, { reason: 'server' });
  assert.deepStrictEqual(errors, []);
});

test('a container is called and a socket opened as in WeChat\'s cloud', async () => {
  const { wx, client } = await start('frank');
  const openid = (await wx.owner.about()).openid;
  const cloud = createCloud({ wx, client });
  cloud.init({ env: 'prod-1' });
  const call = await cloud.callContainer({ path: '/who', header: { 'X-WX-SERVICE': 'node' } });
  assert.strictEqual(call.errMsg, 'cloud.callContainer:ok');
  assert.match(call.callID, /^[0-9a-f]{32}$/);
  const { appid, ...told } = call.data;
  assert.match(appid, /^wx/);
  assert.deepStrictEqual(told, {
    openid, source: 'wx_client', env: 'weappd', ownEnv: 'weappd', callId: call.callID, service: 'node',
  });

  // A session nobody knows: the route lets anybody in, the shim notices.
  spoil(wx);
  const launch = createCloud({ wx, url: siteUrl });
  assert.strictEqual((await launch.callContainer({ path: '/who' })).data.openid, openid);

  spoil(wx);
  const stale = createCloud({ wx, url: siteUrl });
  const { socketTask } = await stale.connectContainer({ service: 'node', path: '/talk' });
  const heard = [];
  await new Promise((resolve, reject) => {
    socketTask.onError(reject);
    socketTask.onMessage(({ data }) => {
      heard.push(data);
      if (heard.length === 1) socketTask.send({ data: 'hello' });
      if (heard.length === 2) resolve();
    });
  });
  socketTask.close({});
  const who = JSON.parse(heard[0]);
  assert.deepStrictEqual([who.openid, who.service, who.env], [openid, 'node', 'weappd']);
  assert.strictEqual(heard[1], 'you said hello');
});
