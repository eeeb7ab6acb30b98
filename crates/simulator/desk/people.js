// The left column: users and what they do, codes, access tokens.

import { ask, attempt, card, notice, oneLine, pill, span } from './ask.js';
import { h } from './dom.js';
import { onLanguage, t, word } from './words.js';

export function createPeople(refresh) {
  const told = notice();
  const list = h('div', { class: 'users' });
  const codes = h('div', { class: 'facts' });
  const tokens = h('div', { class: 'facts' });
  let open = null;
  let drawn = '';
  let last = null;

  const add = oneLine('addUser', 'add', (name) => attempt(told, async () => {
    await ask('GET', `/phone/${encodeURIComponent(name)}`);
    open = name;
    await refresh();
  }), 'user-add');
  const elements = [
    card('users', 'usersNote', 'users', list, told.element, add),
    card('codes', 'codesNote', 'codes', codes),
    card('tokens', 'tokensNote', 'tokens', tokens),
  ];
  onLanguage(() => { drawn = ''; if (last) draw(last); });

  function draw(state) {
    last = state;
    drawCodes(codes, state);
    drawTokens(tokens, state);
    const now = JSON.stringify([state.users.map(({ session_left_secs, active_at, ...rest }) => rest), state.user_count]);
    if (now === drawn) return;
    drawn = now;
    const busy = list.contains(document.activeElement) && document.activeElement.dataset.testid;
    list.replaceChildren(...state.users.map(userRow));
    if (!state.users.length) list.append(word(h('p', { class: 'empty' }), 'noUsers'));
    if (state.user_count > state.users.length) list.append(h('p', { class: 'empty' }, t('more', { count: state.user_count - state.users.length })));
    if (busy) list.querySelector(`[data-testid="${busy}"]`)?.focus();
  }

  function userRow(user) {
    const chips = [
      chip(user.logged_in ? 'loggedIn' : 'noLogin', user.logged_in ? 'good' : ''),
      user.allows ? null : chip('refuses', 'warn'),
      user.risky ? chip('risky', 'bad') : null,
      user.inbox ? chip('inbox', '', { count: user.inbox }) : null,
      user.replies_left ? chip('replies', '', { count: user.replies_left }) : null,
    ];
    const actions = h('div', { class: 'actions', hidden: open !== user.name });
    const head = h('button', {
      class: 'user', type: 'button', 'data-testid': `user-${user.name}`, 'aria-expanded': String(open === user.name),
      onclick() {
        open = open === user.name ? null : user.name;
        drawn = '';
        draw(last);
      },
    },
    h('img', { class: 'face', src: `/avatar/${user.name}.svg`, alt: '', width: 40, height: 40 }),
    h('span', { class: 'user-text' },
      h('span', { class: 'user-name' }, user.nick_name),
      h('span', { class: 'user-id' }, user.openid)),
    h('span', { class: 'chips' }, ...chips));
    if (open === user.name) actions.append(...deeds(user));
    return h('div', { class: 'user-box', 'data-open': String(open === user.name) }, head, actions);
  }

  function deeds(user) {
    const path = (verb) => `/phone/${user.name}/${verb}`;
    const does = (key, verb, body, then) => pill(key, () => attempt(told, async () => {
      const answer = await ask('POST', path(verb), body);
      if (then) then(answer); else told.say('done');
      await refresh();
    }), { 'data-testid': `user-${user.name}-${verb}` });
    const sends = (hint, key, verb, field, then) => oneLine(hint, key, (text) => attempt(told, async () => {
      await ask('POST', path(verb), { [field]: text });
      then(text);
      await refresh();
    }), `user-${user.name}-${verb}`);
    return [
      h('div', { class: 'pills' },
        does('login', 'login', {}, ({ code }) => told.say('gotLogin', { name: user.nick_name }, code)),
        does('phoneCode', 'phone_number', {}, ({ code }) => told.say('gotPhone', {}, code)),
        does('expire', 'expire_session', {}),
        does(user.allows ? 'refuse' : 'allow', 'authorize', { allow: !user.allows }),
        does(user.risky ? 'makeSafe' : 'makeRisky', 'risky', { risky: !user.risky }),
        does('enter', 'enter_session', {}, () => told.say('entered'))),
      sends('sayHint', 'say', 'say', 'text', () => told.say('said')),
      sends('subscribeHint', 'subscribe', 'subscribe', 'template_id', (template) => told.say('agreed', { template })),
      ...user.subscriptions.map(({ template_id, left }) => h('p', { class: 'sub' }, h('code', {}, template_id), ` × ${left}`)),
    ];
  }

  return { elements, draw };
}

const chip = (key, kind, values) => word(h('span', { class: `chip ${kind}` }), key, values);

function drawCodes(into, { codes }) {
  const alive = codes.slice(0, 6);
  into.replaceChildren(...alive.map((code) => fact(
    h('code', {}, code.code),
    h('span', { class: 'dim' }, [code.user, t(`kind_${code.kind}`)].filter(Boolean).join(' · ')),
    code.used ? chip('used', '') : h('span', { class: 'left' }, t('left', { time: span(code.left_secs) })),
    code.used ? 0 : code.left_secs / 300)));
  if (!alive.length) into.append(word(h('p', { class: 'empty' }), 'noCodes'));
}

function drawTokens(into, { tokens, settings }) {
  into.replaceChildren(...tokens.slice(0, 6).map((token) => fact(
    h('code', {}, token.token),
    h('span', { class: 'dim' }, token.latest ? token.family : `${token.family} · ${t('replaced')}`),
    h('span', { class: 'left' }, t('left', { time: span(token.left_secs) })),
    token.left_secs / settings.token_secs)));
  if (!tokens.length) into.append(word(h('p', { class: 'empty' }), 'noTokens'));
}

function fact(name, note, right, share) {
  const bar = h('i', { class: 'bar-fill' });
  bar.style.width = `${Math.max(0, Math.min(1, share)) * 100}%`;
  return h('div', { class: 'fact' }, h('div', { class: 'fact-line' }, name, note, right), h('div', { class: 'bar-track' }, bar));
}
