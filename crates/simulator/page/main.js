// The start: languages, colours, the two phones and the wire.

import { h, icon } from './dom.js';
import { listen } from './feed.js';
import { tab } from './kept.js';
import { createPhone } from './phone.js';
import { createWhose } from './whose.js';
import { createWire } from './wire.js';
import { currentLanguage, firstLanguage, label, setLanguage, word } from './words.js';

const KEPT = { language: 'weappd:language', theme: 'weappd:theme' };
const THEMES = ['auto', 'light', 'dark'];
const THEME_WORDS = { auto: 'themeAuto', light: 'themeLight', dark: 'themeDark' };

// The simulator's page keeps these as plain texts.
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

/** The other pages of this weappd. */
function links(config) {
  const link = (href, key, testid) => word(h('a', { class: 'tool link', href, 'data-testid': testid }), key);
  const made = [link(`${config.wechatUrl}/`, 'toDesk', 'to-desk')];
  if (config.appHome) made.unshift(link(config.appHome, 'toApp', 'to-app'));
  return made;
}

async function start() {
  watchHands();
  setLanguage(recall(KEPT.language) || firstLanguage());
  const tools = document.querySelector('#tools');
  tools.append(languageButton(), themeButton());
  const config = await (await fetch('/_dev/config.json')).json();
  tools.prepend(...links(config));
  const users = config.users.map(({ name }) => name);
  const whose = createWhose(config.users);
  const places = { weappd: location.origin, wechat: config.wechatUrl };
  const wire = createWire({ users, whose, places, tab });
  const stage = document.querySelector('#stage');
  stage.after(wire.element);
  const phones = users.map((user) => createPhone({ user, config, whose, tab }));
  stage.append(...phones.map(({ element }) => element));
  label(stage, 'stage');
  listen('/_dev/wire', {
    onRun: wire.startRun,
    onHop: wire.add,
    onLost: wire.lost,
    onServer: wire.showServer,
    onReach(reached, why) {
      wire.reach(reached, why);
      // Where nothing is tapped, weappd may well answer.
      if (why !== 'untapped') phones.forEach((phone) => phone.reach(reached));
    },
  });
  setLanguage(currentLanguage());
  document.documentElement.dataset.ready = 'true';
}

start();
