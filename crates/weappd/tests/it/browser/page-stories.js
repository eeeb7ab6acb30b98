// Stories of the phone page that each hold one promise to whoever looks at it.

const assert = require('node:assert/strict');
const fs = require('node:fs');
const { arrow, arrows, step, NAMES } = require('./phones.js');

const rowsOf = (page) => page.getByTestId('wire-arrow');

/** Waits until the wire shows at least so many arrows. */
const atLeast = (page, count) => page.waitForFunction(
  (least) => document.querySelectorAll('[data-testid="wire-arrow"]').length >= least, count);

/** Requests of nobody's, which the wire shows each as two arrows. */
async function fill(page, requests) {
  await page.evaluate(async (count) => {
    for (let at = 0; at < count; at += 1) await fetch('/weapp/user');
  }, requests);
}

async function inTheRoom({ alice, bob }) {
  await alice.login();
  await bob.login();
  await alice.join();
  await bob.join();
  await alice.sees(`${NAMES.bob} joined`);
}

/** Every hop of a phone starts or ends at its own phone, an upload too. */
async function whose({ page, alice, bob }) {
  await alice.login();
  await bob.login();
  step('both send a picture');
  for (const [phone, user] of [[alice, 'alice'], [bob, 'bob']]) {
    await phone.press('upload-sample');
    await phone.notice('ok', 'fetched back');
    for (const label of ['wx.uploadFile', 'imgUrl', 'wx.downloadFile', 'picture']) await arrow(page, label, user).waitFor();
  }
  step('a session that ended is refused at its own phone');
  await bob.press('expire');
  await bob.press('user');
  await bob.notice('ok', 'The user noticed nothing');
  const lost = (await arrows(page)).filter(({ from, to, phone }) => [from, to].includes('phone') && !phone);
  assert.deepEqual(lost, [], 'no arrow starts between the phones');
}

/** What a phone says agrees with what it shows. */
async function agreement({ alice, bob }) {
  await alice.login();
  step('who refuses while logged in is still called by name');
  await alice.press('refuse');
  await alice.notice('ok', `You stay logged in as ${NAMES.alice}`);
  assert.equal(await alice.at('name').textContent(), NAMES.alice);
  await alice.press('clear');
  await alice.login();
  const name = await alice.at('name').textContent();
  await alice.notice('ok', name === NAMES.alice ? `The server still says ${NAMES.alice}` : 'not your name');
  step('alone, until the other comes');
  await bob.login();
  await alice.join();
  await alice.notice('ok', 'alone in the room');
  await bob.join();
  await alice.notice('ok', `is in the room`);
  await bob.press('chat-leave');
  await alice.notice('ok', 'You are alone in the room now');
  await alice.say('anybody?');
  await alice.notice('ok', 'alone in the room');
}

/** A weappd that stands still is not called connected. */
async function cut({ page, alice, bob, pid }) {
  await inTheRoom({ alice, bob });
  const long = { timeout: 90000 };
  process.kill(pid, 'SIGSTOP');
  try {
    step('weappd stands still');
    await page.locator('[data-testid="wire"][data-live="false"]').waitFor(long);
    await page.getByTestId('wire-trouble').getByText('The wire is cut').waitFor();
    for (const phone of [alice, bob]) {
      await phone.notice('error', 'weappd does not answer');
      await phone.at('offline').waitFor();
    }
  } finally {
    process.kill(pid, 'SIGCONT');
  }
  step('and goes on');
  await page.locator('[data-testid="wire"][data-live="true"]').waitFor(long);
  await alice.at('offline').waitFor({ state: 'hidden' });
  await page.getByTestId('wire-trouble').waitFor({ state: 'hidden' });
  await page.locator('[data-testid="phone-alice-notice"][data-kind="ok"]').waitFor(long);
}

/** A hop costs the same however many there were before. */
async function rows({ page, alice, bob }) {
  await inTheRoom({ alice, bob });
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const layouts = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'LayoutCount').value;
  };
  /** How often the page was laid out while 100 held arrows came in at once. */
  const burst = async () => {
    await page.getByTestId('wire-pause').click();
    await fill(page, 50);
    await page.getByTestId('wire-pause').getByText('(100)').waitFor({ state: 'attached' });
    const before = await layouts();
    await page.evaluate(() => new Promise((done) => {
      document.querySelector('[data-testid="wire-pause"]').click();
      requestAnimationFrame(() => requestAnimationFrame(done));
    }));
    return await layouts() - before;
  };
  step('few rows');
  const few = await burst();
  step('600 rows');
  await fill(page, 300);
  await atLeast(page, 560);
  const many = await burst();
  console.log(`layouts for 100 arrows: ${few}, and ${many} with 600 before them`);
  // One by one they were 200. The phones and the buttons have their own.
  assert.ok(few <= 20 && many <= 20, `laid out ${few} and ${many} times`);
  step('rows out of sight are not laid out, and no more than 600 are kept');
  const told = await page.evaluate(() => {
    const all = [...document.querySelectorAll('[data-testid="wire-arrow"]')];
    const drawn = all.filter((row) => row.checkVisibility({ contentVisibilityAuto: true })).length;
    const { scrollHeight } = document.querySelector('.wire-body');
    const apart = [...document.querySelectorAll('.rows > *')].map((block) => block.childElementCount);
    return { all: all.length, drawn, scrollHeight, apart: Math.max(...apart) };
  });
  assert.ok(told.all <= 600 && told.all > 500, JSON.stringify(told));
  assert.ok(told.drawn <= 160, JSON.stringify(told));
  assert.ok(told.scrollHeight >= told.all * 42, 'what is not drawn still has its height');
  step('no arrow keeps an animation that has ended: each would cost with every later one');
  await page.waitForFunction(() => [...document.querySelectorAll('[data-testid="wire-arrow"] span')]
    .every((part) => getComputedStyle(part).animationName === 'none'));
  step('the last is in sight, and a message passes');
  await alice.say('after 600');
  await bob.hears('after 600');
  await page.waitForFunction(() => {
    const body = document.querySelector('.wire-body');
    return body.scrollHeight - body.scrollTop - body.clientHeight < 48;
  });
}

/** One Tab stop for all arrows, arrow keys inside, Esc leaves. */
async function keyboard({ page, alice }) {
  await alice.login();
  await fill(page, 40);
  await atLeast(page, 80);
  step('Tab visits the arrows once');
  await page.locator('.skip').focus();
  const visited = [];
  for (let at = 0; at < 60; at += 1) {
    await page.keyboard.press('Tab');
    const on = await page.evaluate(() => {
      const { activeElement: element } = document;
      return element === document.body ? null : element.dataset.testid || element.className || element.tagName;
    });
    if (on === null) break;
    visited.push(on);
  }
  assert.ok(visited.length < 50, `${visited.length} Tab stops`);
  assert.equal(visited.filter((on) => on === 'wire-arrow').length, 1, visited.join(' '));
  step('arrow keys walk, Enter opens, Esc closes, Esc leaves');
  await page.locator('[data-testid="wire-arrow"][tabindex="0"]').focus();
  const at = () => page.evaluate(() => [...document.querySelectorAll('[data-testid="wire-arrow"]')].indexOf(document.activeElement));
  const last = await rowsOf(page).count() - 1;
  await page.keyboard.press('End');
  assert.equal(await at(), last);
  await page.keyboard.press('ArrowUp');
  assert.equal(await at(), last - 1);
  await page.keyboard.press('Home');
  assert.equal(await at(), 0);
  await page.keyboard.press('ArrowDown');
  assert.equal(await at(), 1);
  await page.keyboard.press('Enter');
  await page.getByTestId('wire-detail').waitFor();
  await page.keyboard.press('ArrowDown');
  assert.equal(await at(), 2);
  await page.keyboard.press('Escape');
  await page.getByTestId('wire-detail').waitFor({ state: 'hidden' });
  assert.equal(await at(), 2, 'the focus stays where it was');
  await page.keyboard.press('Escape');
  assert.equal(await at(), -1, 'Esc leaves the arrows');
  assert.equal(await page.evaluate(() => document.activeElement.dataset.testid), 'wire-pause');
  step('the menu opens and closes by keyboard');
  const menu = page.getByTestId('wire-menu');
  await menu.focus();
  await page.keyboard.press('Enter');
  await page.getByTestId('wire-save').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Escape');
  await page.getByTestId('wire-save').waitFor({ state: 'hidden' });
  assert.ok(await menu.evaluate((element) => element === document.activeElement));
  step('Esc in the open hop goes back to its arrow');
  await page.locator('[data-testid="wire-arrow"][tabindex="0"]').focus();
  await page.keyboard.press('Enter');
  await page.getByTestId('wire-detail-json').focus();
  await page.keyboard.press('Escape');
  assert.equal(await at(), 2);
}

/** A reload keeps the chat and the wire; what was wiped away stays away. */
async function reload({ page, alice, bob }) {
  await inTheRoom({ alice, bob });
  await alice.say('before the reload');
  await bob.hears('before the reload');
  await arrow(page, '/ws/push').waitFor();
  const drawn = () => rowsOf(page).evaluateAll((all) => all.map(({ hop, dataset }) => `${hop.seq} ${dataset.label} ${dataset.phone}`));
  const before = await drawn();
  step('reload');
  await page.reload();
  await alice.state('chat');
  await bob.state('chat');
  await bob.hears('before the reload');
  await alice.at('bubble').filter({ hasText: 'before the reload' }).waitFor();
  await atLeast(page, before.length);
  assert.deepEqual((await drawn()).slice(0, before.length), before, 'the same arrows, at the same phones');
  await alice.at('chat-people').getByText('(2)').waitFor();
  step('and the chat goes on');
  await alice.say('after the reload');
  await bob.hears('after the reload');
  assert.equal(await bob.at('bubble').count(), 2);
  step('a wire that was wiped is empty after a reload, but for what comes then');
  await page.getByTestId('wire-clear').click();
  const newest = Math.max(...before.map((line) => Number(line.split(' ')[0])));
  await page.reload();
  await alice.state('chat');
  const old = (await drawn()).filter((line) => Number(line.split(' ')[0]) <= newest);
  assert.deepEqual(old, []);
  step('who left the room is not in it after a reload');
  await bob.press('chat-leave');
  await bob.state('in');
  await page.reload();
  await alice.state('chat');
  await bob.state('in');
}

/** The page is told of the simulator's own, which leads back. */
async function links({ page, url }) {
  await page.getByTestId('to-desk').click();
  await page.getByTestId('calls').waitFor();
  await page.getByTestId('to-phones').click();
  await page.waitForURL(url);
  await page.getByTestId('phone-alice-login').waitFor();
}

/** The wire is saved, as JSON and as HAR, and opened again as text and nothing else. */
async function saved({ page, alice }) {
  await alice.login();
  await arrow(page, 'skey', 'alice').waitFor();
  const download = async (what) => {
    await page.getByTestId('wire-menu').click();
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByTestId(what).click()]);
    return { name: file.suggestedFilename(), json: JSON.parse(fs.readFileSync(await file.path(), 'utf8')) };
  };
  step('as JSON');
  const { name, json } = await download('wire-save');
  assert.match(name, /^weappd-wire-.*\.json$/);
  assert.deepEqual([json.format, json.version, json.users], ['weappd-wire', 1, ['alice', 'bob']]);
  assert.deepEqual(json.hops.map(({ name: hop, phone }) => [hop, phone]).slice(0, 2), [['wx.login', 'alice'], ['wx.login', 'alice']]);
  assert.ok(!JSON.stringify(json).includes(await alice.skey()), 'no secret goes into the file');
  step('as HAR');
  const har = await download('wire-saveHar');
  assert.match(har.name, /\.har$/);
  const { log } = har.json;
  assert.equal(log.version, '1.2');
  const login = log.entries.find(({ request }) => request.url.endsWith('/weapp/login'));
  assert.equal(login.request.method, 'GET');
  assert.ok(login.request.headers.some(({ name: header }) => header === 'x-wx-code'));
  for (const { startedDateTime, time, request, response, cache, timings } of log.entries) {
    assert.ok(!Number.isNaN(Date.parse(startedDateTime)) && time >= 0 && cache && timings.wait >= 0);
    assert.ok(request.method && new URL(request.url) && Array.isArray(request.headers) && Array.isArray(request.queryString));
    assert.ok(Number.isInteger(response.status) && typeof response.content.text === 'string');
  }
  step('what another wrote is only text');
  const evil = '<img src=x onerror="document.title=1">';
  const bad = [{ from: 'phone', to: 'weappd', at: 5, name: evil, phone: 'mallory', detail: { [evil]: evil, deep: [[[[evil]]]] } },
    { from: 'nobody', to: 'weappd' }, null, 7, { from: 'app', to: 'app', name: { a: 1 }, at: 'never', answer: true, detail: evil }];
  const open = (file, content) => page.getByTestId('wire-open-file')
    .setInputFiles({ name: file, mimeType: 'application/json', buffer: Buffer.from(content) });
  await open('evil.json', JSON.stringify({ ...json, savedAt: evil, hops: [...json.hops, ...bad] }));
  await page.getByTestId('wire-saved').getByText('evil.json').waitFor();
  await atLeast(page, json.hops.length + 2);
  assert.equal(await rowsOf(page).count(), json.hops.length + 2);
  await rowsOf(page).nth(json.hops.length).click();
  await page.getByTestId('wire-detail-json').getByText(evil).first().waitFor();
  assert.equal(await page.locator('.wire img').count(), 0);
  assert.equal(await page.title(), 'weappd dev: two phones and the wire');
  step('what is no saved wire is named, and nothing changes');
  for (const [file, content, said] of [['no.json', 'no', 'no JSON file'], ['other.json', '{"log":{}}', 'no saved wire'],
    ['new.json', '{"format":"weappd-wire","version":9,"hops":[]}', 'newer weappd']]) {
    await open(file, content);
    await page.getByTestId('wire-trouble').getByText(said).waitFor();
  }
  step('back to live, which went on meanwhile');
  await alice.press('user');
  await alice.notice('ok', 'the server answered');
  await page.getByTestId('wire-live').click();
  await page.getByTestId('wire-saved').waitFor({ state: 'hidden' });
  await arrow(page, 'skey → /user', 'alice').waitFor();
  await arrow(page, 'wx.login', 'alice').waitFor();
}

/** One's own app has `/`; the phone page stands aside, and shows how the app ended. */
async function beside({ page, url, wrong }) {
  const origin = new URL(url).origin;
  await page.goto(`${origin}/_dev/`);
  const alice = require('./phones.js').phoneOn(page, 'alice');
  await alice.state('out');
  step('the app’s own first page');
  await page.getByTestId('to-app').click();
  await page.waitForURL(`${origin}/`);
  await page.getByText('the app’s own page').waitFor();
  await page.goto(`${origin}/_dev`);
  await page.waitForURL(`${origin}/_dev/`);
  await alice.login();
  step('the app ends while it is asked');
  await page.evaluate(() => fetch('/end', { referrer: '/_dev/phones/alice', referrerPolicy: 'same-origin' }).catch(() => {}));
  await page.getByTestId('server-sentence').getByText('ended with exit code 7').waitFor();
  await page.getByTestId('server-lines').getByText('out of luck').waitFor();
  const row = page.locator('[data-testid="wire-arrow"][data-name="exited"]').first();
  await row.waitFor();
  await row.click();
  await page.getByTestId('wire-detail-json').getByText('out of luck').first().waitFor();
  await page.getByTestId('wire-detail-close').click();
  step('what weappd refuses, the app never said');
  await page.evaluate(() => fetch('/weapp/anything', { referrer: '/_dev/phones/bob', referrerPolicy: 'same-origin' }));
  // The one where its address is still known, the other where it is not.
  for (const user of ['alice', 'bob']) {
    const refusals = ['app_not_ready', 'bad_gateway'].map((label) => `[data-testid="wire-arrow"][data-to="phone"][data-phone="${user}"][data-label="${label}"]`);
    await page.locator(refusals.join()).first().waitFor();
  }
  const said = await rowsOf(page).evaluateAll((all) => all.map(({ hop }) => hop)
    .filter(({ from, answer, detail }) => from === 'app' && answer && [502, 503].includes(detail?.status)));
  assert.deepEqual(said, []);
  step('in Chinese');
  await page.getByTestId('language').click();
  await page.getByTestId('server-sentence').getByText('退出码 7').waitFor();
  // The browser logs the two answers that were wanted.
  const wanted = wrong.splice(0);
  assert.ok(wanted.length === 2 && wanted.every((line) => /^console: .* 50[23] /.test(line)), JSON.stringify(wanted));
}

module.exports = { whose, agreement, cut, rows, keyboard, reload, links, saved, beside };
