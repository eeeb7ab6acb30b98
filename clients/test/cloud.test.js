'use strict';

const test = require('node:test');
const assert = require('node:assert');
const { createCloud, install } = require('weappd-client/cloud');
const { fakeWx, fakeWeappd } = require('./fake-wx.js');

const URL = 'https://a.example';
const KNOWN = { 'x-wx-call-id': 'call-1' };

function start(more, options) {
  const weappd = fakeWeappd((path, asked, known) => (more && more(path, asked, known))
    || (known ? { statusCode: 200, data: { path }, header: KNOWN } : null));
  const wx = fakeWx(weappd.answer);
  return { weappd, wx, cloud: createCloud({ wx, url: URL, ...options }) };
}

test('a call answers as Tencent\'s does', async () => {
  const { wx, cloud } = start();
  assert.strictEqual(cloud.init({ env: 'prod-1' }), undefined);
  const answer = await cloud.callContainer({
    config: { env: 'prod-1' }, path: '/api/count', method: 'POST', data: { action: 'inc' }, header: { 'X-WX-SERVICE': 'express' },
  });
  assert.deepStrictEqual(answer, {
    data: { path: '/api/count' }, statusCode: 200, header: KNOWN, errMsg: 'cloud.callContainer:ok', callID: 'call-1',
  });
  const sent = wx.asked[wx.asked.length - 1];
  assert.deepStrictEqual([sent.method, sent.data, sent.header['X-WX-SERVICE']], ['POST', { action: 'inc' }, 'express']);
  assert.ok(sent.header['X-WX-Skey']);
  assert.ok(sent.timeout > 14000 && sent.timeout <= 15000, sent.timeout);
});

test('callbacks are given as wx gives them', async () => {
  const { cloud } = start();
  const heard = await new Promise((resolve) => {
    const said = [];
    const returned = cloud.callContainer({
      path: '/x', success: (r) => said.push(r.errMsg), fail: (r) => said.push(r.errMsg), complete: (r) => resolve([...said, r.errMsg]),
    });
    assert.strictEqual(returned, undefined);
    assert.deepStrictEqual(said, [], 'never during the call');
  });
  assert.deepStrictEqual(heard, ['cloud.callContainer:ok', 'cloud.callContainer:ok']);
  const failed = await new Promise((fail) => { cloud.callContainer({ path: 'x', fail }); });
  assert.strictEqual(failed.errCode, -501000);
  assert.match(failed.errMsg, /^cloud\.callContainer:fail errCode: -501000 errMsg: .+ \(callId: .+\)$/);
});

test('mistakes and limits have the numbers of Tencent\'s gateway', async () => {
  const { wx, cloud } = start((path) => {
    if (path === '/long') return { statusCode: 200, data: 'x'.repeat(1000 * 1024 + 1), header: KNOWN };
    if (path === '/told') return { statusCode: 200, data: '', header: { ...KNOWN, 'Content-Length': '1024001' } };
    if (path === '/full') return { statusCode: 200, data: 'x'.repeat(1000 * 1024), header: KNOWN };
    if (path === '/late') throw new Error('request:fail timeout');
    if (path === '/missing') return { statusCode: 404, data: { error: 'not_here' }, header: KNOWN };
    if (path === '/service') return { statusCode: 404, data: { error: { code: 'service_not_found', message: '' } }, header: {} };
    if (path === '/nobody') return { statusCode: 401, data: { code: -1, error: 'ERR_SKEY_INVALID' } };
    return null;
  });
  for (const [call, errCode] of [
    [undefined, 40097], ['/x', 40097], [{ path: 7 }, 40097],
    [{ path: 'x' }, -501000], [{ path: '//evil.example/' }, -501000], [{ path: 'https://evil.example/' }, -501000],
    [{ path: '/x', method: 'PATCH' }, 102005],
    [{ path: '/x', method: 'POST', data: '好'.repeat(34134) }, -606001],
    [{ path: '/x', method: 'POST', data: new ArrayBuffer(100 * 1024 + 1) }, -606001],
    [{ path: '/long' }, -606002], [{ path: '/told' }, -606002],
    [{ path: '/late' }, 102002], [{ path: '/nobody' }, -501000],
    [{ path: '/service', header: { 'X-WX-SERVICE': 'none' } }, -501000],
  ]) {
    await assert.rejects(cloud.callContainer(call), (error) => {
      assert.strictEqual(error.errCode, errCode, JSON.stringify(call));
      return error instanceof Error && error.errMsg.startsWith('cloud.callContainer:fail');
    });
  }
  await cloud.callContainer({ path: '/full' });
  // The app's own 404 is an answer like any other.
  assert.strictEqual((await cloud.callContainer({ path: '/missing' })).statusCode, 404);
  const data = '好'.repeat(34133);
  await cloud.callContainer({ path: '/x', method: 'POST', data });
  assert.strictEqual(wx.asked[wx.asked.length - 1].data, data);
});

test('no call takes longer than 15 s, and some less', async () => {
  const { cloud, wx } = start((path) => (path === '/never' ? new Promise(() => {}) : null));
  await cloud.callContainer({ path: '/x', timeout: 60000 });
  assert.ok(wx.asked[wx.asked.length - 1].timeout <= 15000);
  const begun = Date.now();
  const pending = createCloud({ wx: { ...wx, request: (o) => (o.url.endsWith('/never') ? {} : wx.request(o)) }, url: URL });
  await assert.rejects(pending.callContainer({ path: '/never', timeout: 50 }), { errCode: 102002 });
  assert.ok(Date.now() - begun < 5000);
});

test('an answer without the mark of a known caller is doubted, and made again only if harmless', async () => {
  for (const [method, tries] of [['GET', 2], ['POST', 1]]) {
    const seen = [];
    // A route that lets anybody in.
    const { weappd, cloud } = start((path, asked, known) => {
      if (path !== '/open') return null;
      seen.push(known);
      return { statusCode: 200, data: { known }, header: known ? KNOWN : {} };
    });
    await cloud.callContainer({ path: '/open', method });
    weappd.skeys.clear();
    const { data } = await cloud.callContainer({ path: '/open', method });
    assert.strictEqual(data.known, method === 'GET');
    assert.strictEqual(seen.length, 1 + tries);
    // The next one is known in any case.
    assert.strictEqual((await cloud.callContainer({ path: '/open', method })).data.known, true);
    assert.strictEqual(weappd.logins, 2);
  }
});

test('a socket carries the session and the service, and a stale session is renewed before', async () => {
  const { weappd, wx, cloud } = start();
  await cloud.callContainer({ path: '/x' });
  weappd.skeys.clear();
  const { socketTask, errMsg } = await cloud.connectContainer({ config: { env: 'e' }, service: 'ws', path: '/talk?room=1' });
  assert.strictEqual(errMsg, 'cloud.connectContainer:ok');
  assert.strictEqual(socketTask, wx.sockets[0]);
  assert.strictEqual(socketTask.options.url, 'wss://a.example/talk?room=1');
  assert.deepStrictEqual(socketTask.options.header, { 'X-WX-SERVICE': 'ws', 'X-WX-Skey': 'skey-2' });
  await assert.rejects(cloud.connectContainer({ path: 'talk' }), { errCode: -501000 });
});

test('another environment is another weappd', async () => {
  const { wx, cloud } = start(null, { urls: { shared: 'https://b.example/' } });
  const other = new cloud.Cloud({ identityless: true, resourceAppid: 'wx1', resourceEnv: 'shared' });
  await other.init();
  // The fake weappd does not know b.example's paths; what counts is where it was asked.
  await other.callContainer({ path: '/x' }).catch(() => {});
  await cloud.callContainer({ path: '/y' });
  const urls = wx.asked.map(({ url }) => url.split('/')[2]);
  assert.ok(urls.includes('b.example'));
  assert.strictEqual(urls[urls.length - 1], 'a.example');
});

test('it takes the place of wx.cloud', async () => {
  const { wx } = start();
  wx.cloud = { callContainer() { throw new Error('Tencent\'s'); } };
  install({ wx, url: URL });
  wx.cloud.init({ env: { default: 'prod' } });
  assert.strictEqual((await wx.cloud.callContainer({ path: '/z' })).data.path, '/z');
  const cloud = new wx.cloud.Cloud({ resourceEnv: 'prod' });
  await cloud.init();
  assert.strictEqual((await cloud.callContainer({ path: '/z' })).statusCode, 200);
});
