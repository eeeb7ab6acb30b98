// Asks the simulator, and small shared shapes of the cards.

import { h } from './dom.js';
import { label, t, word } from './words.js';

/** The answer's JSON; throws its `errMsg` when it was refused. */
export async function ask(method, path, body) {
  const answer = await fetch(path, {
    method, cache: 'no-store',
    headers: body === undefined ? {} : { 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const json = await answer.json();
  if (!answer.ok || json.errMsg && /:fail/.test(json.errMsg)) throw new Error(json.errMsg || `HTTP ${answer.status}`);
  return json;
}

/** A white card with a title. */
export function card(title, note, testId, ...children) {
  return h('section', { class: 'sheet', 'data-testid': testId },
    h('header', { class: 'sheet-head' }, word(h('h2'), title), word(h('p', { class: 'dim' }), note)),
    ...children);
}

export const pill = (key, onclick, attributes = {}) =>
  word(h('button', { class: 'pill small', type: 'button', onclick, ...attributes }), key);

/** An input with a button, sent by Enter as well. */
export function oneLine(hint, action, send, testId) {
  const input = label(label(h('input', { class: 'field', 'data-testid': `${testId}-input`, autocomplete: 'off', spellcheck: 'false' }), hint, 'placeholder'), hint);
  return h('form', {
    class: 'one-line',
    async onsubmit(event) {
      event.preventDefault();
      if (input.value.trim() && await send(input.value.trim()) !== false) input.value = '';
    },
  }, input, word(h('button', { class: 'pill small', 'data-testid': testId }), action));
}

/** Seconds as people say them: 4:05, 1:30:00, 2 d 03:00. */
export function span(secs) {
  const two = (number) => String(number).padStart(2, '0');
  const [days, hours, minutes] = [Math.floor(secs / 86400), Math.floor(secs / 3600) % 24, Math.floor(secs / 60) % 60];
  if (days) return `${days} d ${two(hours)}:${two(minutes)}`;
  return hours ? `${hours}:${two(minutes)}:${two(secs % 60)}` : `${minutes}:${two(secs % 60)}`;
}

/** A line that says what just happened, with something to copy if there is. */
export function notice() {
  const text = h('p');
  const copy = h('div', { class: 'copy-line', hidden: true });
  const element = h('div', { class: 'told', role: 'status', hidden: true }, text, copy);
  return {
    element,
    say(key, values = {}, value = null, kind = 'ok') {
      element.hidden = false;
      element.dataset.kind = kind;
      if (kind === 'error') { delete text.dataset.word; text.textContent = key; } else word(text, key, values);
      copy.hidden = value === null;
      if (value === null) return;
      const button = pill('copy', async () => {
        await navigator.clipboard.writeText(value);
        word(button, 'copied');
      });
      copy.replaceChildren(h('code', {}, value), button);
    },
  };
}

/** Does something and says how it went. */
export async function attempt(told, deed) {
  try {
    await deed();
    return true;
  } catch (error) {
    told.say(error.message || t('lost'), {}, null, 'error');
    return false;
  }
}
