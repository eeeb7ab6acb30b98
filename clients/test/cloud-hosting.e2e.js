// A mini program written for 微信云托管, its app behind `weappd serve`: the only changed line
// is the one that makes `wx.cloud`.
'use strict';

const test = require('node:test');
const assert = require('node:assert');
const { install } = require('weappd-client/cloud');
const { phone, siteUrl } = require('./phone.js');

test('the template\'s mini program counts and is known', async () => {
  const wx = await phone('alice');
  install({ wx, url: siteUrl });
  const openid = (await wx.owner.about()).openid;

  wx.cloud.init({ env: 'prod-01' });
  const call = (path, more) => wx.cloud.callContainer({
    config: { env: 'prod-01' },
    path,
    header: { 'X-WX-SERVICE': 'express-demo', 'content-type': 'application/json' },
    ...more,
  });
  assert.deepStrictEqual((await call('/api/count', { method: 'POST', data: { action: 'clear' } })).data, { code: 0, data: 0 });
  const counted = await Promise.all([1, 2, 3].map(() => call('/api/count', { method: 'POST', data: { action: 'inc' } })));
  assert.deepStrictEqual(counted.map(({ data }) => data.data).sort(), [1, 2, 3]);
  assert.deepStrictEqual((await call('/api/count', { method: 'GET' })).data, { code: 0, data: 3 });
  assert.strictEqual((await call('/api/wx_openid')).data, openid);

  const { data, callID } = await call('/api/context');
  const { 'x-wx-appid': appid, 'x-wx-unionid': unionid, ...context } = data.context;
  assert.match(appid, /^wx[0-9a-f]{16}$/);
  assert.ok(unionid);
  assert.deepStrictEqual(context, {
    'x-wx-call-id': callID,
    'x-wx-env': 'prod-01',
    'x-wx-openid': openid,
    'x-wx-service': 'express-demo',
    'x-wx-source': 'wx_client',
  });
  assert.deepStrictEqual([data.ip, data.env], ['127.0.0.1', 'prod-01']);
});

test('a service is chosen by its name, over HTTP and for a socket', async () => {
  const wx = await phone('dave');
  const cloud = install({ wx, url: siteUrl });
  const { openid } = await wx.owner.about();
  const { data } = await cloud.callContainer({
    path: '/x', header: { 'X-WX-SERVICE': 'talk', 'X-WX-EXCLUDE-CREDENTIALS': 'unionid, cloudbase-access-token' },
  });
  assert.deepStrictEqual([data.service, data.context['x-wx-openid']], ['talk', openid]);
  assert.ok(!('x-wx-unionid' in data.context) && data.context['x-wx-appid']);
  await assert.rejects(cloud.callContainer({ path: '/x', header: { 'X-WX-SERVICE': 'none' } }), { errCode: -501000 });

  const { socketTask } = await cloud.connectContainer({ config: { env: 'prod-01' }, service: 'talk', path: '/room?id=1' });
  const messages = [];
  const heard = (count) => new Promise((resolve, reject) => {
    socketTask.onError((error) => reject(new Error(error.errMsg)));
    socketTask.onMessage(({ data: text }) => { messages.push(text); if (messages.length === count) resolve(); });
  });
  const both = heard(2);
  socketTask.onOpen(() => socketTask.send({ data: 'hello' }));
  await both;
  const { path, context } = JSON.parse(messages[0]);
  assert.strictEqual(path, '/room?id=1');
  assert.strictEqual(context['x-wx-openid'], openid);
  assert.ok(context['x-wx-unionid'] && context['x-wx-call-id']);
  assert.deepStrictEqual([context['x-wx-service'], context['x-wx-source']], ['talk', 'wx_client']);
  assert.strictEqual(messages[1], 'hello!');
  socketTask.close({});
});

test('the app calls WeChat without a token', async () => {
  const wx = await phone('carol');
  const cloud = install({ wx, url: siteUrl });
  const { data, header } = await cloud.callContainer({ path: '/api/check', method: 'POST', data: { content: 'hello' } });
  assert.strictEqual(data.errcode, 0, JSON.stringify(data));
  assert.strictEqual(data.result.suggest, 'pass');
  assert.match(header['x-openapi-seqid'], /^[0-9a-f]{32}$/);
});

test('a session that ended is renewed before the app sees anything', async () => {
  const wx = await phone('bob');
  const cloud = install({ wx, url: siteUrl });
  const before = (await cloud.callContainer({ path: '/api/count', method: 'POST', data: { action: 'clear' } })).data;
  assert.strictEqual(before.data, 0);
  const key = `weappd_session:${siteUrl}`;
  wx.setStorageSync(key, { ...wx.getStorageSync(key), skey: '0'.repeat(64) });
  const launch = install({ wx, url: siteUrl });
  const { data } = await launch.callContainer({ path: '/api/count', method: 'POST', data: { action: 'inc' } });
  assert.strictEqual(data.data, 1, 'counted once');
});
