// A hop's detail as readable JSON: coloured, secrets marked, JSON inside texts unfolded.

import { h } from './dom.js';
import { t } from './words.js';

const MASKED = /^.{0,4}…\(\d+\)$/u;
const DEEPEST = 12;

export function jsonView(value) {
  const root = h('code', { class: 'json' });
  write(root, value, 0);
  return root;
}

function write(into, value, depth) {
  if (Array.isArray(value)) return list(into, value.map((one) => [null, one]), '[]', depth);
  if (value && typeof value === 'object') return list(into, Object.entries(value), '{}', depth);
  if (typeof value === 'string') return text(into, value, depth);
  into.append(h('span', { class: 'j-atom' }, String(value)));
  return undefined;
}

function list(into, entries, [opens, closes], depth) {
  if (!entries.length || depth >= DEEPEST) {
    into.append(entries.length ? `${opens} … ${closes}` : opens + closes);
    return;
  }
  into.append(`${opens}\n`);
  entries.forEach(([name, value], at) => {
    into.append('  '.repeat(depth + 1));
    if (name !== null) into.append(h('span', { class: 'j-name' }, name), ': ');
    write(into, value, depth + 1);
    into.append(at < entries.length - 1 ? ',\n' : '\n');
  });
  into.append('  '.repeat(depth) + closes);
}

function text(into, value, depth) {
  if (MASKED.test(value)) {
    into.append(h('span', { class: 'j-masked', title: t('masked') }, value));
    return;
  }
  if (/^\s*[[{]/.test(value) && depth < DEEPEST) {
    try {
      const inside = JSON.parse(value);
      into.append(h('span', { class: 'j-note' }, t('jsonText')), ' ');
      write(into, inside, depth);
      return;
    } catch { /* a text that only looks like JSON */ }
  }
  into.append(h('span', { class: 'j-text' }, JSON.stringify(value)));
}
