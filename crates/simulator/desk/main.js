// The start: languages, colours, and asking the simulator once a second.

import { ask } from './ask.js';
import { createCalls } from './calls.js';
import { h, icon } from './dom.js';
import { createPeople } from './people.js';
import { createWeather } from './weather.js';
import { currentLanguage, firstLanguage, label, setLanguage, word } from './words.js';

const KEPT = { language: 'weappd:language', theme: 'weappd:theme' };
const THEMES = ['auto', 'light', 'dark'];
const THEME_WORDS = { auto: 'themeAuto', light: 'themeLight', dark: 'themeDark' };
const EACH_MS = 1000;

const recall = (key) => { try { return localStorage.getItem(key); } catch { return null; } };
const keep = (key, value) => { try { localStorage.setItem(key, value); } catch { /* a browser that keeps nothing still works */ } };

function languageButton() {
  return label(word(h('button', {
    class: 'tool', type: 'button', 'data-testid': 'language',
    onclick() {
      setLanguage(currentLanguage() === 'zh' ? 'en' : 'zh');
      keep(KEPT.language, currentLanguage());
    },
  }), 'language'), 'languageLabel');
}

function themeButton() {
  let theme = THEMES.includes(recall(KEPT.theme)) ? recall(KEPT.theme) : 'auto';
  const button = h('button', {
    class: 'tool round', type: 'button', 'data-testid': 'theme',
    onclick() {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      keep(KEPT.theme, theme);
      draw();
    },
  });
  function draw() {
    document.documentElement.dataset.theme = theme;
    button.replaceChildren(icon(theme, 20));
    label(label(button, THEME_WORDS[theme]), THEME_WORDS[theme], 'title');
  }
  draw();
  return button;
}

/** To the phone page, where there is one. */
function leadBack(page) {
  const tools = document.querySelector('#tools');
  if (!page || tools.querySelector('.link')) return;
  tools.prepend(word(h('a', { class: 'tool link', href: page, 'data-testid': 'to-phones' }), 'toPhones'));
}

async function start() {
  const trouble = word(h('p', { class: 'trouble-bar', role: 'alert', hidden: true }), 'lost');
  const people = createPeople(refresh);
  const weather = createWeather(refresh);
  const calls = createCalls();
  document.querySelector('#tools').append(languageButton(), themeButton());
  document.querySelector('#people').append(...people.elements);
  document.querySelector('#calls').append(calls.element);
  document.querySelector('#weather').append(...weather.elements);
  document.querySelector('header.top').after(trouble);
  setLanguage(recall(KEPT.language) || firstLanguage());

  // One after the other: two at a time would hear of the same calls.
  let turn = Promise.resolve();
  function refresh() {
    turn = turn.then(look);
    return turn;
  }

  async function look() {
    try {
      const state = await ask('GET', '/state');
      leadBack(state.phone_page);
      people.draw(state);
      weather.draw(state);
      await calls.take();
      trouble.hidden = true;
    } catch {
      trouble.hidden = false;
    }
  }

  await refresh();
  document.documentElement.dataset.ready = 'true';
  let idle = true;
  setInterval(async () => {
    // A slow answer is waited for, not asked for again.
    if (document.hidden || !idle) return;
    idle = false;
    await refresh();
    idle = true;
  }, EACH_MS);
}

start();
