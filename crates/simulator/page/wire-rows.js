// The rows of the wire. However many there are, a new one costs the same: rows come in blocks
// whose height is known beforehand, so the browser looks only into those in sight, and all that
// came since the last picture is put in at once.

import { h } from './dom.js';
import { has, t } from './words.js';

export const MOST_ROWS = 600;
const BLOCK_ROWS = 40;
const ROW_PX = 42;
const PAUSE_PX = 28;
const NEW_BURST_MS = 700;
const AT_BOTTOM_PX = 48;
const PICTURE_MS = 250;
const DRAWN_MS = 700;

/** A name of names.js in the language of the page, where it has one. */
export const shownName = (name) => (has(`hop_${name}`) ? t(`hop_${name}`) : name);

export function clockOf(at, precise) {
  const time = new Date(at);
  const text = [time.getHours(), time.getMinutes(), time.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
  return precise ? `${text}.${String(time.getMilliseconds()).padStart(3, '0')}` : text;
}

/**
 * @param {object} parts
 * @param {(party: string, user: string|null) => number} parts.middle  of a lane, in percent
 * @param {(row) => void} parts.onOpen      a row is pressed
 * @param {(row) => void} parts.onWalk      the focus went to a row
 * @param {() => void} parts.onEscape
 * @param {(unseen: number, count: number) => void} parts.onCount
 */
export function createRows({ middle, onOpen, onWalk, onEscape, onCount, above }) {
  const list = h('div', { class: 'rows', role: 'list', onkeydown: walk, onclick: press });
  const body = h('div', { class: 'wire-body', tabindex: '-1', onscroll: scrolled }, ...above, list);
  let blocks = [];
  let waiting = [];
  let frame = 0;
  let timer = 0;
  const state = { filter: 'all', last: 0, burst: 0, sticks: true, unseen: 0, current: null };

  // ---- putting in ----

  /** Soon: with the next picture, together with what else came. */
  function push(entry) {
    waiting.push(entry);
    if (frame || timer) return;
    frame = requestAnimationFrame(put);
    // A page in the background has no pictures.
    timer = setTimeout(put, PICTURE_MS);
  }

  function put() {
    cancelAnimationFrame(frame);
    clearTimeout(timer);
    frame = timer = 0;
    const came = waiting.splice(0).slice(-MOST_ROWS);
    if (!came.length) return;
    const drawn = came.map((entry) => add(entry));
    // The browser goes on counting an animation that has ended, so each is taken away; of many at
    // once none is made.
    if (came.length <= BLOCK_ROWS) {
      for (const row of drawn) row.classList.add('fresh');
      setTimeout(() => drawn.forEach((row) => row.classList.remove('fresh')), DRAWN_MS);
    }
    trim();
    const held = list.contains(document.activeElement);
    if (!held) mark(shown().at(-1));
    if (state.sticks) toBottom();
    onCount(state.unseen, count());
  }

  function add({ hop, user, named }) {
    let block = blocks.at(-1);
    if (!block || block.rows.length >= BLOCK_ROWS) {
      block = { element: h('div', { class: 'block', role: 'presentation' }), rows: [], pauses: 0 };
      blocks.push(block);
      list.append(block.element);
    }
    if (hop.at - state.last > NEW_BURST_MS) {
      state.burst = hop.at;
      block.element.append(h('div', { class: 'pause', role: 'presentation' }, h('span', {}, clockOf(hop.at))));
      block.pauses += 1;
    }
    state.last = hop.at;
    const row = h('button', {
      class: 'row', tabindex: '-1', 'data-testid': 'wire-arrow', 'data-name': hop.name, 'data-label': named.label,
      'data-from': hop.from, 'data-to': hop.to, 'data-answer': String(hop.answer), 'data-phone': user || '',
      'aria-controls': 'wire-detail',
    }, h('span', { class: 'gutter' }), arrow(hop, user, named));
    Object.assign(row, { hop, named, since: hop.at - state.burst });
    nameRow(row);
    block.element.append(h('div', { role: 'listitem', hidden: isFiltered(row) }, row));
    block.rows.push(row);
    measure(block);
    if (!state.sticks && !isFiltered(row)) state.unseen += 1;
    return row;
  }

  function arrow(hop, user, { label: text, aside, failed }) {
    const [a, b] = [middle(hop.from, user), middle(hop.to, user)];
    const line = h('span', { class: `line ${b < a ? 'leftward' : ''} ${a === b ? 'inward' : ''}` });
    line.style.left = `${Math.min(a, b)}%`;
    line.style.width = `${Math.abs(b - a)}%`;
    const caption = h('span', { class: 'caption' }, h('b', {}, shownName(text)), aside ? h('em', {}, aside) : null, failed ? h('strong', { class: 'failed' }, shownName(failed)) : null);
    const at = (a + b) / 2;
    // At the edges a long name stays inside.
    if (at > 84) Object.assign(caption.style, { right: '0', transform: 'none' });
    else if (at < 10) Object.assign(caption.style, { left: '0', transform: 'none' });
    else caption.style.left = `${at}%`;
    return h('span', { class: `track ${hop.answer ? 'answer' : ''}` }, line, caption);
  }

  function measure(block) {
    const rows = block.rows.reduce((sum, row) => sum + (row.parentElement.hidden ? 0 : 1), 0);
    block.element.style.containIntrinsicBlockSize = `${rows * ROW_PX + block.pauses * PAUSE_PX}px`;
  }

  const count = () => blocks.reduce((sum, block) => sum + block.rows.length, 0);

  function trim() {
    while (blocks.length > 1 && count() > MOST_ROWS) {
      const [gone] = blocks.splice(0, 1);
      const had = gone.element.contains(document.activeElement);
      if (gone.rows.includes(state.current)) mark(shown()[0]);
      gone.element.remove();
      if (had) state.current?.focus({ preventScroll: true });
    }
  }

  function wipe() {
    waiting = [];
    blocks = [];
    list.replaceChildren();
    Object.assign(state, { last: 0, burst: 0, unseen: 0, sticks: true, current: null });
    onCount(0, 0);
  }

  // ---- names ----

  const partyName = (party, user) => (party !== 'phone' ? t(party) : t(user || 'phones'));

  function nameRow(row) {
    const { hop, named } = row;
    const user = row.dataset.phone;
    row.firstElementChild.textContent = t('ms', { count: row.since });
    row.setAttribute('aria-label', [
      t('arrowLabel', { name: [shownName(named.label), named.aside, shownName(named.failed)].filter(Boolean).join(' '), from: partyName(hop.from, user), to: partyName(hop.to, user) }),
      t(hop.answer ? 'answer' : 'request')].join(t('comma')));
  }

  /** In the other language. */
  function relabel() {
    for (const row of all()) {
      nameRow(row);
      const caption = row.querySelector('.caption');
      caption.firstElementChild.textContent = shownName(row.named.label);
      const failed = caption.querySelector('.failed');
      if (failed) failed.textContent = shownName(row.named.failed);
    }
  }

  // ---- filter ----

  const isFiltered = (row) => state.filter !== 'all' && row.dataset.phone !== '' && row.dataset.phone !== state.filter;

  function filter(value) {
    state.filter = value;
    for (const block of blocks) {
      for (const row of block.rows) row.parentElement.hidden = isFiltered(row);
      measure(block);
    }
    if (!state.current || state.current.parentElement.hidden) mark(shown().at(-1));
    if (state.sticks) toBottom();
  }

  // ---- scrolling: follows only who is at the bottom ----

  function toBottom() {
    body.scrollTop = 1e9;
    state.sticks = true;
    state.unseen = 0;
    onCount(0, count());
  }

  function scrolled() {
    state.sticks = body.scrollHeight - body.scrollTop - body.clientHeight < AT_BOTTOM_PX;
    if (!state.sticks || !state.unseen) return;
    state.unseen = 0;
    onCount(0, count());
  }

  // ---- one Tab stop, arrow keys inside ----

  const all = () => blocks.flatMap((block) => block.rows);
  const shown = () => all().filter((row) => !row.parentElement.hidden);

  function mark(row) {
    if (state.current === row) return;
    if (state.current) state.current.tabIndex = -1;
    state.current = row ?? null;
    if (row) row.tabIndex = 0;
  }

  function press({ target }) {
    const row = target.closest('.row');
    if (!row) return;
    mark(row);
    onOpen(row);
  }

  function walk(pressed) {
    const row = pressed.target.closest('.row');
    if (!row) return;
    if (pressed.key === 'Escape') {
      pressed.preventDefault();
      onEscape();
      return;
    }
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10, Home: -Infinity, End: Infinity }[pressed.key];
    if (!step || pressed.ctrlKey || pressed.altKey || pressed.metaKey) return;
    pressed.preventDefault();
    const rows = shown();
    const next = rows[Math.max(0, Math.min(rows.length - 1, rows.indexOf(row) + step))];
    mark(next);
    next.focus({ preventScroll: true });
    next.scrollIntoView({ block: 'nearest' });
    onWalk(next);
  }

  return {
    body, list, push, wipe, relabel, filter, toBottom, arrow, partyName, count,
    /** Keeps a row in sight when the room for it became less. */
    keepInSight(row) {
      if (state.sticks && row === shown().at(-1)) toBottom();
      else row.scrollIntoView({ block: 'nearest' });
    },
    focus: () => state.current?.focus({ preventScroll: true }),
  };
}
