// Plays one story on the phone page: node drive.js CHROMIUM STORY URL PROFILE PID
//
// Prints each step, `done` at the end. Whatever the story, it fails when the page asks
// another machine for anything, logs an error, or throws one.

const assert = require('node:assert/strict');
const { chromium } = require('playwright-core');
const { NAMES, arrow, arrows, phoneOn, step } = require('./phones.js');
const looks = require('./look-stories.js');
const promises = require('./page-stories.js');

const [executablePath, story, url, profile, pid] = process.argv.slice(2);
const PATIENCE = 20000;
const PHRASE = '你好 Bob, <b>hi</b> "&" 👋';

const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync',
  // Nothing but this machine has a name.
  '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1',
];

/** Notes everything the page does that it must not. */
function watch(context) {
  const wrong = [];
  const asked = new Set();
  const look = (kind, address) => {
    const { protocol, hostname } = new URL(address);
    if (['data:', 'blob:', 'about:'].includes(protocol)) return;
    asked.add(hostname);
    if (hostname !== '127.0.0.1' && hostname !== 'localhost') wrong.push(`${kind} to ${address}`);
  };
  context.on('request', (request) => look('a request', request.url()));
  context.on('requestfailed', (request) => {
    // A page that is left gives up what it was asking.
    const { errorText } = request.failure();
    if (errorText !== 'net::ERR_ABORTED') wrong.push(`failed: ${request.url()} ${errorText}`);
  });
  context.on('console', (message) => {
    if (message.type() === 'error') wrong.push(`console: ${message.text()}`);
  });
  context.on('weberror', (error) => wrong.push(`thrown: ${error.error().stack}`));
  context.on('page', (page) => page.on('websocket', (socket) => {
    asked.add('websocket');
    look('a WebSocket', socket.url());
  }));
  return { wrong, asked };
}

async function together({ page, alice, bob, wrong }) {
  await page.locator('[data-testid="wire"][data-live="true"]').waitFor();
  for (const [phone, name] of [[alice, NAMES.alice], [bob, NAMES.bob]]) {
    await phone.login();
    await phone.notice('ok', 'the phone keeps only an skey');
    step('who am I');
    await phone.press('user');
    await phone.at('user-answer').getByText(`the server says: ${name}`).waitFor();
  }
  assert.notEqual(await alice.skey(), await bob.skey());

  step('a picture goes up and comes back');
  await alice.press('upload-sample');
  await alice.notice('ok', 'fetched back');
  await alice.at('picture').waitFor();
  const size = await alice.at('picture').evaluate(async (image) => {
    await image.decode();
    return [image.naturalWidth, image.naturalHeight, image.src];
  });
  assert.ok(size[0] > 0 && size[1] > 0, `the picture is ${size}`);
  step('a file of one’s own too');
  await bob.at('upload-file').setInputFiles({
    name: 'grey.gif', mimeType: 'image/gif',
    buffer: Buffer.from('R0lGODlhAQABAIAAAICAgAAAACwAAAAAAQABAAACAkQBADs=', 'base64'),
  });
  await bob.notice('ok', 'fetched back');
  assert.equal(await bob.at('picture').evaluate(async (image) => { await image.decode(); return image.naturalWidth; }), 1);
  step('what is no picture is refused in a sentence');
  await bob.at('upload-file').setInputFiles({ name: 'x.png', mimeType: 'image/png', buffer: Buffer.from('<svg onload=alert(1)>') });
  await bob.notice('error', 'The server did not take the picture');
  // The browser itself logs an answer that is a refusal; this one was wanted.
  const refused = wrong.splice(0);
  assert.equal(refused.length, 1, JSON.stringify(refused));
  assert.match(refused[0], /^console: .* 415 /);

  await alice.join();
  await alice.notice('ok', 'alone in the room');
  await bob.join();
  await alice.sees(`${NAMES.bob} joined`);
  await alice.at('chat-people').getByText('(2)').waitFor();
  step('they speak');
  await alice.say(PHRASE);
  await bob.hears(PHRASE);
  await bob.say('hello Alice');
  await alice.hears('hello Alice');
  assert.equal(await bob.at('bubble').count(), 2, 'an echo is no second bubble');
  step('Bob leaves, and Alice sees it');
  await bob.press('chat-leave');
  await bob.state('in');
  await alice.sees(`${NAMES.bob} left`);
  await alice.at('chat-people').getByText('(1)').waitFor();
  step('Bob comes back');
  await bob.join();
  await alice.say('again');
  await bob.hears('again');
  step('a page that is closed has left too');
  const other = await page.context().newPage();
  await other.goto(url);
  const later = phoneOn(other, 'bob');
  await later.state('in');
  await page.close();
  await later.join();
  await later.at('chat-people').getByText('(1)').waitFor();
}

async function refusal({ page, alice, bob }) {
  // The switch stands on the login screen and on the home screen.
  await page.getByTestId('phone-alice').getByRole('switch').filter({ visible: true }).and(page.locator(':not([inert] *)')).click();
  await alice.notice('ok', 'refuses to share its profile');
  await alice.login();
  await alice.notice('ok', 'getUserInfo:fail auth deny');
  assert.equal(await alice.at('name').textContent(), 'WeChat user');
  await alice.press('user');
  await alice.at('user-answer').getByText('the server says: WeChat user').waitFor();
  step('Bob did not refuse');
  await bob.login();
  assert.equal(await bob.at('name').textContent(), NAMES.bob);
  step('Alice changes her mind');
  await alice.press('refuse');
  await alice.notice('ok', 'shares its profile');
  await alice.press('clear');
  await alice.state('out');
  await alice.login();
  assert.equal(await alice.at('name').textContent(), NAMES.alice);
  step('the wire shows the refusal');
  await page.locator('[data-testid="wire-arrow"][data-from="wechat"][data-phone="alice"]', { hasText: 'auth deny' }).first().waitFor();
}

async function expiry({ page, alice, bob }) {
  await alice.login();
  await bob.login();
  const [first, bobs] = [await alice.skey(), await bob.skey()];
  assert.match(first, /^[0-9a-f]{64}$/);
  step('the session expires');
  await alice.press('expire');
  await alice.notice('ok', 'the phone does not know it');
  step('and nobody notices');
  await alice.press('user');
  await alice.notice('ok', 'The user noticed nothing');
  await alice.at('user-answer').getByText(`the server says: ${NAMES.alice}`).waitFor();
  const second = await alice.skey();
  assert.match(second, /^[0-9a-f]{64}$/);
  assert.notEqual(second, first);
  assert.equal(await bob.skey(), bobs, 'another phone keeps its session');
  step('a reload is still logged in');
  await page.reload();
  await alice.state('in');
  await alice.notice('ok', 'Still logged in');
  assert.equal(await alice.skey(), second);
  step('storage is cleared');
  await alice.press('clear');
  await alice.state('out');
  assert.equal(await alice.skey(), null);
  await bob.state('in');
  await alice.login();
  assert.equal(await alice.at('name').textContent(), NAMES.alice);
}

async function wire({ page, alice, bob }) {
  await page.locator('[data-testid="wire"][data-live="true"]').waitFor();
  assert.ok(await page.getByTestId('wire-hint').isVisible(), 'a visitor is told what comes');
  await alice.login();
  await arrow(page, 'skey', 'alice').waitFor();
  step('the login is the sequence of the tutorials');
  const sequence = (await arrows(page)).map(({ label, from, to, phone }) => `${phone}: ${from} ${label} ${to}`);
  assert.deepEqual(sequence, [
    'alice: phone wx.login wechat', 'alice: wechat code phone',
    'alice: phone wx.getUserInfo wechat', 'alice: wechat encryptedData + iv phone',
    'alice: phone code → /login weappd',
    'alice: weappd code2Session wechat', 'alice: wechat openid + session_key weappd',
    'alice: weappd skey phone',
  ]);
  await bob.login();
  await alice.press('upload-sample');
  await alice.notice('ok', 'fetched back');
  await alice.join();
  await bob.join();
  await bob.say('for the wire');
  await alice.hears('for the wire');
  await alice.press('chat-leave');
  await bob.sees(`${NAMES.alice} left`);
  for (const label of [
    'wx.uploadFile', 'imgUrl', 'wx.downloadFile', 'picture', 'skey → /tunnel', '/get/wsurl',
    'tunnelId + connectUrl', 'connectUrl', 'wx.connectSocket', 'connect', 'timeout', 'message',
    '/ws/push', 'close',
  ]) {
    step(`an arrow named ${label}`);
    await arrow(page, label).waitFor();
  }
  step('every arrow opens, and none shows a secret');
  const secrets = [await alice.skey(), await bob.skey()];
  assert.ok(secrets.every(Boolean));
  const rows = page.getByTestId('wire-arrow');
  const count = await rows.count();
  let masked = 0;
  for (let at = 0; at < count; at += 1) {
    await rows.nth(at).click();
    const text = await page.getByTestId('wire-detail-json').textContent();
    const hop = await rows.nth(at).evaluate((row) => JSON.stringify(row.hop));
    for (const shown of [text, hop]) {
      assert.doesNotMatch(shown, /[0-9a-f]{64}/i, `an skey in ${shown}`);
      assert.doesNotMatch(shown, /\/weapp\/ws\/[\w-]{24,}/, `a connect URL in ${shown}`);
      assert.doesNotMatch(shown, /session_key\\?"\s*:\s*\\?"[A-Za-z0-9+/]{22}==/, `a session key in ${shown}`);
      for (const secret of secrets) assert.ok(!shown.includes(secret));
    }
    if (/(skey|session_key)/.test(text) && /[…*•]/.test(text)) masked += 1;
  }
  assert.ok(masked > 0, 'secrets are there, and masked');
  await page.getByTestId('wire-detail-close').click();
  const all = await page.getByTestId('wire').textContent();
  assert.doesNotMatch(all, /[0-9a-f]{64}/i);
  step('only Bob’s arrows');
  await page.getByTestId('wire-filter-bob').click();
  assert.ok(!await arrow(page, 'wx.login', 'alice').isVisible());
  assert.ok(await arrow(page, 'wx.login', 'bob').isVisible());
  await page.getByTestId('wire-filter-all').click();
  step('a pause holds arrows back, and lets them go');
  await page.getByTestId('wire-pause').click();
  await bob.press('chat-leave');
  await bob.press('user');
  await page.getByTestId('wire-pause').getByText(/Go on \(\d+\)/).waitFor();
  const before = (await arrows(page)).length;
  await page.getByTestId('wire-pause').click();
  await page.waitForFunction((least) => document.querySelectorAll('[data-testid="wire-arrow"]').length > least, before);
  await page.getByTestId('wire-clear').click();
  assert.equal(await rows.count(), 0);
}

async function languages({ page, alice }) {
  assert.equal(await page.title(), 'weappd dev: two phones and the wire');
  await alice.at('login').getByText('Log in with WeChat').waitFor();
  step('Chinese');
  await page.getByTestId('language').click();
  await alice.at('login').getByText('微信登录').waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh-CN');
  await alice.login();
  await alice.notice('ok', '登录成功');
  step('a reload remembers it');
  await page.reload();
  await alice.notice('ok', '仍在登录中');
  await page.getByTestId('language').click();
  await alice.notice('ok', 'Still logged in');
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'en');
  const left = await page.evaluate(() => [...document.querySelectorAll('[data-word]')]
    .filter((element) => /[\u4e00-\u9fff]/.test(element.textContent) && element.dataset.word !== 'language')
    .map((element) => element.dataset.word));
  assert.deepEqual(left, [], 'no text stays behind in the other language');
  step('the browser’s own language is the first one');
  const browser = await chromium.launch({ executablePath, args: FLAGS });
  const context = await browser.newContext({ locale: 'zh-CN' });
  const fresh = await context.newPage();
  await fresh.goto(url);
  await fresh.getByTestId('phone-alice-login').getByText('微信登录').waitFor();
  await browser.close();
}

// The simulator's own page, not the phones'.
async function desk({ page }) {
  const at = (name) => page.getByTestId(name);
  const calls = (path) => page.locator(`[data-testid="call"][data-path="${path}"]`);
  const server = (path, body) => page.evaluate(async ([where, what]) => {
    const answer = await fetch(where, what ? { method: 'POST', body: JSON.stringify(what) } : {});
    return answer.json();
  }, [path, body]);
  await at('calls').getByText('Point your server at').waitFor();
  step('a user');
  await at('user-add-input').fill('alice');
  await at('user-add').click();
  await at('user-alice').getByText('no session').waitFor();
  await at('user-alice-login').click();
  await at('user-alice').getByText('logged in').waitFor();
  assert.match(await at('users').locator('code').first().innerText(), /^[0-9a-f]{32}$/);
  await at('user-alice-login').click();
  await calls('wx.login').nth(1).waitFor();
  step('two looks later each call is there once');
  const before = await at('clock').locator('.big-time').innerText();
  await page.waitForFunction(([was]) => document.querySelector('.big-time').textContent !== was, [before]);
  assert.equal(await calls('wx.login').count(), 2);
  step('a bad day');
  await at('fault-limit').click();
  await at('weather').getByText('Too often, 1 left').waitFor();
  const query = '?appid=wxtest&secret=secret&js_code=none&grant_type=authorization_code';
  assert.equal((await server(`/sns/jscode2session${query}`)).errcode, 45011);
  await at('weather').getByText('All is well.').waitFor();
  await calls('/sns/jscode2session').locator('.chip.bad', { hasText: '45011' }).waitFor();
  step('a token, which nobody sees');
  const asked = { grant_type: 'client_credential', appid: 'wxtest', secret: 'secret' };
  const { access_token: token } = await server('/cgi-bin/stable_token', asked);
  await at('tokens').getByText('stable_token').waitFor();
  await calls('/cgi-bin/stable_token').click();
  await at('call-detail').getByText('expires_in').waitFor();
  assert.ok(!(await page.content()).includes(token));
  await page.keyboard.press('Escape');
  await at('call-detail').waitFor({ state: 'hidden' });
  step('time');
  await at('codes').locator('.fact').first().waitFor();
  await at('clock-forward-300').click();
  await at('codes').getByText('No code is alive.').waitFor();
  await at('clock-back').click();
  await at('clock').getByText('as the clock').waitFor();
  step('Chinese');
  await at('language').click();
  await at('user-alice').getByText('已登录').waitFor();
  await at('weather').getByText('一切正常。').waitFor();
  assert.equal(await page.evaluate(() => document.documentElement.lang), 'zh-CN');
}

async function main() {
  const context = await chromium.launchPersistentContext(profile, {
    executablePath, args: FLAGS, headless: true, locale: 'en-US', ignoreHTTPSErrors: true,
    viewport: { width: 1440, height: 900 },
  });
  context.setDefaultTimeout(PATIENCE);
  const { wrong, asked } = watch(context);
  const page = await context.newPage();
  await page.goto(url);
  const [alice, bob] = ['alice', 'bob'].map((user) => phoneOn(page, user));
  try {
    const stories = { together, refusal, expiry, wire, languages, desk, ...promises, ...looks };
    await stories[story]({ page, alice, bob, wrong, url, pid: Number(pid) });
    assert.deepEqual(wrong, []);
    assert.ok(asked.size > 0, 'requests are watched');
    if (story === 'together') assert.ok(asked.has('websocket'), 'WebSockets are watched');
  } catch (error) {
    console.log(`wrong: ${JSON.stringify(wrong, null, 2)}`);
    if (!page.isClosed()) {
      for (const { label, from, to, phone } of await arrows(page)) console.log(`arrow: ${phone}: ${from} ${label} ${to}`);
      const phones = story === 'desk' ? [] : ['alice', 'bob'];
      for (const user of phones) console.log(`${user}: ${await page.getByTestId(`phone-${user}`).innerText()}`);
    }
    throw error;
  } finally {
    await context.close();
  }
  console.log('done');
}

main().catch((error) => {
  console.error(error.stack);
  process.exit(1);
});
