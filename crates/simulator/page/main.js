// The start: languages, colours, the two phones and the wire.

import { h, icon } from './dom.js';
import { createPhone } from './phone.js';
import { createWhose } from './whose.js';
import { createWire } from './wire.js';
import { currentLanguage, firstLanguage, label, setLanguage, word } from './words.js';

const KEPT = { language: 'weappd:language', theme: 'weappd:theme' };
const THEMES = ['auto', 'light', 'dark'];
const THEME_WORDS = { auto: 'themeAuto', light: 'themeLight', dark: 'themeDark' };

const recall = (key) => {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
};
const keep = (key, value) => {
  try {
    localStorage.setItem(key, value);
  } catch { /* a browser that keeps nothing still works */ }
};

function languageButton() {
  const button = word(h('button', {
    class: 'tool', 'data-testid': 'language',
    onclick() {
      setLanguage(currentLanguage() === 'zh' ? 'en' : 'zh');
      keep(KEPT.language, currentLanguage());
    },
  }), 'language');
  return label(button, 'languageLabel');
}

function themeButton() {
  let theme = THEMES.includes(recall(KEPT.theme)) ? recall(KEPT.theme) : 'auto';
  const button = h('button', {
    class: 'tool round', 'data-testid': 'theme',
    onclick() {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      keep(KEPT.theme, theme);
      draw();
    },
  });
  function draw() {
    document.documentElement.dataset.theme = theme;
    button.dataset.theme = theme;
    button.replaceChildren(icon(theme, 20));
    label(button, THEME_WORDS[theme]);
    label(button, THEME_WORDS[theme], {}, 'title');
  }
  draw();
  return button;
}

/** After a press by pointer the focus still moves on, but needs no ring to be found. */
function watchHands() {
  const by = (what) => () => { document.documentElement.dataset.by = what; };
  addEventListener('pointerdown', by('pointer'), true);
  addEventListener('keydown', by('keys'), true);
}

async function start() {
  watchHands();
  setLanguage(recall(KEPT.language) || firstLanguage());
  document.querySelector('#tools').append(languageButton(), themeButton());
  const config = await (await fetch('/_dev/config.json')).json();
  const whose = createWhose(config.users);
  const wire = createWire({ users: config.users, whose });
  const stage = document.querySelector('#stage');
  // The wire listens before a phone says its first word, so that no hop is missed.
  stage.after(wire.element);
  wire.listen('/_dev/wire');
  for (const user of config.users) stage.append(createPhone({ user, config, whose }).element);
  label(stage, 'stage');
  setLanguage(currentLanguage());
  document.documentElement.dataset.ready = 'true';
}

start();
