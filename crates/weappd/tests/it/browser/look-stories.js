// Stories of what the eye meets: contrast, what is above the fold, words of one language.

const assert = require('node:assert/strict');
const { arrow, step } = require('./phones.js');

/** In the page: each visible text whose contrast with what is behind it is too low. */
function tooFaint() {
  const found = [];
  const pen = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const channels = (text) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = text;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = ([r, g, b, a], below) => [r, g, b].map((one, at) => one * a + below[at] * (1 - a));
  const light = (colour) => {
    const [r, g, b] = colour.map((one) => (one / 255 <= .04045 ? one / 255 / 12.92 : ((one / 255 + .055) / 1.055) ** 2.4));
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + .05) / (low + .05);
  };
  function look(element, pseudo, text) {
    const style = getComputedStyle(element, pseudo);
    const chain = [];
    let opacity = 1;
    for (let one = element; one; one = one.parentElement) {
      const { backgroundColor, backgroundImage, opacity: own } = getComputedStyle(one);
      // A portrait's letter stands on a picture.
      if (backgroundImage.includes('gradient') && one.classList.contains('portrait')) return;
      chain.unshift(channels(backgroundColor));
      opacity *= Number(own);
    }
    const behind = chain.reduce((below, layer) => over(layer, below), [255, 255, 255]);
    const [r, g, b, a] = channels(style.color);
    const size = parseFloat(style.fontSize);
    const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const got = ratio(over([r, g, b, a * opacity], behind), behind);
    if (got < least) found.push(`${got.toFixed(2)} ${element.className || element.tagName}${pseudo || ''}: ${text.slice(0, 30)}`);
  }
  for (const element of document.querySelectorAll('body *')) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.data.trim()).join(' ').trim();
    // What is only drawn (the ghosts of the hint), what is off or not in sight is not read.
    const isRead = element.checkVisibility({ opacityProperty: true, visibilityProperty: true, contentVisibilityAuto: true })
      && !element.closest('.ghosts, [inert], :disabled, .visually-hidden, .skip');
    if (isRead && text) look(element, null, text);
    if (isRead && element.placeholder && !element.value) look(element, '::placeholder', element.placeholder);
  }
  return [...new Set(found)];
}

/** Whoever reads needs 4.5 to 1, in both schemes, wherever the page is. */
async function contrast({ page, alice, bob }) {
  const look = async (where) => {
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
      assert.deepEqual(await page.evaluate(tooFaint), [], `${where}, ${colorScheme}`);
    }
  };
  step('the first look');
  await look('first');
  await alice.login();
  await bob.login();
  await alice.press('expire');
  await alice.notice('ok', 'expired');
  await look('home');
  await alice.press('user');
  await alice.notice('ok', 'noticed nothing');
  await alice.join();
  await bob.join();
  await alice.say('hello');
  await bob.hears('hello');
  await page.locator('[data-testid="phone-alice-bubble"]:not(.waiting)').first().waitFor();
  await look('chat');
  step('an open hop, a menu, an error');
  await arrow(page, 'ERR_SKEY_INVALID').click();
  await look('refused');
  await arrow(page, 'openid + session_key', 'alice').click();
  await page.getByTestId('wire-menu').click();
  await look('detail');
  step('the same by the button');
  await page.emulateMedia({ colorScheme: 'light', reducedMotion: 'reduce' });
  for (const theme of ['light', 'dark']) {
    await page.getByTestId('theme').click();
    assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), theme);
    assert.deepEqual(await page.evaluate(tooFaint), [], theme);
  }
  step('the simulated WeChat’s page');
  await page.getByTestId('theme').click();
  await page.getByTestId('to-desk').click();
  await page.getByTestId('user-alice').waitFor();
  await page.getByTestId('call').first().waitFor();
  await look('desk');
}

/** What teaches, what is pressed and where one writes are in sight without scrolling. */
async function fold({ page, alice, bob }) {
  const seen = async (width, height, what) => {
    await page.setViewportSize({ width, height });
    for (const element of what) {
      const box = await element.boundingBox();
      assert.ok(box && box.y >= 0 && box.y + box.height <= height && box.x >= 0 && box.x + box.width <= width,
        `${element} at ${width}x${height}: ${JSON.stringify(box)}`);
    }
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${wide} wide at ${width}x${height}`);
  };
  const sizes = [[1280, 720], [1366, 650], [1440, 900], [1920, 1080]];
  /** Each sentence fits its place. */
  const told = async (where) => {
    const cut = await page.evaluate(async () => {
      const { WORD_KEYS, t } = await import('/_dev/words.js');
      const notice = document.querySelector('[data-testid="phone-alice-notice"]');
      const place = notice.parentElement;
      const before = notice.textContent;
      const values = { name: 'Alice 爱丽丝', size: '45 KB', url: 'http://127.0.0.1:8082', text: 'ERR_SKEY_INVALID' };
      const long = WORD_KEYS.filter((key) => /^(idle|ok|now|e)(_|$)/.test(key)).filter((key) => {
        notice.textContent = t(key, values);
        return place.scrollHeight > place.clientHeight + 1;
      });
      notice.textContent = before;
      return long;
    });
    assert.deepEqual(cut, [], where);
  };
  for (const language of ['en', 'zh']) {
    step(language);
    const first = [alice, bob].flatMap((phone) => [phone.at('notice'), phone.at('login')]);
    for (const [width, height] of sizes) {
      await seen(width, height, [...first, page.getByTestId('wire-hint'), page.getByTestId('wire')]);
      await told(`${language} ${width}x${height}`);
    }
    await seen(400, 800, [alice.at('notice'), alice.at('login')]);
    await page.getByTestId('language').click();
  }
  await page.setViewportSize({ width: 1280, height: 720 });
  await alice.login();
  await bob.login();
  for (const [width, height] of sizes) {
    await seen(width, height, [alice.at('notice'), bob.at('notice'), alice.at('user'), alice.at('chat-join'), alice.at('upload-sample'), alice.at('expire')]);
  }
  await page.setViewportSize({ width: 1280, height: 720 });
  await alice.join();
  await bob.join();
  for (const [width, height] of sizes) {
    await seen(width, height, [alice, bob].flatMap((phone) => [phone.at('notice'), phone.at('chat-input'), phone.at('chat-send')]));
  }
}

// Names of the field, which Chinese texts use as they are.
const NAMES_OF_THE_FIELD = new RegExp(`^(${[
  'weappd', 'dev', 'app', 'restart', 'start', 'openid', 'session_key', 'skey', 'code', 'code2Session', 'wx\\.\\w+', 'X-WX-Skey', 'WebSocket',
  'connectUrl', 'HTTP', 'HAR', 'JSON', 'JPEG', 'PNG', 'GIF', 'BMP', 'MB', 'KB', 'Esc', 'auth', 'deny', 'English', 'Alice', 'Bob', 'WeChat',
].join('|')})$`);

/** No English inside Chinese sentences, but names. */
async function chinese({ page, alice, bob, wrong }) {
  const english = (text) => (text.match(/[A-Za-z][\w.-]*[A-Za-z0-9]/g) || []).filter((word) => !NAMES_OF_THE_FIELD.test(word));
  await page.getByTestId('language').click();
  step('every text');
  const texts = await page.evaluate(async () => {
    const { WORD_KEYS, currentLanguage, t } = await import('/_dev/words.js');
    return WORD_KEYS.filter((key) => key !== 'language' && key !== 'languageLabel').map((key) => [currentLanguage(), key, t(key)]);
  });
  assert.ok(texts.length > 100 && texts.every(([language]) => language === 'zh'));
  const bad = texts.map(([, key, text]) => [key, english(text.replace(/\{\w+\}/g, ''))]).filter(([, words]) => words.length);
  assert.deepEqual(bad, []);
  step('what is refused is told in Chinese too');
  await alice.login();
  await alice.at('upload-file').setInputFiles({ name: 'x.png', mimeType: 'image/png', buffer: Buffer.from('<svg>') });
  await alice.notice('error', '服务器没有接收这张图片');
  assert.equal(wrong.splice(0).length, 1, 'the browser logs the refusal');
  assert.deepEqual(english(await alice.at('notice').textContent()), []);
  await bob.login();
  await page.route('**/weapp/user', (route) => route.fulfill({ status: 500, body: 'oops' }));
  await bob.press('user');
  await bob.notice('error', '服务器返回');
  wrong.splice(0);
  assert.deepEqual(english(await bob.at('notice').textContent()), []);
}

module.exports = { contrast, fold, chinese };
