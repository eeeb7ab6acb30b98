// The chat room of a phone: bubbles, who came and went, over a tunnel.

import { h, icon, portrait } from './dom.js';
import { label, word } from './words.js';

const MOST_ENTRIES = 300;

/** `tab` keeps what was said as long as the tab lives. */
export function createChat({ user, name, id, may, whose, me, tab, onSend, onLeave, onEvent, onPeople }) {
  const KEPT = `weappd:chat:${user}`;
  let tunnel = null;
  let open = false;
  let total = null;
  let scrolls = 0;
  let entries = [];
  const waiting = [];

  const log = h('div', { class: 'log', 'data-testid': id('chat-log'), role: 'log', 'aria-live': 'polite', tabindex: '0', onanimationend: ({ target }) => target.classList.add('still') });
  label(log, 'log');
  const input = h('input', { type: 'text', maxlength: '500', autocomplete: 'off', enterkeyhint: 'send', 'data-testid': id('chat-input') });
  label(input, 'say', {}, 'placeholder');
  label(input, 'sayTo', { name });
  const sendButton = word(h('button', { class: 'primary', type: 'submit', 'data-testid': id('chat-send') }), 'send');
  const form = h('form', { class: 'compose', onsubmit: speak }, input, sendButton);
  const people = h('span', { 'data-testid': id('chat-people') });
  const title = h('span', { class: 'bar-title chat-title' }, people);
  const back = h('button', { class: 'back', 'data-testid': id('chat-leave'), onclick: onLeave }, icon('back', 22), word(h('span'), 'leave'));
  const element = h('div', { class: 'screen chat' }, log, form);

  /** Opens the tunnel; answers how many are in the room, or null when nobody said so in time.
   *  `again`: what was said before stays. */
  function join(fresh, again = false) {
    tunnel = fresh;
    waiting.length = 0;
    total = null;
    word(people, 'room');
    if (!again) wipe();
    return new Promise((joined, failed) => {
      let patience = 0;
      const settled = (count) => { clearTimeout(patience); joined(count); };
      fresh.on('connect', () => {
        open = true;
        patience = setTimeout(() => settled(null), 1500);
      });
      fresh.on('reconnect', () => { event('reconnected'); onEvent('reconnected'); });
      fresh.on('reconnecting', () => { event('reconnecting'); onEvent('reconnecting'); });
      fresh.on('people', (told) => { showPeople(told || {}); settled(told && told.total); });
      fresh.on('speak', (told) => showWord(told || {}));
      fresh.on('close', () => { if (tunnel === fresh && open) { open = false; onEvent('closed'); } });
      fresh.on('error', ({ code, error }) => {
        open = false;
        if (code === 2001) onEvent('lost');
        failed(error.kind === 'session' || error.kind === 'login' || error.kind === 'wechat'
          ? error : Object.assign(error, { kind: 'tunnel' }));
      });
      fresh.open().catch(failed);
    });
  }

  function leave() {
    open = false;
    const old = tunnel;
    tunnel = null;
    if (old) old.close();
    tab.set(KEPT, null);
  }

  function wipe() {
    log.replaceChildren();
    entries = [];
  }

  /** What a reload shows again; whether the phone was in the room. */
  function restore() {
    const before = tab.get(KEPT);
    if (!before || !Array.isArray(before.entries)) return false;
    wipe();
    for (const entry of before.entries) draw(entry);
    return before.open === true;
  }

  addEventListener('pagehide', () => { if (open) tab.set(KEPT, { open, entries }); });

  function speak(submitted) {
    submitted.preventDefault();
    const said = input.value.trim();
    input.focus();
    if (!said || !tunnel) return;
    input.value = '';
    // Shown at once; the room's echo then only confirms it.
    waiting.push({ said, bubble: bubble({ ...me(), mine: true }, said, true) });
    tunnel.emit('speak', { word: said });
    onSend();
  }

  function showWord({ who, word: said }) {
    const mine = isMe(who);
    const at = mine ? waiting.findIndex((one) => one.said === said) : -1;
    if (at >= 0) {
      waiting.splice(at, 1)[0].bubble.classList.remove('waiting');
      return;
    }
    bubble({ ...who, mine }, String(said ?? ''), false);
  }

  function showPeople({ total: count, enter, leave: gone }) {
    if (Number.isFinite(count)) {
      total = count;
      word(people, 'roomOf', { count });
    }
    const who = enter || gone;
    if (!who) return;
    const called = who.nickName || { word: 'someone' };
    if (enter && isMe(enter)) event('youEntered');
    else {
      event(enter ? 'entered' : 'left', { name: called });
      onPeople({ total, entered: Boolean(enter), name: called });
    }
  }

  const isMe = (who) => Boolean(who && me() && who.openId && who.openId === me().openId);

  function bubble(who, text, isWaiting) {
    return put({ kind: 'bubble', who: { nickName: who.nickName, avatarUrl: who.avatarUrl, openId: who.openId, mine: Boolean(who.mine) }, text }, isWaiting);
  }

  const event = (key, values) => put({ kind: 'event', key, values });

  function put(entry, isWaiting) {
    const made = draw(entry, isWaiting);
    if (entries.length > MOST_ENTRIES) {
      entries.shift();
      log.firstElementChild.remove();
    }
    return made;
  }

  function draw(entry, isWaiting) {
    entries.push(entry);
    const made = entry.kind === 'event'
      ? h('div', { class: 'event', 'data-testid': id('chat-event') }, word(h('span'), String(entry.key), entry.values))
      : drawBubble(entry, isWaiting);
    log.append(made);
    down();
    return made;
  }

  function drawBubble({ who, text }, isWaiting) {
    return h('div', { class: `line ${who.mine ? 'mine' : ''} ${isWaiting ? 'waiting' : ''}`, 'data-testid': id('bubble'), 'data-mine': String(who.mine) },
      portrait(who.nickName || '', who.avatarUrl, who.mine ? user : whose.named(who.openId), may),
      h('div', { class: 'said' },
        who.mine ? null : h('span', { class: 'speaker' }, who.nickName || ''),
        h('span', { class: 'bubble' }, text)));
  }

  /** With the next picture: asked for at once, the browser would lay out the page for each word. */
  function down() {
    if (scrolls) return;
    scrolls = requestAnimationFrame(() => {
      scrolls = 0;
      log.scrollTop = 1e9;
    });
  }

  return {
    element, back, title, join, leave, restore,
    isOpen: () => open,
    total: () => total,
    focus: () => { if (element.closest('.phone')?.contains(document.activeElement) || document.activeElement === document.body) input.focus({ preventScroll: true }); },
  };
}
