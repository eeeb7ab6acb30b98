'use strict';

const test = require('node:test');
const assert = require('node:assert');
const { Client, WeappdError } = require('..');
const { deniesSession } = require('../src/session.js');
const { fakeWx, fakeWeappd } = require('./fake-wx.js');

const URL = 'https://a.example';

function start(more, parts) {
  const weappd = fakeWeappd(more);
  const wx = fakeWx(weappd.answer, parts);
  return { weappd, wx, client: new Client({ wx, url: `${URL}/` }) };
}

test('all who ask at the same time share one login', async () => {
  const { weappd, client } = start();
  const answers = await Promise.all(['/1', '/2', '/3'].map((path) => client.request(path)));
  assert.deepStrictEqual(answers.map(({ data }) => data.path), ['/1', '/2', '/3']);
  assert.strictEqual(weappd.logins, 1);
  assert.strictEqual(client.user.openid, 'o1');
});

test('a session outlives the launch, in storage', async () => {
  const { weappd, wx, client } = start();
  await client.login();
  const next = new Client({ wx, url: URL });
  const { data } = await next.request({ path: 'who' });
  assert.strictEqual(data.path, '/who');
  assert.strictEqual(weappd.logins, 1);
});

test('a session the server forgot is renewed once, however many notice', async () => {
  const { weappd, client } = start();
  await client.login();
  weappd.skeys.clear();
  const answers = await Promise.all(['/1', '/2', '/3'].map((path) => client.request(path)));
  answers.forEach(({ statusCode }) => assert.strictEqual(statusCode, 200));
  assert.strictEqual(weappd.logins, 2);
});

test('a refusal that comes late does not cost the new session', async () => {
  let release;
  const late = new Promise((resolve) => { release = resolve; });
  let first = true;
  const { weappd, client } = start((path, options, known) => {
    if (path !== '/slow' || known || !first) return null;
    first = false;
    return late.then(() => ({ statusCode: 401, data: {}, header: {} }));
  });
  await client.login();
  weappd.skeys.clear();
  const slow = client.request('/slow');
  await client.request('/quick');
  assert.strictEqual(weappd.logins, 2);
  release();
  assert.strictEqual((await slow).statusCode, 200);
  assert.strictEqual(weappd.logins, 2, 'the session of the quick one serves the slow one');
});

test('a server that knows nobody is asked twice and no more', async () => {
  const { weappd, wx, client } = start((path) => (path === '/no'
    ? { statusCode: 401, data: { code: -1, error: 'ERR_SKEY_INVALID' } } : null));
  const answer = await client.request('/no');
  assert.strictEqual(answer.statusCode, 401);
  assert.strictEqual(wx.asked.filter(({ url }) => url.endsWith('/no')).length, 2);
  assert.strictEqual(weappd.logins, 2);
});

test('bad sessions are known in every dialect, other refusals are not', () => {
  const magic = 'F2C224D4-2BCE-4C64-AF9F-A6D872000D1A';
  for (const [status, body] of [
    [401, ''], [200, { code: -1, error: 'ERR_SKEY_INVALID' }], [200, { code: -1, data: {} }],
    [200, { [magic]: 1, error: 'ERR_INVALID_SESSION' }],
  ]) assert.strictEqual(deniesSession(status, body), true, JSON.stringify(body));
  for (const [status, body] of [
    [403, ''], [200, null], [200, { code: -1, error: 'sold out' }], [200, { code: -1, data: { a: 1 } }],
    [200, { code: 0, data: {} }], [200, { [magic]: 1, error: 'ERR_CHECK_LOGIN_FAILED' }],
  ]) assert.strictEqual(deniesSession(status, body), false, JSON.stringify(body));
});

test('a login whose answer is lost is asked again with the same code', async () => {
  let lost = 1;
  const { wx, client } = start();
  const { request } = wx;
  wx.request = (options) => {
    if (options.method === 'POST' && lost > 0) {
      lost -= 1;
      wx.asked.push(options);
      setImmediate(() => options.fail({ errMsg: 'request:fail socket hang up' }));
      return {};
    }
    return request(options);
  };
  await client.login();
  const codes = wx.asked.filter(({ method }) => method === 'POST').map(({ data }) => data.code);
  assert.deepStrictEqual(codes, ['code-1', 'code-1']);
});

test('a used code is replaced, once; a refusal is told', async () => {
  let refusals = 1;
  const wx = fakeWx(({ data }) => {
    if (refusals > 0) {
      refusals -= 1;
      return { statusCode: 400, data: { error: { code: 'bad_code', message: 'used' }, errcode: 40163 } };
    }
    return { statusCode: 200, data: { skey: data.code, user: {} } };
  });
  assert.strictEqual((await new Client({ wx, url: URL }).login()).skey, 'code-2');
  refusals = 9;
  const client = new Client({ wx: fakeWx(() => ({ statusCode: 400, data: { error: { code: 'bad_code', message: 'used' } } })), url: URL });
  await assert.rejects(client.login(), (error) => error instanceof WeappdError
    && error.code === 'login_failed' && error.detail.error.code === 'bad_code');
});

test('user data goes with its code, and a login with it is one of its own', async () => {
  const { wx, client } = start();
  await client.login();
  await client.login({ userInfo: { encryptedData: 'e', iv: 'i', rawData: 'not sent' } });
  const last = wx.asked[wx.asked.length - 1].data;
  assert.deepStrictEqual(last, { code: 'code-2', encryptedData: 'e', iv: 'i' });
});

test('what was signed goes along where nothing was encrypted', async () => {
  const { wx, client } = start();
  await client.login({ userInfo: { rawData: '{}', signature: 's' } });
  const last = wx.asked[wx.asked.length - 1].data;
  assert.deepStrictEqual(last, { code: 'code-1', rawData: '{}', signature: 's' });
});

test('a phone number is proven by its code, kept with the user, and forgotten', async () => {
  const phone = { phone_number: '+8613800138000', pure_phone_number: '13800138000', country_code: '86', verified_at: 7 };
  let lost = 1;
  const { wx, client } = start((path, { method }) => {
    if (path !== '/weapp/session/phone') return null;
    if (method === 'DELETE') return { statusCode: 204, data: '' };
    lost -= 1;
    if (lost >= 0) throw new Error('request:fail socket hang up');
    return { statusCode: 200, data: { expires_at: 9, user: { openid: 'o1', phone } } };
  });
  assert.deepStrictEqual(await client.setPhone({ code: 'c', encryptedData: 'e', iv: 'i' }), phone);
  const asked = wx.asked.filter(({ url }) => url.endsWith('/phone'));
  assert.deepStrictEqual(asked.map(({ data }) => data), [{ code: 'c' }, { code: 'c' }]);
  assert.deepStrictEqual(client.user.phone, phone);
  assert.deepStrictEqual(new Client({ wx, url: URL }).user.phone, phone);
  await client.forgetPhone();
  assert.strictEqual(client.user.phone, undefined);
  assert.strictEqual(client.user.openid, 'o1');
  await client.setPhone({ encryptedData: 'e', iv: 'i' });
  assert.deepStrictEqual(wx.asked[wx.asked.length - 1].data, { encryptedData: 'e', iv: 'i' });
});

test('data that does not open costs a login, and one a minute at most', async () => {
  const gone = { statusCode: 409, data: { error: { code: 'bad_user_data', message: 'log in again' } } };
  const { weappd, client } = start((path) => (path === '/weapp/session/key'
    ? { statusCode: 200, data: { valid: false } }
    : /^.weapp.session.(decrypt|phone|key.reset)$/.test(path) ? gone : null));
  assert.strictEqual(await client.checkKey(), false);
  assert.strictEqual(weappd.logins, 1);
  const told = { code: 'session_key_expired', detail: gone.data };
  await assert.rejects(client.decrypt({ encryptedData: 'e', iv: 'i' }), told);
  assert.strictEqual(weappd.logins, 2);
  // Damaged data looks the same: it must not make the phone log in again and again.
  await assert.rejects(client.setPhone({ encryptedData: 'e', iv: 'i' }), told);
  await assert.rejects(client.decrypt({ encryptedData: 'e', iv: 'i' }), told);
  assert.strictEqual(weappd.logins, 2);
  const { now } = Date;
  for (const later of [61000, -61000]) {
    try {
      Date.now = () => now() + later;
      await assert.rejects(client.decrypt({ encryptedData: 'e', iv: 'i' }), told);
    } finally {
      Date.now = now;
    }
  }
  assert.strictEqual(weappd.logins, 4);
});

test('a session_key that cannot be reset is replaced by a login', async () => {
  const gone = { statusCode: 409, data: { error: { code: 'session_key_expired', message: 'log in again' } } };
  const { weappd, client } = start((path) => (path === '/weapp/session/key/reset' ? gone : null));
  await client.resetKey();
  assert.strictEqual(weappd.logins, 2, 'a login gives a new key too');
});

test('too much that did not open is told, and costs no login', async () => {
  const { weappd, client } = start((path) => (path === '/weapp/session/decrypt'
    ? { statusCode: 429, data: { error: { code: 'too_many_failures', message: 'no' } } } : null));
  await assert.rejects(client.decrypt({ encryptedData: 'e', iv: 'i' }), { code: 'refused' });
  assert.strictEqual(weappd.logins, 1);
});

test('a refusal of the data itself costs no login', async () => {
  const { weappd, wx, client } = start((path) => (path === '/weapp/session/decrypt'
    ? { statusCode: 400, data: { error: { code: 'wrong_kind', message: 'no' } } } : null));
  await assert.rejects(client.decrypt({ encryptedData: 'e', iv: 'i', kind: 'werun' }), { code: 'refused' });
  assert.deepStrictEqual(wx.asked[wx.asked.length - 1].data, { encryptedData: 'e', iv: 'i', kind: 'werun' });
  assert.strictEqual(weappd.logins, 1);
});

test('when WeChat lost the session_key, the next launch logs in', async () => {
  let lost = false;
  const { weappd, wx, client } = start(null, { sessionKeyLost: () => lost });
  await client.login();
  lost = true;
  await client.request('/same-launch');
  assert.strictEqual(weappd.logins, 1);
  await new Client({ wx, url: URL }).request('/next-launch');
  assert.strictEqual(weappd.logins, 2);
});

test('a session at its end is not used, whatever the phone\'s clock says', async () => {
  for (const ahead of [0, -3e9, 3e9]) {
    const { weappd, wx, client } = start();
    weappd.ahead = ahead;
    weappd.life = 30;
    await client.request('/x');
    await client.request('/x');
    assert.strictEqual(weappd.logins, 1, 'a short life is a life');
    const { now } = Date;
    try {
      Date.now = () => now() + 28000;
      await client.request('/x');
      assert.strictEqual(weappd.logins, 2);
      Date.now = () => now() + 28000 + 28000;
      await new Client({ wx, url: URL }).request('/x');
      assert.strictEqual(weappd.logins, 3);
    } finally {
      Date.now = now;
    }
  }
});

test('a session that holds serves on when no other is to be had', async () => {
  const { wx, client } = start(null, { sessionKeyLost: () => true });
  await client.login();
  wx.login = ({ fail }) => setImmediate(() => fail({ errMsg: 'login:fail system error' }));
  const launch = new Client({ wx, url: URL });
  const answers = await Promise.all(['/1', '/2'].map((path) => launch.request(path)));
  answers.forEach(({ statusCode }) => assert.strictEqual(statusCode, 200));
});

test('a full storage is no reason not to log in', async () => {
  const { weappd, wx, client } = start();
  ['getStorageSync', 'setStorageSync', 'removeStorageSync'].forEach((name) => {
    wx[name] = () => { throw new Error('exceed storage max size'); };
  });
  await client.request('/1');
  await client.request('/2');
  assert.strictEqual(weappd.logins, 1);
  await client.logout();
});

test('the session is shown to its own server only', async () => {
  const { wx, client } = start(() => ({ statusCode: 200, data: {} }));
  for (const path of ['https://b.example/', 'https://a.example.evil.example/', 'https://a.example@evil.example/']) {
    await client.request({ path });
    const asked = wx.asked[wx.asked.length - 1];
    assert.strictEqual(asked.url, path);
    assert.strictEqual(asked.header['X-WX-Skey'], undefined, path);
  }
  await client.request({ path: 'https://a.example/own' });
  assert.ok(wx.asked[wx.asked.length - 1].header['X-WX-Skey']);
  await client.request({ path: '/public', session: false });
  assert.strictEqual(wx.asked[wx.asked.length - 1].header['X-WX-Skey'], undefined);
});

test('bearer shows it in Authorization', async () => {
  const wx = fakeWx(({ method }) => ({ statusCode: 200, data: method === 'POST' ? { skey: 's', user: {} } : {} }));
  await new Client({ wx, url: URL, bearer: true }).request('/x');
  assert.deepStrictEqual(wx.asked[1].header, { Authorization: 'Bearer s' });
});

test('what was lost is asked again only where that does no harm', async () => {
  let losses = 0;
  const { client } = start((path) => {
    if (path !== '/lost') return null;
    losses += 1;
    throw new Error('request:fail network');
  });
  await assert.rejects(client.request('/lost'), { code: 'unreachable' });
  assert.strictEqual(losses, 2);
  losses = 0;
  await assert.rejects(client.request({ path: '/lost', method: 'POST' }), { code: 'unreachable' });
  assert.strictEqual(losses, 1);
});

test('logout ends the session on both sides', async () => {
  const { wx, client } = start();
  await client.login();
  await client.logout();
  assert.strictEqual(client.user, null);
  const last = wx.asked[wx.asked.length - 1];
  assert.deepStrictEqual([last.method, last.header['X-WX-Skey']], ['DELETE', 'skey-1']);
});

test('an upload reads its answer and renews the session', async () => {
  const { weappd, wx, client } = start((path, options, known) => (path === '/weapp/upload' && known
    ? { statusCode: 200, data: '{"code":0,"data":{"imgUrl":"u"}}' } : path === '/weapp/upload'
      ? { statusCode: 401, data: '{"code":-1,"error":"ERR_SKEY_INVALID"}' } : null));
  await client.login();
  weappd.skeys.clear();
  const { data } = await client.upload({ filePath: 'wxfile://1', formData: { a: 'b' } });
  assert.strictEqual(data.data.imgUrl, 'u');
  const sent = wx.asked[wx.asked.length - 1];
  assert.deepStrictEqual([sent.name, sent.filePath, sent.formData], ['file', 'wxfile://1', { a: 'b' }]);
});

test('a chosen picture goes up, with a new session if need be, and becomes the user', async () => {
  const user = { openid: 'o1', info: { avatarUrl: 'https://a.example/weapp/files/2.png' } };
  const { weappd, wx, client } = start((path, options, known) => (path === '/weapp/session/avatar'
    ? { statusCode: known ? 200 : 401, data: JSON.stringify(known ? { user, expires_at: 7 } : { error: { code: 'session_unknown', message: 'no' } }) }
    : null));
  await client.login();
  weappd.skeys.clear();
  assert.deepStrictEqual(await client.setAvatar('wxfile://avatar'), user);
  const sent = wx.asked[wx.asked.length - 1];
  assert.deepStrictEqual([sent.url, sent.name, sent.filePath], [`${URL}/weapp/session/avatar`, 'file', 'wxfile://avatar']);
  assert.strictEqual(weappd.logins, 2);
  assert.deepStrictEqual(client.user, user);
  assert.deepStrictEqual(new Client({ wx, url: URL }).user, user);
});

test('a picture that is refused says why, and changes nothing', async () => {
  const error = { code: 'not_a_picture', message: 'the file is no picture' };
  const { client } = start((path) => (path === '/weapp/session/avatar'
    ? { statusCode: 415, data: JSON.stringify({ error }) } : null));
  const { user } = await client.login();
  await assert.rejects(client.setAvatar('wxfile://avatar'), (refused) => refused.code === 'refused'
    && refused.detail.error.code === 'not_a_picture' && refused.message.includes('no picture'));
  assert.deepStrictEqual(client.user, user);
});

test('a profile with a picture is two questions, the name first', async () => {
  const said = (path) => ({ user: { openid: 'o1', at: path }, expires_at: 7 });
  const { wx, client } = start((path) => {
    if (path === '/weapp/session/profile') return { statusCode: 200, data: said(path) };
    if (path === '/weapp/session/avatar') return { statusCode: 200, data: JSON.stringify(said(path)) };
    return null;
  });
  const user = await client.setProfile({ nickName: '三木', avatarFile: 'wxfile://1' });
  assert.strictEqual(user.at, '/weapp/session/avatar');
  const [, profile, avatar] = wx.asked;
  assert.deepStrictEqual([profile.method, profile.data], ['PUT', { nickName: '三木' }]);
  assert.strictEqual(avatar.filePath, 'wxfile://1');
  await client.setProfile({ avatarFile: 'wxfile://2' });
  assert.strictEqual(wx.asked.length, 4, 'a picture alone is one question');
});

test('a mini program may be named, at the login and nowhere else', async () => {
  const { wx } = start();
  const client = new Client({ wx, url: URL, appid: 'wx2' });
  await client.request('/a');
  const [login, other] = wx.asked;
  assert.strictEqual(login.header['X-Weappd-AppID'], 'wx2');
  assert.strictEqual(other.header['X-Weappd-AppID'], undefined);
  const unnamed = start();
  await unnamed.client.login();
  assert.ok(!('X-Weappd-AppID' in unnamed.wx.asked[0].header));
});

test('mistakes are told at once', () => {
  assert.throws(() => new Client({ wx: {}, url: 'a.example' }), { code: 'bad_argument' });
  assert.throws(() => new Client({ url: URL }), { code: 'bad_argument' });
});
