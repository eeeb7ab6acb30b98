// The open hop: what it carried.

import { h, icon } from './dom.js';
import { jsonView } from './json.js';
import { clockOf, shownName } from './wire-rows.js';
import { label, t, word } from './words.js';

export function createDetail({ partyName, onClose }) {
  const element = h('aside', { class: 'detail', id: 'wire-detail', 'data-testid': 'wire-detail', hidden: true, onkeydown: escape });
  label(element, 'detail');
  let chosen = null;

  function open(row) {
    const { hop, named } = row;
    chosen?.removeAttribute('aria-expanded');
    chosen = row;
    row.setAttribute('aria-expanded', 'true');
    const user = row.dataset.phone;
    const nothing = hop.detail === null || hop.detail === undefined || (typeof hop.detail === 'object' && !Object.keys(hop.detail).length);
    const copy = word(h('button', { class: 'tool', onclick: copyHop }), 'copy');
    const close = h('button', { class: 'tool round', 'data-testid': 'wire-detail-close', onclick: closeAndReturn }, icon('close', 18));
    label(close, 'close');
    const facts = [`${partyName(hop.from, user)} → ${partyName(hop.to, user)}`, t(hop.answer ? 'answer' : 'request'), clockOf(hop.at, true)];
    if (named.label !== hop.name) facts.push(hop.name);
    element.replaceChildren(
      h('header', {},
        h('div', {}, h('h3', {}, shownName(named.label), named.failed ? h('strong', { class: 'failed' }, shownName(named.failed)) : null),
          h('p', { class: 'dim' }, facts.join(' · '))),
        copy, close),
      h('pre', { tabindex: '0', 'data-testid': 'wire-detail-json' }, nothing ? t('empty') : jsonView(hop.detail)));
    element.dataset.phone = user;
    element.hidden = false;
  }

  async function copyHop(pressed) {
    const button = pressed.currentTarget;
    try {
      await navigator.clipboard.writeText(JSON.stringify(chosen.hop, null, 2));
      word(button, 'copied');
    } catch {
      // Without the clipboard's leave the text can still be selected by hand.
      getSelection().selectAllChildren(element.querySelector('pre'));
    }
  }

  function close() {
    chosen?.removeAttribute('aria-expanded');
    chosen = null;
    element.hidden = true;
  }

  function closeAndReturn() {
    const row = chosen;
    close();
    onClose(row);
  }

  function escape(pressed) {
    if (pressed.key === 'Escape') closeAndReturn();
  }

  return { element, open, close, closeAndReturn, again: () => chosen && open(chosen), isOpen: () => Boolean(chosen) };
}
