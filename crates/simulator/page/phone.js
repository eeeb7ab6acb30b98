// One phone on the stage: a mini program of a few cells and a chat room, over `wx` and the client.

import { createChat } from './chat.js';
import { createClient } from './client.js';
import { bubbles, h, icon, portrait, statusSigns } from './dom.js';
import { samplePicture } from './sample.js';
import { phoneAddress } from './whose.js';
import { currentLanguage, has, label, word } from './words.js';
import { createWx } from './wx.js';

const PICTURES = 'image/png,image/jpeg,image/gif,image/bmp';

/**
 * @param {{user: string, config: object, whose: object, tab: object}} parts
 * @returns {{element: HTMLElement, reach: (reached: boolean) => void}}
 */
export function createPhone({ user, config, whose, tab }) {
  const id = (name) => `phone-${user}-${name}`;
  const named = () => ({ word: user });
  const name = has(user) ? named() : user;
  const may = (url) => /^(data:|\/(?!\/))/.test(url)
    || [config.wechatUrl, location.origin].some((origin) => url.startsWith(`${origin}/`));
  const wx = createWx({
    user,
    wechatUrl: config.wechatUrl,
    storagePrefix: `weappd:${user}:`,
    referrer: phoneAddress(user),
    language: () => (currentLanguage() === 'zh' ? 'zh-CN,zh;q=0.9' : 'en,*;q=0.5'),
  });
  const client = createClient(wx, {
    base: location.origin + config.weappPrefix,
    onRenew: (what) => { if (what === 'expired') say('note', 'now_renew'); else state.renewed = true; },
  });
  const state = { who: null, expired: false, renewed: false, busy: false, cut: false, did: new Set() };

  // ---- the parts that change ----
  const notice = h('p', { class: 'notice-text', 'data-testid': id('notice'), role: 'status', 'aria-live': 'polite' });
  const face = h('span', { class: 'face' });
  const whoName = h('span', { class: 'who-name', 'data-testid': id('name') });
  const whoId = h('span', { class: 'who-id' });
  const whoState = h('span', { class: 'who-state' });
  const helloFace = h('span', { class: 'face large' });
  const loginText = word(h('span'), 'logIn');
  const login = h('button', { class: 'primary wide', 'data-testid': id('login'), onclick: () => run('login', doLogin) }, bubbles(22), loginText);
  const picture = h('img', { class: 'picture', hidden: true, 'data-testid': id('picture') });
  label(picture, 'pictureAlt', {}, 'alt');
  const userAnswer = word(h('span', { class: 'cell-note', 'data-testid': id('user-answer') }), 'userNote');
  const fileInput = h('input', { type: 'file', accept: PICTURES, class: 'visually-hidden', 'data-testid': id('upload-file'), onchange: sendChosen });
  label(fileInput, 'fileLabel');
  const refuses = [toggle(), toggle()];
  refuses[0].setAttribute('data-testid', id('refuse'));

  const buttons = {
    user: pill('ask', id('user'), () => run('user', doUser)),
    chat: pill('join', id('chat-join'), () => run('chat', () => doJoin())),
    picture: pill('sample', id('upload-sample'), () => run('picture', () => doUpload(samplePicture(user)))),
    expire: pill('expireDo', id('expire'), () => run('expire', doExpire)),
    clear: pill('clearDo', id('clear'), () => run('clear', doClear)),
  };
  label(buttons.picture, 'sampleLabel');

  const chat = createChat({ user, name, id, may, whose, tab, me: () => state.who, onLeave: doLeave, onEvent: chatEvent, onPeople: chatPeople,
    onSend: () => say('ok', chat.total() === 1 ? 'ok_chat_first' : 'ok_chat'),
  });

  // ---- screens ----
  const outside = h('div', { class: 'screen out' },
    h('div', { class: 'welcome' },
      helloFace,
      word(h('h2'), 'hello', { name }),
      word(h('p', { class: 'dim' }), 'helloNote')),
    login,
    h('div', { class: 'group' }, refuseCell(refuses[1])));
  const home = h('div', { class: 'screen home' },
    h('div', { class: 'card' }, face,
      h('div', { class: 'card-text' }, whoName, whoId), whoState),
    h('div', { class: 'group' },
      cell('who', 'user', userAnswer, buttons.user),
      cell('chat', 'chat', word(h('span', { class: 'cell-note' }), 'chatNote'), buttons.chat),
      pictureCell()),
    h('div', { class: 'group' },
      cell('clock', 'expire', word(h('span', { class: 'cell-note' }), 'expireNote'), buttons.expire),
      refuseCell(refuses[0]),
      cell('broom', 'clear', word(h('span', { class: 'cell-note' }), 'clearNote'), buttons.clear)));
  const offline = word(h('div', { class: 'offline', hidden: true, 'data-testid': id('offline') }), 'offline');
  const clock = h('span', { class: 'clock', 'aria-hidden': 'true' });
  const screens = h('div', { class: 'screens' }, outside, home, chat.element);
  const element = h('section', { class: 'phone', 'data-user': user, 'data-testid': `phone-${user}`, 'data-state': 'out' },
    h('div', { class: 'notice', 'data-kind': 'note' },
      h('div', {}, word(h('span', { class: 'notice-name' }), has(user) ? user : 'someone'), notice)),
    h('div', { class: 'bezel' }, h('div', { class: 'glass' },
      h('div', { class: 'status', 'aria-hidden': 'true' }, clock, h('span', { class: 'island' }), statusSigns()),
      h('div', { class: 'bar' }, chat.back, chat.title, word(h('span', { class: 'bar-title home-title' }), 'appTitle'),
        h('span', { class: 'capsule', 'aria-hidden': 'true' }, h('i', { class: 'dots' }), h('i', { class: 'ring' }))),
      offline, screens,
      h('div', { class: 'home-line', 'aria-hidden': 'true' }))));
  label(element, 'phoneOf', { name });

  function pill(key, testid, onclick) {
    return word(h('button', { class: 'pill', 'data-testid': testid, onclick }), key);
  }
  function cell(sign, key, note, ...acts) {
    return h('div', { class: 'cell' }, h('span', { class: 'cell-icon' }, icon(sign)),
      h('div', { class: 'cell-text' }, word(h('span', { class: 'cell-title' }), key), note), ...acts);
  }
  function refuseCell(button) {
    return cell('shield', 'refuse', word(h('span', { class: 'cell-note' }), 'refuseNote'), button);
  }
  function pictureCell() {
    const choose = h('label', { class: 'pill quiet' }, word(h('span'), 'file'), fileInput);
    return h('div', { class: 'cell picture-cell' },
      h('span', { class: 'frame' }, icon('picture', 28), picture),
      h('div', { class: 'cell-text' },
        word(h('span', { class: 'cell-title' }), 'picture'),
        word(h('span', { class: 'cell-note' }), 'pictureNote'),
        h('span', { class: 'pair' }, buttons.picture, choose)));
  }
  function toggle() {
    const button = h('button', { class: 'switch', role: 'switch', 'aria-checked': 'false', onclick: () => run('refuse', doRefuse) });
    return label(button, 'refuse');
  }

  // ---- what happens ----

  /** One deed at a time a phone: a second press while one runs does nothing. */
  async function run(what, deed) {
    if (state.busy) return;
    state.busy = true;
    state.renewed = false;
    show();
    try {
      await deed();
      state.did.add(what);
      if (state.renewed) say('ok', 'ok_renew');
      if (state.renewed) state.expired = false;
    } catch (error) {
      explain(what, error);
    } finally {
      state.busy = false;
      show();
    }
  }

  async function doLogin() {
    say('note', 'now_login');
    const got = await client.login();
    state.expired = false;
    learn(got);
    // Who refuses now may have said yes before: the server keeps what it was told.
    const refusal = got.userinfo?.nickName ? 'ok_login_refused_known' : 'ok_login_refused';
    say('ok', got.shared ? 'ok_login' : refusal, { name: calledBy(state.who) });
    show();
    focusOn(buttons.user);
  }

  async function doUser() {
    const got = await client.user();
    learn({ userinfo: got && (got.userInfo || got.userinfo || got) });
    word(userAnswer, 'userAnswer', { name: calledBy(state.who) });
    say('ok', 'ok_user', { name: calledBy(state.who) });
  }

  async function doJoin(again = false) {
    say('note', 'now_chat');
    state.chatting = true;
    const total = await chat.join(client.tunnel(), again);
    say('ok', total === 1 ? 'ok_chat_first' : 'ok_chat');
    show();
    chat.focus();
  }

  function doLeave() {
    chat.leave();
    state.chatting = false;
    say('ok', 'ok_leave');
    show();
    focusOn(buttons.chat);
  }

  function chatEvent(what) {
    if (what === 'reconnecting') say('note', 'reconnecting');
    else if (what === 'reconnected') say('ok', 'reconnected');
    else {
      state.chatting = false;
      say('error', what === 'lost' ? 'e_lost' : 'ok_leave');
      show();
    }
  }

  /** Others came or went: "alone in the room" must not outlive the arrival of another. */
  function chatPeople({ total, entered, name: who }) {
    if (!state.chatting || !chat.isOpen()) return;
    if (entered) say('ok', 'ok_chat_met', { name: who });
    else if (total === 1) say('ok', 'ok_chat_alone', { name: who });
  }

  async function doUpload(file) {
    say('note', 'now_upload');
    const chosen = await file;
    const stored = await client.upload(chosen);
    const { tempFilePath } = await client.download(stored.imgUrl);
    if (picture.src) URL.revokeObjectURL(picture.src);
    picture.src = tempFilePath;
    picture.hidden = false;
    say('ok', 'ok_upload', { size: sizeOf(chosen.size) });
  }

  function sendChosen() {
    const [file] = fileInput.files;
    fileInput.value = '';
    if (file) run('picture', () => doUpload(file));
  }

  async function doExpire() {
    await wx.owner.expireSession().catch((error) => { throw Object.assign(error, { kind: 'wechat' }); });
    client.spoil();
    state.expired = true;
    say('ok', 'ok_expire');
  }

  async function doRefuse() {
    const refused = refuses[0].getAttribute('aria-checked') !== 'true';
    await wx.owner.authorize(!refused).catch((error) => { throw Object.assign(error, { kind: 'wechat' }); });
    refuses.forEach((one) => one.setAttribute('aria-checked', String(refused)));
    const inside = state.who ? '_in' : '';
    say('ok', refused ? `ok_refuse_on${inside}` : `ok_refuse_off${inside}`, { name: calledBy(state.who) });
  }

  async function doClear() {
    wx.clearStorageSync();
    state.who = null;
    state.expired = false;
    picture.hidden = true;
    word(userAnswer, 'userNote');
    say('ok', 'ok_clear');
    show();
    focusOn(login);
  }

  /** Takes in what a login or /user told. */
  function learn({ userinfo }) {
    state.who = { ...state.who, ...userinfo };
  }

  // ---- telling ----

  function say(kind, key, values) {
    // While weappd does not answer, nothing else is true.
    const [shown, text] = state.cut ? ['error', 'e_cut'] : [kind, key];
    word(notice, text, state.cut ? {} : values);
    notice.dataset.kind = shown;
    notice.closest('.notice')?.setAttribute('data-kind', shown);
  }

  /** Whether weappd answers at all: who is cut off must not be called connected. */
  function reach(reached) {
    if (state.cut === !reached) return;
    state.cut = !reached;
    offline.hidden = reached;
    element.dataset.reached = String(reached);
    say('ok', 'ok_back');
  }

  /** An error's own words; those of this page in its language. */
  function wordsOf(text, statusCode) {
    const [, key] = OWN_WORDS.find(([looks]) => looks.test(text)) || [];
    if (key) return { word: key, values: { count: /\d+/.exec(text)?.[0] ?? '?' } };
    // A whole English sentence has no place in a Chinese one; the wire shows it.
    return /[a-z]+ [a-z]+ [a-z]+/.test(text) ? { word: 'r_said', values: { text, count: statusCode ?? '?' } } : text;
  }

  function explain(what, error) {
    const text = String(error.message || error.errMsg || error).replace(/^\w+:fail /, '');
    const values = { text: wordsOf(text, error.statusCode), url: config.wechatUrl };
    const gone = /unreachable|timeout/.test(text);
    if (what === 'chat') state.chatting = false;
    if (error.kind === 'wechat') say('error', gone ? 'e_wechat' : 'e_wechat_said', values);
    else if (error.kind === 'login') say('error', 'e_login', values);
    else if (error.kind === 'session') say('error', 'e_session', values);
    else if (gone) say('error', 'e_server', values);
    else if (what === 'chat') say('error', error.statusCode >= 500 ? 'e_app' : 'e_tunnel', values);
    else if (what === 'picture') say('error', 'e_upload', values);
    else say('error', 'e_server_said', values);
  }

  function calledBy(who) {
    return (who && who.nickName) || { word: 'someone' };
  }

  /** Draws the state: which screen, who, and which one button is the next to press. */
  function show() {
    const inside = Boolean(state.who);
    const next = nextStep();
    element.dataset.state = state.chatting && chat.isOpen() ? 'chat' : inside ? 'in' : 'out';
    element.classList.toggle('busy', state.busy);
    [outside, home, chat.element].forEach((screen, at) => {
      screen.inert = ['out', 'in', 'chat'][at] !== element.dataset.state;
    });
    for (const [what, button] of Object.entries(buttons)) button.classList.toggle('next', what === next);
    word(loginText, state.busy && !inside ? 'working' : 'logIn');
    if (inside) {
      const called = calledBy(state.who);
      if (called.word) word(whoName, called.word);
      else { delete whoName.dataset.word; whoName.textContent = called; }
      word(whoId, 'openid', { id: shortId(state.who.openId) || '…' });
      word(whoState, state.expired ? 'outdated' : 'loggedIn');
      whoState.dataset.expired = String(state.expired);
      face.replaceChildren(portrait(called.word ? '' : called, state.who.avatarUrl, user, may));
    }
  }

  function nextStep() {
    if (state.expired) return 'user';
    return ['user', 'chat', 'picture', 'expire'].find((what) => !state.did.has(what)) || 'chat';
  }

  function focusOn(button) {
    // Only follow whoever was working inside this phone; never take the focus from elsewhere.
    if (document.activeElement === document.body || element.contains(document.activeElement)) button.focus({ preventScroll: true });
  }

  function tick() {
    const now = new Date();
    clock.textContent = `${now.getHours()}:${String(now.getMinutes()).padStart(2, '0')}`;
  }

  async function start() {
    tick();
    setInterval(tick, 5000);
    helloFace.replaceChildren(portrait(user, '', user, may));
    say('note', 'idle');
    show();
    try {
      const about = await wx.owner.about();
      helloFace.replaceChildren(portrait(about.nickName || user, about.avatarUrl, user, may));
      refuses.forEach((one) => one.setAttribute('aria-checked', String(about.allows === false)));
      const stored = await client.resume();
      if (stored) {
        learn(stored);
        say('ok', 'ok_resume');
        const wasChatting = chat.restore();
        show();
        if (wasChatting) await run('chat', () => doJoin(true));
      }
    } catch {
      say('error', 'e_wechat', { url: config.wechatUrl });
    }
  }

  start();
  return { element, reach };
}

// What wx.js, wx-sockets.js and client.js say when something fails.
const OWN_WORDS = [
  [/^no connectUrl/, 'r_noUrl'], [/^the WebSocket was refused/, 'r_refused'], [/^closed \(/, 'r_closed'],
  [/^no pong/, 'r_noPong'], [/^WeChat answered \d/, 'r_status'], [/^HTTP \d/, 'r_status'], [/^no code/, 'r_noCode'],
  [/^file not found/, 'r_noFile'], [/^invalid url/, 'r_badUrl'], [/^exceed max socket/, 'r_sockets'],
];

const shortId = (openId) => (openId && openId.length > 14 ? `${openId.slice(0, 6)}…${openId.slice(-4)}` : openId);
const sizeOf = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1000))} KB` : `${(bytes / 1e6).toFixed(1)} MB`);
