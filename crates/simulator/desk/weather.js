// The right column: bad days, time, message push.

import { ask, attempt, card, notice, pill, span } from './ask.js';
import { h } from './dom.js';
import { currentLanguage, label, onLanguage, t, word } from './words.js';

const FAULTS = [
  ['busy', { errcode: -1 }, '-1'],
  ['limit', { errcode: 45011 }, '45011'],
  ['token', { errcode: 40001 }, '40001'],
  ['reset', 'reset', ''],
  ['half', 'half', ''],
  ['wrong_json', 'wrong_json', ''],
];
const STEPS = [[300, '+5 min'], [7200, '+2 h'], [86400, '+1 d'], [604800, '+7 d']];

export function createWeather(refresh) {
  let last = null;
  const parts = [faults(refresh), time(refresh), push(refresh)];
  onLanguage(() => last && draw(last));
  function draw(state) {
    last = state;
    parts.forEach((part) => part.draw(state));
  }
  return { elements: parts.map((part) => part.element), draw };
}

function faults(refresh) {
  const told = notice();
  const now = h('p', { class: 'now', role: 'status' });
  const times = select('times', ['1', '2', '5', '100'].map((count) => [count, `× ${count}`]), 'fault-times');
  const latency = select('latency', [['0', t('none')], ['300', '300 ms'], ['1000', '1 s'], ['6000', '6 s']], 'fault-latency');
  const set = (body) => attempt(told, async () => {
    await ask('POST', '/faults', body);
    told.element.hidden = true;
    await refresh();
  });
  const wait = () => Number(latency.control.value);
  latency.control.addEventListener('change', () => set({ latency_ms: wait() }));
  const buttons = FAULTS.map(([name, fault, code]) => h('button', {
    class: 'fault', type: 'button', 'data-testid': `fault-${name}`,
    onclick: () => set({ fault, next: Number(times.control.value), latency_ms: wait() }),
  }, word(h('span'), `f_${name}`), code ? h('code', {}, code) : null));
  const heal = pill('heal', () => { latency.control.value = '0'; return set({}); }, { 'data-testid': 'heal' });
  const element = card('weather', 'weatherNote', 'weather',
    h('div', { class: 'fault-grid' }, ...buttons),
    h('div', { class: 'pair-line' }, times.element, latency.element),
    h('div', { class: 'end-line' }, now, heal), told.element);
  return {
    element,
    draw({ faults: { fault, next, latency_ms } }) {
      const active = fault && next > 0;
      const at = active ? FAULTS.findIndex(([, one]) => JSON.stringify(one) === JSON.stringify(fault)) : -1;
      buttons.forEach((button, index) => button.setAttribute('aria-pressed', String(index === at)));
      const name = at >= 0 ? t(`f_${FAULTS[at][0]}`) : JSON.stringify(fault);
      const said = [active ? t('ill', { fault: name, count: next }) : '', latency_ms ? t('slow', { ms: latency_ms }) : ''].filter(Boolean);
      now.textContent = said.join(', ') || t('well');
      now.dataset.kind = said.length ? 'bad' : 'good';
      heal.hidden = !said.length;
      latency.control.options[0].textContent = t('none');
    },
  };
}

function time(refresh) {
  const told = notice();
  const big = h('p', { class: 'big-time' });
  const off = h('span', { class: 'dim' });
  let offset = 0;
  const move = (secs) => attempt(told, async () => {
    await ask('POST', '/clock', { advance_secs: secs });
    told.element.hidden = true;
    await refresh();
  });
  const back = pill('back', () => move(-offset), { 'data-testid': 'clock-back' });
  const element = card('clock', 'clockNote', 'clock',
    h('div', { class: 'time-line' }, big, off),
    h('div', { class: 'pills' }, ...STEPS.map(([secs, text]) => h('button', { class: 'pill small', type: 'button', 'data-testid': `clock-forward-${secs}`, onclick: () => move(secs) }, text)),
      back),
    told.element);
  return {
    element,
    draw({ now, offset_secs }) {
      offset = offset_secs;
      back.hidden = !offset;
      const locale = currentLanguage() === 'zh' ? 'zh-CN' : 'en-GB';
      big.textContent = new Date(now * 1000).toLocaleString(locale, { dateStyle: 'medium', timeStyle: 'medium' });
      off.textContent = offset ? t(offset > 0 ? 'ahead' : 'behind', { time: span(Math.abs(offset)) }) : t('real');
    },
  };
}

function push(refresh) {
  const told = notice();
  const now = h('p', { class: 'now' });
  const url = field('url', 'push-url', 'http://127.0.0.1:8080/weapp/message');
  const token = field('token', 'push-token', '');
  const key = field('key', 'push-key', '');
  label(key.control, 'keyHint', 'placeholder');
  const mode = select('mode', ['plain', 'compatible', 'safe'].map((one) => [one, t(one)]), 'push-mode');
  const format = select('format', [['json', 'JSON'], ['xml', 'XML']], 'push-format');
  const deed = (path, body, say) => attempt(told, async () => {
    await ask('POST', path, body);
    told.say(say);
    await refresh();
  });
  const form = h('form', {
    class: 'form',
    onsubmit(event) {
      event.preventDefault();
      const wanted = { url: url.control.value.trim(), token: token.control.value, mode: mode.control.value, format: format.control.value };
      if (key.control.value) wanted.encoding_aes_key = key.control.value.trim();
      deed('/push', wanted, 'saved');
    },
  }, url.element, token.element, key.element, h('div', { class: 'pair-line' }, mode.element, format.element),
  h('div', { class: 'pills' },
    word(h('button', { class: 'pill small next', 'data-testid': 'push-save' }), 'save'),
    pill('verify', () => deed('/push/verify', {}, 'verified'), { 'data-testid': 'push-verify' }),
    pill('off', () => deed('/push', {}, 'off_done'), { 'data-testid': 'push-off' })));
  return {
    element: card('pushTitle', 'pushNote', 'push', now, form, told.element),
    draw({ push: [set] }) {
      if (set && !url.control.value) {
        url.control.value = set.url;
        mode.control.value = set.mode;
        format.control.value = set.format;
      }
      now.textContent = set ? `${set.url} · ${t(set.mode)} · ${set.format.toUpperCase()}` : t('pushOff');
      now.dataset.kind = set ? 'good' : '';
      [...mode.control.options].forEach((option) => { option.textContent = t(option.value); });
    },
  };
}

function select(key, options, testId) {
  const control = h('select', { class: 'field', 'data-testid': testId }, ...options.map(([value, text]) => h('option', { value }, text)));
  return { control, element: h('label', { class: 'labelled' }, word(h('span'), key), control) };
}

function field(key, testId, placeholder) {
  const control = h('input', { class: 'field', 'data-testid': testId, placeholder, autocomplete: 'off', spellcheck: 'false' });
  return { control, element: h('label', { class: 'labelled' }, word(h('span'), key), control) };
}
