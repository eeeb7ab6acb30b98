// The chat room of a phone: bubbles, who came and went, over a tunnel.

import { h, icon, portrait } from './dom.js';
import { label, word } from './words.js';

const MOST_ENTRIES = 300;

export function createChat({ user, name, id, may, whose, me, onSend, onLeave, onEvent }) {
  let tunnel = null;
  let open = false;
  const waiting = [];

  const log = h('div', { class: 'log', 'data-testid': id('chat-log'), role: 'log', 'aria-live': 'polite', tabindex: '0' });
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

  /** Opens the tunnel; answers how many are in the room, or null when nobody said so in time. */
  function join(fresh, onTunnel) {
    tunnel = fresh;
    log.replaceChildren();
    waiting.length = 0;
    word(people, 'room');
    return new Promise((joined, failed) => {
      let patience = 0;
      const settled = (total) => { clearTimeout(patience); joined(total); };
      fresh.on('connect', ({ tunnelId }) => {
        open = true;
        onTunnel(tunnelId);
        patience = setTimeout(() => settled(null), 1500);
      });
      fresh.on('reconnect', ({ tunnelId }) => { onTunnel(tunnelId); event('reconnected'); onEvent('reconnected'); });
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
  }

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

  function showPeople({ total, enter, leave: gone }) {
    if (Number.isFinite(total)) word(people, 'roomOf', { count: total });
    const who = enter || gone;
    if (!who) return;
    if (enter && isMe(enter)) event('youEntered');
    else event(enter ? 'entered' : 'left', { name: who.nickName || { word: 'someone' } });
  }

  const isMe = (who) => Boolean(who && me() && who.openId && who.openId === me().openId);

  function bubble(who, text, isWaiting) {
    const made = h('div', { class: `line ${who.mine ? 'mine' : ''} ${isWaiting ? 'waiting' : ''}`, 'data-testid': id('bubble'), 'data-mine': String(Boolean(who.mine)) },
      portrait(who.nickName || '', who.avatarUrl, who.mine ? user : whose.named(who.openId), may),
      h('div', { class: 'said' },
        who.mine ? null : h('span', { class: 'speaker' }, who.nickName || ''),
        h('span', { class: 'bubble' }, text)));
    put(made);
    return made;
  }

  function event(key, values) {
    put(h('div', { class: 'event', 'data-testid': id('chat-event') }, word(h('span'), key, values)));
  }

  function put(entry) {
    log.append(entry);
    if (log.childElementCount > MOST_ENTRIES) log.firstElementChild.remove();
    log.scrollTop = log.scrollHeight;
  }

  return {
    element, back, title, join, leave,
    isOpen: () => open,
    focus: () => { if (element.closest('.phone')?.contains(document.activeElement) || document.activeElement === document.body) input.focus({ preventScroll: true }); },
  };
}
