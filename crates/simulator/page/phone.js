// One phone on the stage: a mini program of a few cells and a chat room, over `wx` and the client.

import { createChat } from './chat.js';
import { createClient } from './client.js';
import { bubbles, h, icon, portrait, statusSigns } from './dom.js';
import { samplePicture } from './sample.js';
import { has, label, word } from './words.js';
import { createWx } from './wx.js';

const PICTURES = 'image/png,image/jpeg,image/gif,image/bmp';

/**
 * @param {{user: string, config: object, whose: object}} parts
 * @returns {{element: HTMLElement}}
 */
export function createPhone({ user, config, whose }) {
  const id = (name) => `phone-${user}-${name}`;
  const named = () => ({ word: user });
  const name = has(user) ? named() : user;
  const may = (url) => /^(data:|\/(?!\/))/.test(url)
    || [config.wechatUrl, location.origin].some((origin) => url.startsWith(`${origin}/`));
  const wx = createWx({
    user,
    wechatUrl: config.wechatUrl,
    storagePrefix: `weappd:${user}:`,
    onCall({ phase, result }) {
      whose.calling(user, phase === 'start' ? 1 : -1);
      if (result) whose.learnSecret(user, result.code);
    },
  });
  const client = createClient(wx, {
    base: location.origin + config.weappPrefix,
    onRenew: (what) => { if (what === 'expired') say('note', 'now_renew'); else state.renewed = true; },
  });
  const state = { who: null, expired: false, renewed: false, busy: false, did: new Set() };

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
    chat: pill('join', id('chat-join'), () => run('chat', doJoin)),
    picture: pill('sample', id('upload-sample'), () => run('picture', () => doUpload(samplePicture(user)))),
    expire: pill('expireDo', id('expire'), () => run('expire', doExpire)),
    clear: pill('clearDo', id('clear'), () => run('clear', doClear)),
  };
  label(buttons.picture, 'sampleLabel');

  const chat = createChat({ user, name, id, may, whose, me: () => state.who, onSend: () => say('ok', 'ok_chat'), onLeave: doLeave, onEvent: chatEvent });

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
  const clock = h('span', { class: 'clock', 'aria-hidden': 'true' });
  const screens = h('div', { class: 'screens' }, outside, home, chat.element);
  const element = h('section', { class: 'phone', 'data-user': user, 'data-testid': `phone-${user}`, 'data-state': 'out' },
    h('div', { class: 'bezel' }, h('div', { class: 'glass' },
      h('div', { class: 'status', 'aria-hidden': 'true' }, clock, h('span', { class: 'island' }), statusSigns()),
      h('div', { class: 'bar' }, chat.back, chat.title, word(h('span', { class: 'bar-title home-title' }), 'appTitle'),
        h('span', { class: 'capsule', 'aria-hidden': 'true' }, h('i', { class: 'dots' }), h('i', { class: 'ring' }))),
      screens,
      h('div', { class: 'home-line', 'aria-hidden': 'true' }))),
    h('div', { class: 'notice', 'data-kind': 'note' },
      h('span', { class: 'notice-dot', 'aria-hidden': 'true' }),
      h('div', {}, word(h('span', { class: 'notice-name' }), has(user) ? user : 'someone'), notice)));
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
    say('ok', got.shared ? 'ok_login' : 'ok_login_refused');
    show();
    focusOn(buttons.user);
  }

  async function doUser() {
    const got = await client.user();
    learn({ userinfo: got && (got.userInfo || got.userinfo || got) });
    word(userAnswer, 'userAnswer', { name: calledBy(state.who) });
    say('ok', 'ok_user', { name: calledBy(state.who) });
  }

  async function doJoin() {
    say('note', 'now_chat');
    state.chatting = true;
    const total = await chat.join(client.tunnel(), (tunnelId) => whose.learn(user, tunnelId));
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
    say('ok', refused ? 'ok_refuse_on' : 'ok_refuse_off');
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

  /** Takes in what a login or /user told, and lets the wire recognise it. */
  function learn({ userinfo, skey }) {
    state.who = { ...state.who, ...userinfo };
    const { session } = client;
    whose.learn(user, state.who.openId);
    whose.learnSecret(user, skey || session()?.skey);
  }

  // ---- telling ----

  function say(kind, key, values) {
    word(notice, key, values);
    notice.dataset.kind = kind;
    notice.closest('.notice')?.setAttribute('data-kind', kind);
  }

  function explain(what, error) {
    const text = String(error.message || error.errMsg || error).replace(/^\w+:fail /, '');
    const values = { text, url: config.wechatUrl };
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
      whose.learn(user, about.openid);
      helloFace.replaceChildren(portrait(about.nickName || user, about.avatarUrl, user, may));
      refuses.forEach((one) => one.setAttribute('aria-checked', String(about.allows === false)));
      const stored = await client.resume();
      if (stored) {
        learn(stored);
        say('ok', 'ok_resume');
        show();
      }
    } catch {
      say('error', 'e_wechat', { url: config.wechatUrl });
    }
  }

  start();
  return { element };
}

const shortId = (openId) => (openId && openId.length > 14 ? `${openId.slice(0, 6)}…${openId.slice(-4)}` : openId);
const sizeOf = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1000))} KB` : `${(bytes / 1e6).toFixed(1)} MB`);
