// The wire: a live sequence diagram of the hops the server reports, and of saved ones.

import { bubbles, h, icon } from './dom.js';
import { LOGIN_SEQUENCE, isOfPage, nameOf } from './names.js';
import { serverNews } from './server-news.js';
import { createDetail } from './wire-detail.js';
import { fromSaved, toHar, toSaved } from './wire-file.js';
import { MOST_ROWS, clockOf, createRows } from './wire-rows.js';
import { has, label, onLanguage, t, word } from './words.js';

const CLEARED = 'weappd:wire-cleared';

/**
 * @param {{users: string[], whose: object, places: object, tab: object}} parts  `tab` keeps texts
 *        as long as the tab lives
 */
export function createWire({ users, whose, places, tab }) {
  const lanes = [...users, 'weappd', 'wechat', 'app'];
  // What came over the wire of this weappd, drawn or not.
  const live = { run: '', seq: -1, entries: [] };
  const state = { paused: false, held: [], saved: null };

  const rows = createRows({
    middle, above: [laneLines(), hintRows()],
    onOpen: open, onWalk: (row) => detail.isOpen() && open(row),
    onEscape: () => (detail.isOpen() ? detail.closeAndReturn() : pause.focus()),
    onCount: drawCount,
  });
  const detail = createDetail({ partyName: rows.partyName, onClose: (row) => row?.focus({ preventScroll: true }) });
  const newerText = h('span');
  const newer = h('button', { class: 'newer', 'data-testid': 'wire-newer', hidden: true, onclick: rows.toBottom }, icon('down', 16), newerText);
  const pauseText = h('span');
  const pauseIcon = h('span', { class: 'sign' });
  const pause = h('button', { class: 'tool', 'data-testid': 'wire-pause', 'aria-pressed': 'false', onclick: togglePause }, pauseIcon, pauseText);
  const clear = h('button', { class: 'tool', 'data-testid': 'wire-clear', onclick: wipe }, icon('broom', 18), word(h('span'), 'wipe'));
  const filters = h('div', { class: 'segments', role: 'group' }, filterButton('all', 'all'), ...users.map((user) => filterButton(user, user)));
  label(filters, 'show');
  const menu = fileMenu();
  const trouble = h('p', { class: 'trouble', role: 'status', 'data-testid': 'wire-trouble', hidden: true });
  const savedText = h('span');
  const backToLive = word(h('button', { class: 'tool', 'data-testid': 'wire-live', onclick: () => showLive() }), 'toLive');
  const savedBar = h('div', { class: 'saved-bar', role: 'status', 'data-testid': 'wire-saved', hidden: true }, icon('file', 18), savedText, backToLive);
  const news = serverNews();
  const element = h('section', { class: 'wire', id: 'wire', 'data-testid': 'wire', 'data-live': 'false', tabindex: '-1' },
    h('header', { class: 'wire-head' },
      h('div', { class: 'wire-title' }, word(h('h2'), 'wire'), word(h('p', { class: 'dim' }), 'wireNote')),
      h('div', { class: 'tools' }, filters, pause, clear, menu.element)),
    savedBar,
    h('div', { class: 'heads', 'aria-hidden': 'true' }, h('span', { class: 'gutter' }), h('div', { class: 'lane-heads' }, ...lanes.map(laneHead))),
    trouble, news.element,
    h('div', { class: 'wire-middle' }, rows.body, word(h('p', { class: 'keys', 'aria-hidden': 'true' }), 'keys'), newer),
    detail.element);
  label(element, 'wire');
  label(rows.list, 'lane');
  // Where there is no room for words, the signs have them.
  label(clear, 'wipe', {}, 'title');
  label(menu.summary, 'fileMenu', {}, 'title');
  drawTools();
  onLanguage(() => {
    rows.relabel();
    drawTools();
    drawSaved();
    drawHeads();
    detail.again();
    news.again();
  });

  // ---- lanes ----

  function laneHead(lane) {
    const signs = { weappd: icon('server', 18), wechat: bubbles(18), app: icon('app', 18) };
    return h('div', { class: 'lane-head', 'data-lane': lane },
      h('span', { class: 'lane-sign' }, signs[lane] || t(lane).slice(0, 1).toUpperCase()),
      has(lane) ? word(h('span', { class: 'lane-name' }), lane) : h('span', { class: 'lane-name' }, lane));
  }

  function drawHeads() {
    for (const head of element.querySelectorAll('.lane-head')) {
      if (users.includes(head.dataset.lane)) head.firstElementChild.textContent = t(head.dataset.lane).slice(0, 1).toUpperCase();
    }
  }

  function laneLines() {
    return h('div', { class: 'lines', 'aria-hidden': 'true' }, ...lanes.map((lane) => h('i', { 'data-lane': lane })));
  }

  /** The middle of a lane, in hundredths of the width; phones nobody knows stand between the two. */
  function middle(party, user) {
    const at = party === 'phone' ? lanes.indexOf(user) : lanes.indexOf(party);
    return ((at >= 0 ? at : (users.length - 1) / 2) + .5) / lanes.length * 100;
  }

  /** What an empty wire shows: the login as the tutorials draw it. */
  function hintRows() {
    const hint = h('div', { class: 'hint', 'data-testid': 'wire-hint' }, word(h('p', { class: 'hint-text' }), 'hint'), h('div', { class: 'ghosts', 'aria-hidden': 'true' }));
    queueMicrotask(() => hint.lastElementChild.append(...LOGIN_SEQUENCE.map(([from, to, name, answer]) => (
      h('div', { class: 'row ghost', 'data-phone': users[0] }, h('span', { class: 'gutter' }),
        rows.arrow({ from, to, answer }, users[0], { label: name, aside: '', failed: '' }))))));
    return hint;
  }

  // ---- hops ----

  function add(hop) {
    if (hop.seq <= live.seq) return;
    live.seq = hop.seq;
    const named = nameOf(hop);
    const user = whose.of(hop);
    if (named.beat || (isOfPage(hop) && !user) || hop.seq <= cleared()) return;
    const entry = { hop, user, named };
    live.entries.push(entry);
    if (live.entries.length > MOST_ROWS) live.entries.shift();
    if (state.saved) return;
    if (!state.paused) {
      rows.push(entry);
      return;
    }
    state.held.push(entry);
    if (state.held.length > MOST_ROWS) state.held.shift();
    drawTools();
  }

  /** Another weappd than before counts its hops anew. */
  function startRun(run) {
    if (run === live.run) return;
    if (live.run) whose.forget();
    Object.assign(live, { run, seq: -1 });
  }

  /** The last hop that was wiped away, which a reload must not bring back. */
  function cleared() {
    const kept = tab.get(CLEARED);
    return kept && kept.run === live.run ? kept.seq : -1;
  }

  function drawCount(unseen, count) {
    newer.hidden = unseen === 0;
    word(newerText, 'newer', { count: unseen });
    rows.body.querySelector('.hint').hidden = count > 0 || Boolean(state.saved);
  }

  function open(row) {
    detail.open(row);
    rows.keepInSight(row);
  }

  // ---- tools ----

  function filterButton(value, key) {
    const button = h('button', {
      'data-testid': `wire-filter-${value}`, 'data-value': value, 'aria-pressed': String(value === 'all'),
      onclick: () => choose(value),
    }, key);
    return has(key) ? word(button, key) : button;
  }

  function choose(value) {
    for (const button of filters.children) button.setAttribute('aria-pressed', String(button.dataset.value === value));
    rows.filter(value);
  }

  function togglePause() {
    state.paused = !state.paused;
    pause.setAttribute('aria-pressed', String(state.paused));
    if (!state.paused) state.held.splice(0).forEach((entry) => rows.push(entry));
    drawTools();
  }

  function drawTools() {
    const key = !state.paused ? 'pause' : state.held.length ? 'held' : 'resume';
    word(pauseText, key, { count: state.held.length });
    label(pause, key, { count: state.held.length }, 'title');
    pauseIcon.replaceChildren(icon(state.paused ? 'play' : 'pause', 18));
    pause.disabled = clear.disabled = Boolean(state.saved);
  }

  function wipe() {
    tab.set(CLEARED, { run: live.run, seq: live.seq });
    live.entries = [];
    state.held = [];
    detail.close();
    rows.wipe();
    drawTools();
  }

  // ---- files ----

  function fileMenu() {
    const input = h('input', { type: 'file', accept: '.json,application/json', class: 'visually-hidden', tabindex: '-1', 'data-testid': 'wire-open-file', onchange: openChosen });
    label(input, 'openFile');
    const item = (key, act) => word(h('button', { class: 'item', 'data-testid': `wire-${key}`, onclick() { box.open = false; act(); } }), key);
    const box = h('details', { class: 'menu', onkeydown: leave, onfocusout: leave },
      h('summary', { class: 'tool', 'data-testid': 'wire-menu' }, icon('file', 18), word(h('span'), 'fileMenu')),
      h('div', { class: 'menu-items' },
        item('save', () => download('json', toSaved(entries(), users))),
        item('saveHar', () => download('har', toHar(entries(), places))),
        item('openFile', () => input.click())));
    function leave(happened) {
      if (happened.type === 'focusout' && (!happened.relatedTarget || box.contains(happened.relatedTarget))) return;
      if (happened.type === 'keydown' && happened.key !== 'Escape') return;
      if (happened.type === 'keydown') box.firstElementChild.focus();
      box.open = false;
    }
    addEventListener('pointerdown', ({ target }) => { if (!box.contains(target)) box.open = false; });
    async function openChosen() {
      const [file] = input.files;
      if (!file) return;
      try {
        showSaved(file.name, await fromSaved(file, users));
      } catch (error) {
        tell(has(error.message) ? error.message : 'openOther', { name: file.name });
      }
      input.value = '';
    }
    return { element: h('div', { class: 'menu-place' }, box, input), summary: box.firstElementChild };
  }

  const entries = () => (state.saved ? state.saved.entries : live.entries);

  function download(kind, text) {
    const time = new Date(Date.now() - new Date().getTimezoneOffset() * 60000).toISOString().slice(0, 19).replace(/[:T]/g, '-');
    const href = URL.createObjectURL(new Blob([text], { type: 'application/json' }));
    h('a', { href, download: `weappd-wire-${time}.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(href), 60000);
  }

  function showSaved(name, { savedAt, entries: opened }) {
    state.saved = { name, savedAt, entries: opened };
    redraw(opened.map((entry) => ({ ...entry, named: nameOf(entry.hop) })));
    tell(null);
    backToLive.focus();
  }

  function showLive() {
    state.saved = null;
    state.held = [];
    if (state.paused) togglePause();
    redraw(live.entries);
    pause.focus();
  }

  function redraw(all) {
    detail.close();
    rows.wipe();
    all.forEach((entry) => rows.push(entry));
    drawTools();
    drawSaved();
  }

  function drawSaved() {
    savedBar.hidden = !state.saved;
    if (!state.saved) return;
    const { name, savedAt, entries: opened } = state.saved;
    const at = savedAt === null ? '?' : `${new Date(savedAt).toLocaleDateString(document.documentElement.lang)} ${clockOf(savedAt)}`;
    word(savedText, 'savedFile', { name, count: opened.length, at });
  }

  // ---- what is wrong ----

  function tell(key, values) {
    trouble.hidden = !key;
    if (key) word(trouble, key, values);
  }

  return {
    element, add, startRun,
    lost: (count) => tell('lostHops', { count }),
    showServer: (told) => news.show(told),
    /** Whether weappd answers, and why not. */
    reach(reached, why) {
      element.dataset.live = String(reached);
      tell(reached ? null : why);
    },
  };
}
