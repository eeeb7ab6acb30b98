// The middle: every call as it happens, and one of them opened.

import { ask } from './ask.js';
import { h, icon } from './dom.js';
import { jsonView } from './json.js';
import { currentLanguage, label, onLanguage, t, word } from './words.js';

const KINDS = ['all', 'api', 'phone', 'push'];
const SHOWN = 500;

export function createCalls() {
  let calls = [];
  let after = 0;
  let kind = 'all';
  let path = '';
  let paused = false;
  let opened = null;

  const rows = h('div', { class: 'call-rows' });
  const detail = h('aside', { class: 'detail', hidden: true, 'data-testid': 'call-detail' });
  label(detail, 'detail');
  const segments = h('div', { class: 'segments', role: 'group' }, ...KINDS.map((one) => word(h('button', {
    type: 'button', 'data-kind': one, 'data-testid': `calls-${one}`,
    onclick() { kind = one; draw(); },
  }), one)));
  label(segments, 'show');
  const search = label(label(h('input', { class: 'field search', type: 'search', 'data-testid': 'calls-search', oninput() { path = search.value.trim().toLowerCase(); draw(); } }), 'search', 'placeholder'), 'search');
  const hold = h('button', { class: 'tool', type: 'button', 'data-testid': 'calls-pause', onclick() { paused = !paused; drawHold(); } });
  const wipe = word(h('button', { class: 'tool', type: 'button', 'data-testid': 'calls-clear', async onclick() { await ask('DELETE', '/calls'); calls = []; close(); draw(); } }), 'clear');

  const element = h('section', { class: 'sheet tall', 'data-testid': 'calls' },
    h('header', { class: 'sheet-head calls-head' },
      h('div', { class: 'wire-title' }, word(h('h2'), 'calls'), word(h('p', { class: 'dim' }), 'callsNote')),
      h('div', { class: 'tools' }, segments, search, hold, wipe)),
    h('div', { class: 'call-scroll' }, rows), detail);
  drawHold();
  onLanguage(() => { draw(); if (opened) show(opened); });

  function drawHold() {
    hold.replaceChildren(icon(paused ? 'play' : 'pause', 16), word(h('span'), paused ? 'resume' : 'pause'));
    hold.setAttribute('aria-pressed', String(paused));
  }

  /** Takes what came since; tells whether it asked at all. */
  async function take() {
    if (paused) return;
    const got = await ask('GET', `/calls?after=${after}`);
    // A simulator that started anew counts from 1 again.
    if (got.last < after) { calls = []; after = 0; return; }
    after = got.last;
    if (!got.calls.length && rows.childElementCount) return;
    calls = [...got.calls.reverse(), ...calls].slice(0, SHOWN);
    draw(new Set(got.calls.map(({ seq }) => seq)));
  }

  function draw(fresh = new Set()) {
    for (const button of segments.children) button.setAttribute('aria-pressed', String(button.dataset.kind === kind));
    const fits = calls.filter((call) => (kind === 'all' || call.kind === kind) && call.path.toLowerCase().includes(path));
    const focused = rows.contains(document.activeElement) ? document.activeElement.dataset.seq : null;
    rows.replaceChildren(...fits.map((call) => row(call, fresh.has(call.seq))));
    if (!fits.length) rows.append(calls.length ? h('p', { class: 'empty large' }, t('noMatch')) : welcome());
    if (focused) rows.querySelector(`[data-seq="${focused}"]`)?.focus();
  }

  function row(call, fresh) {
    const [text, quality] = result(call);
    return h('button', {
      class: `call${fresh ? ' fresh' : ''}`, type: 'button', 'data-testid': 'call', 'data-seq': call.seq, 'data-path': call.path, 'data-kind': call.kind,
      'aria-expanded': String(opened?.seq === call.seq), onclick: () => (opened?.seq === call.seq ? close() : show(call)),
    },
    h('time', {}, clock(call.at)),
    h('span', { class: `kind ${call.kind}` }, t(call.kind)),
    h('span', { class: 'call-path' }, call.method ? h('b', {}, call.method) : null, call.path, who(call)),
    call.note?.startsWith('a general answer') ? h('span', { class: 'chip' }, t('generic')) : null,
    call.note?.startsWith('fault') ? h('span', { class: 'chip warn' }, call.note.replace('fault: ', '')) : null,
    h('span', { class: `chip ${quality}` }, text));
  }

  function show(call) {
    opened = call;
    detail.hidden = false;
    const [text, quality] = result(call);
    detail.replaceChildren(
      h('header', {},
        h('div', {},
          h('h3', {}, `${call.method} ${call.path}`.trim(), h('span', { class: `chip ${quality}` }, text)),
          h('p', { class: 'dim' }, [clock(call.at), t('took', { count: call.took_ms }), call.appid, call.note].filter(Boolean).join(' · '))),
        label(h('button', { class: 'tool round', type: 'button', onclick: close }, icon('close', 18)), 'close')),
      h('div', { class: 'halves' },
        h('div', {}, h('h4', {}, t('asked')), h('pre', { tabindex: 0 }, jsonView(call.asked))),
        h('div', {}, h('h4', {}, t('answered')), h('pre', { tabindex: 0 }, jsonView(call.answer)))));
    for (const one of rows.querySelectorAll('.call')) one.setAttribute('aria-expanded', String(Number(one.dataset.seq) === call.seq));
  }

  function close() {
    opened = null;
    detail.hidden = true;
    for (const one of rows.querySelectorAll('.call')) one.setAttribute('aria-expanded', 'false');
  }

  addEventListener('keydown', ({ key }) => { if (key === 'Escape' && opened) close(); });
  return { element, take };
}

function result(call) {
  if (call.kind === 'push' && !call.status) return [t('noAnswer'), 'bad'];
  if (call.status !== 200) return [String(call.status), 'bad'];
  if (call.errcode) return [String(call.errcode), 'bad'];
  if (call.answer?.errMsg?.includes(':fail')) return ['fail', 'warn'];
  return ['ok', 'good'];
}

function welcome() {
  return h('div', { class: 'empty large' }, t('noCalls', { url: location.origin }),
    h('pre', {}, `curl -X POST ${location.origin}/phone/alice/login`));
}

const who = (call) => (call.kind === 'phone' && call.asked?.user ? h('span', { class: 'dim' }, call.asked.user) : null);

const clock = (millis) => new Date(millis).toLocaleTimeString(currentLanguage() === 'zh' ? 'zh-CN' : 'en-GB', { hour12: false });
