// How the business server is: a strip above the wire while it is not there, with the last lines
// it printed.

import { h, icon } from './dom.js';
import { label, t, word } from './words.js';

export function serverNews() {
  const sentence = h('p', { role: 'status', 'data-testid': 'server-sentence' });
  const lines = h('pre', { tabindex: '0', 'data-testid': 'server-lines' });
  label(lines, 'serverLines');
  const element = h('div', { class: 'server-news', 'data-testid': 'server-news', hidden: true },
    h('div', { class: 'server-head' }, icon('warn', 18), sentence), lines);
  let told = null;

  function draw() {
    // One that has never ended is only starting, and so is one that was asked to start anew.
    const wasAsked = ['stopped', 'killed'].includes(told?.ended?.kind);
    element.hidden = !told || told.ready || !told.ended || (wasAsked && !told.rests);
    if (element.hidden) return;
    const next = !told.rests ? 'serverNext' : wasAsked ? 'serverStopped' : 'serverRests';
    word(sentence, 'serverDown', { how: howItEnded(told.ended), next: t(next) });
    lines.textContent = told.lines.join('\n');
    lines.hidden = !told.lines.length;
    lines.scrollTop = lines.scrollHeight;
  }

  return {
    element,
    again: draw,
    show(news) {
      told = news;
      draw();
    },
  };
}

/** How a process ended, in words. */
export function howItEnded({ kind, code, signal, after_ms: ms, why }) {
  if (kind === 'exited') return t('endedCode', { code });
  if (kind === 'signalled') return t('endedSignal', { signal });
  if (kind === 'hung_at_start') return t('endedHung', { seconds: Math.round(ms / 1000) });
  if (kind === 'never_started') return t('endedNever', { why });
  return t('endedStopped');
}
