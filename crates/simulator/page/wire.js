// The wire: a live sequence diagram of the hops the server reports.

import { bubbles, h, icon } from './dom.js';
import { jsonView } from './json.js';
import { LOGIN_SEQUENCE, isOfPage, nameOf } from './names.js';
import { has, label, onLanguage, t, word } from './words.js';

const MOST_ROWS = 600;
const NEW_BURST_MS = 700;
const AT_BOTTOM_PX = 48;

export function createWire({ users, whose }) {
  const lanes = [...users, 'weappd', 'wechat', 'app'];
  const state = { paused: false, held: [], filter: 'all', last: 0, burst: 0, chosen: null, unseen: 0, copied: 0 };

  const rows = h('div', { class: 'rows', role: 'list' });
  const hint = hintRows();
  const body = h('div', { class: 'wire-body', tabindex: '-1', onscroll: seen }, laneLines(), hint, rows);
  const newerText = h('span');
  const newer = h('button', { class: 'newer', 'data-testid': 'wire-newer', onclick: toBottom }, icon('down', 16), newerText);
  const pauseText = h('span');
  const pauseIcon = h('span', { class: 'sign' });
  const pause = h('button', { class: 'tool', 'data-testid': 'wire-pause', 'aria-pressed': 'false', onclick: togglePause }, pauseIcon, pauseText);
  const clear = h('button', { class: 'tool', 'data-testid': 'wire-clear', onclick: wipe }, icon('broom', 18), word(h('span'), 'wipe'));
  const filters = h('div', { class: 'segments', role: 'group' }, filterButton('all', 'all'), ...users.map((user) => filterButton(user, user)));
  label(filters, 'show');
  const trouble = h('p', { class: 'trouble', role: 'status', hidden: true });
  const detail = h('aside', { class: 'detail', id: 'wire-detail', 'data-testid': 'wire-detail', hidden: true });
  label(detail, 'detail');
  newer.hidden = true;

  const element = h('section', { class: 'wire', id: 'wire', 'data-testid': 'wire', 'data-live': 'false', tabindex: '-1' },
    h('header', { class: 'wire-head' },
      h('div', { class: 'wire-title' }, word(h('h2'), 'wire'), word(h('p', { class: 'dim' }), 'wireNote')),
      h('div', { class: 'tools' }, filters, pause, clear)),
    h('div', { class: 'heads', 'aria-hidden': 'true' }, h('span', { class: 'gutter' }), h('div', { class: 'lane-heads' }, ...lanes.map(laneHead))),
    h('div', { class: 'wire-middle' }, body, trouble, newer),
    detail);
  label(element, 'wire');
  label(rows, 'lane');
  drawTools();
  onLanguage(() => { relabel(); drawTools(); drawNewer(); if (state.chosen) openDetail(state.chosen); });

  // ---- lanes ----

  function laneHead(lane) {
    const signs = { weappd: icon('server', 18), wechat: bubbles(18), app: icon('app', 18) };
    return h('div', { class: 'lane-head', 'data-lane': lane },
      h('span', { class: 'lane-sign' }, signs[lane] || t(lane).slice(0, 1).toUpperCase()),
      has(lane) ? word(h('span', { class: 'lane-name' }), lane) : h('span', { class: 'lane-name' }, lane));
  }

  function laneLines() {
    return h('div', { class: 'lines', 'aria-hidden': 'true' }, ...lanes.map((lane) => h('i', { 'data-lane': lane })));
  }

  /** The middle of a lane, in hundredths of the width; phones nobody knows stand between the two. */
  function middle(party, user) {
    const at = party === 'phone' ? lanes.indexOf(user) : lanes.indexOf(party);
    return ((at >= 0 ? at : (users.length - 1) / 2) + .5) / lanes.length * 100;
  }

  function hintRows() {
    const ghosts = LOGIN_SEQUENCE.map(([from, to, name, answer]) => (
      h('div', { class: 'row ghost', 'data-phone': users[0] }, h('span', { class: 'gutter' }),
        arrow({ from, to, answer }, users[0], { label: name, aside: '', failed: '' }))));
    return h('div', { class: 'hint', 'data-testid': 'wire-hint' },
      word(h('p', { class: 'hint-text' }), 'hint'), h('div', { 'aria-hidden': 'true' }, ...ghosts));
  }

  // ---- rows ----

  function arrow(hop, user, { label: text, aside, failed }) {
    const [a, b] = [middle(hop.from, user), middle(hop.to, user)];
    const line = h('span', { class: `line ${b < a ? 'leftward' : ''} ${a === b ? 'inward' : ''}` });
    line.style.left = `${Math.min(a, b)}%`;
    line.style.width = `${Math.abs(b - a)}%`;
    const caption = h('span', { class: 'caption' }, h('b', {}, text), aside ? h('em', {}, aside) : null, failed ? h('strong', { class: 'failed' }, failed) : null);
    caption.style.left = `${(a + b) / 2}%`;
    return h('span', { class: `track ${hop.answer ? 'answer' : ''}` }, line, caption);
  }

  function add(hop) {
    const named = nameOf(hop);
    if (named.beat || isOfPage(hop)) return;
    if (state.paused) {
      state.held.push(hop);
      if (state.held.length > MOST_ROWS) state.held.shift();
      drawTools();
      return;
    }
    const stays = atBottom();
    const user = whose.of(hop);
    if (hop.at - state.last > NEW_BURST_MS) {
      state.burst = hop.at;
      rows.append(h('div', { class: 'pause', role: 'presentation' }, h('span', {}, clockOf(hop.at))));
    }
    state.last = hop.at;
    const row = h('button', {
      class: 'row', 'data-testid': 'wire-arrow', 'data-name': hop.name, 'data-label': named.label,
      'data-from': hop.from, 'data-to': hop.to, 'data-answer': String(hop.answer), 'data-phone': user || '',
      'aria-controls': 'wire-detail', onclick: () => openDetail(row), onkeydown: walk,
    }, h('span', { class: 'gutter' }, t('ms', { count: hop.at - state.burst })), arrow(hop, user, named));
    row.hop = hop;
    row.named = named;
    nameRow(row);
    rows.append(h('div', { role: 'listitem' }, row));
    while (rows.childElementCount > MOST_ROWS) rows.firstElementChild.remove();
    filterRow(row);
    hint.hidden = true;
    if (stays) toBottom();
    else if (!row.parentElement.hidden) {
      state.unseen += 1;
      drawNewer();
    }
  }

  function partyName(party, user) {
    if (party !== 'phone') return t(party);
    return user ? t(user) : t('phones');
  }

  function nameRow(row) {
    const { hop, named } = row;
    const user = row.dataset.phone;
    row.setAttribute('aria-label', [
      t('arrowLabel', { name: [named.label, named.aside, named.failed].filter(Boolean).join(' '), from: partyName(hop.from, user), to: partyName(hop.to, user) }),
      t(hop.answer ? 'answer' : 'request')].join(', '));
  }

  function relabel() {
    for (const row of rows.querySelectorAll('.row')) {
      nameRow(row);
      row.firstElementChild.textContent = row.firstElementChild.textContent.replace(/^(\d+).*$/, (all, count) => t('ms', { count }));
    }
    for (const head of element.querySelectorAll('.lane-head')) {
      const lane = head.dataset.lane;
      if (users.includes(lane)) head.firstElementChild.textContent = t(lane).slice(0, 1).toUpperCase();
    }
  }

  /** Up and down walk the arrows; an open detail follows. */
  function walk(pressed) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[pressed.key];
    if (pressed.key === 'Escape' && state.chosen) closeDetail();
    if (!step) return;
    pressed.preventDefault();
    const shown = [...rows.querySelectorAll('.row')].filter((row) => !row.parentElement.hidden);
    const next = shown[shown.indexOf(pressed.currentTarget) + step];
    if (!next) return;
    next.focus();
    if (state.chosen) openDetail(next);
  }

  // ---- tools ----

  function filterButton(value, key) {
    return (has(key) ? word(h('button', attributes()), key) : h('button', attributes(), key));
    function attributes() {
      return {
        'data-testid': `wire-filter-${value}`, 'data-value': value, 'aria-pressed': String(value === 'all'),
        onclick: () => choose(value),
      };
    }
  }

  function choose(value) {
    const stays = atBottom();
    state.filter = value;
    for (const button of filters.children) button.setAttribute('aria-pressed', String(button.dataset.value === value));
    rows.querySelectorAll('.row').forEach(filterRow);
    if (stays) toBottom();
  }

  const filterRow = (row) => {
    row.parentElement.hidden = state.filter !== 'all' && row.dataset.phone !== '' && row.dataset.phone !== state.filter;
  };

  function togglePause() {
    state.paused = !state.paused;
    pause.setAttribute('aria-pressed', String(state.paused));
    if (!state.paused) state.held.splice(0).forEach(add);
    drawTools();
  }

  function drawTools() {
    const key = !state.paused ? 'pause' : state.held.length ? 'held' : 'resume';
    word(pauseText, key, { count: state.held.length });
    pauseIcon.replaceChildren(icon(state.paused ? 'play' : 'pause', 18));
  }

  function wipe() {
    rows.replaceChildren();
    Object.assign(state, { held: [], last: 0, unseen: 0 });
    closeDetail();
    hint.hidden = false;
    drawTools();
    drawNewer();
  }

  // ---- scrolling: follows only who is at the bottom ----

  function atBottom() {
    return body.scrollHeight - body.scrollTop - body.clientHeight < AT_BOTTOM_PX;
  }
  function toBottom() {
    body.scrollTop = body.scrollHeight;
    state.unseen = 0;
    drawNewer();
  }
  function seen() {
    if (!atBottom() || !state.unseen) return;
    state.unseen = 0;
    drawNewer();
  }
  function drawNewer() {
    newer.hidden = state.unseen === 0;
    word(newerText, 'newer', { count: state.unseen });
  }

  // ---- the open hop ----

  function openDetail(row) {
    const { hop, named } = row;
    const stays = atBottom();
    state.chosen?.removeAttribute('aria-expanded');
    state.chosen = row;
    row.setAttribute('aria-expanded', 'true');
    const user = row.dataset.phone;
    const nothing = hop.detail === null || (typeof hop.detail === 'object' && !Object.keys(hop.detail).length);
    const copy = word(h('button', { class: 'tool', onclick: copyDetail }), 'copy');
    const close = h('button', { class: 'tool round', 'data-testid': 'wire-detail-close', onclick: closeAndReturn }, icon('close', 18));
    label(close, 'close');
    detail.replaceChildren(
      h('header', {},
        h('div', {}, h('h3', {}, named.label, named.failed ? h('strong', { class: 'failed' }, named.failed) : null),
          h('p', { class: 'dim' }, `${partyName(hop.from, user)} → ${partyName(hop.to, user)} · ${t(hop.answer ? 'answer' : 'request')} · ${clockOf(hop.at, true)}${named.label === hop.name ? '' : ` · ${hop.name}`}`)),
        copy, close),
      h('pre', { tabindex: '0', 'data-testid': 'wire-detail-json', onkeydown: escape }, nothing ? t('empty') : jsonView(hop.detail)));
    detail.dataset.phone = user;
    detail.hidden = false;
    if (stays && rows.lastElementChild === row.parentElement) toBottom();
    else row.scrollIntoView({ block: 'nearest' });
  }

  async function copyDetail(pressed) {
    const button = pressed.currentTarget;
    try {
      await navigator.clipboard.writeText(JSON.stringify(state.chosen.hop, null, 2));
      word(button, 'copied');
    } catch {
      // Without the clipboard's leave the text can still be selected by hand.
      getSelection().selectAllChildren(detail.querySelector('pre'));
    }
  }

  function escape(pressed) {
    if (pressed.key === 'Escape') closeAndReturn();
  }
  function closeAndReturn() {
    const row = state.chosen;
    closeDetail();
    row?.focus({ preventScroll: true });
  }
  function closeDetail() {
    state.chosen?.removeAttribute('aria-expanded');
    state.chosen = null;
    detail.hidden = true;
  }

  // ---- listening ----

  function tell(key, values) {
    trouble.hidden = !key;
    if (key) word(trouble, key, values);
  }

  function listen(url) {
    const source = new EventSource(url);
    source.addEventListener('listening', () => {
      element.dataset.live = 'true';
      tell(null);
    });
    source.addEventListener('lost', ({ data }) => tell('lostHops', { count: data }));
    source.onmessage = ({ data }) => add(JSON.parse(data));
    source.onerror = () => {
      element.dataset.live = 'false';
      tell(source.readyState === EventSource.CLOSED ? 'untapped' : 'cut');
    };
  }

  return { element, listen, add };
}

function clockOf(at, precise) {
  const time = new Date(at);
  const text = [time.getHours(), time.getMinutes(), time.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
  return precise ? `${text}.${String(time.getMilliseconds()).padStart(3, '0')}` : text;
}
