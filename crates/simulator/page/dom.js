// Small helpers: making elements, and the icons (drawn here, so none is fetched).

const SVG = 'http://www.w3.org/2000/svg';

/** `h('button', {class: 'x', onclick}, 'text', child)`. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const LINES = {
  who: 'M12 12.2a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM4.5 20c.6-3.9 3.6-5.8 7.5-5.800s6.9 1.9 7.5 5.8',
  chat: 'M12 4.500c-4.7 0-8.5 3.1-8.5 7 0 2.2 1.2 4.1 3.1 5.400L6 20l3.5-1.800c.8.2 1.6.3 2.5.3 4.7 0 8.5-3.1 8.5-7s-3.8-7-8.5-7Z',
  picture: 'M4.5 5h15v14h-15ZM4.5 16l4.5-4.5 3.5 3.5 2.5-2.5 4.5 4M15.5 9.500h.01',
  shield: 'M12 3.5 5 6v5.500c0 4.3 2.9 7.4 7 9 4.1-1.6 7-4.7 7-9V6ZM9.5 9.500l5 5M14.5 9.500l-5 5',
  clock: 'M12 20.500a8.5 8.5 0 1 0 0-17 8.5 8.5 0 0 0 0 17ZM12 7.500V12l3 2',
  broom: 'M5 7h14M9.5 7V4.500h5V7M7 7l.8 12.500h8.400L17 7M10.5 10.500v5.500M13.5 10.500v5.5',
  back: 'M14.5 5 8 12l6.5 7',
  pause: 'M9 6v12M15 6v12',
  play: 'M8 5.5 18 12 8 18.500Z',
  close: 'M6.5 6.500l11 11M17.5 6.500l-11 11',
  down: 'M12 5v13M6.5 12.5 12 18l5.5-5.5',
  light: 'M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 3v1.500M12 19.500V21M3 12h1.500M19.5 12H21M5.6 5.600l1.1 1.100M17.3 17.300l1.1 1.100M18.4 5.600l-1.1 1.100M6.7 17.300l-1.1 1.1',
  dark: 'M19.5 14.500A8 8 0 0 1 9.5 4.500a8 8 0 1 0 10 10Z',
  auto: 'M12 20a8 8 0 1 0 0-16 8 8 0 0 0 0 16ZM12 4v16M12 8h6.500M12 12h8M12 16h6.5',
  server: 'M4.5 5h15v6h-15ZM4.5 13h15v6h-15ZM8 8h.01M8 16h.01',
  app: 'M4.5 5.500h15v13h-15ZM4.5 9h15M9.5 12 7.5 14l2 2M14.5 12l2 2-2 2',
  file: 'M6 3.500h8l4 4V20.500H6ZM14 3.500v4h4M9 12h6M9 15.500h6',
  warn: 'M12 4 21 19.500H3ZM12 10v4.500M12 17h.01',
  copy: 'M9 9h10.500v10.500H9ZM15 9V4.500H4.500V15H9',
};

/** A line icon, for eyes only. */
export function icon(name, size = 24) {
  return s('svg', {
    viewBox: '0 0 24 24', width: size, height: size, fill: 'none', stroke: 'currentColor',
    'stroke-width': 1.6, 'stroke-linecap': 'round', 'stroke-linejoin': 'round', 'aria-hidden': 'true',
  }, s('path', { d: LINES[name] }));
}

/** The two bubbles that stand for WeChat here. */
export function bubbles(size = 24) {
  return s('svg', { viewBox: '0 0 24 24', width: size, height: size, fill: 'currentColor', 'aria-hidden': 'true' },
    s('path', { d: 'M9.3 4.500C5.5 4.5 2.5 7 2.5 10.100c0 1.8 1 3.3 2.5 4.400l-.6 2 2.3-1.200c.8.2 1.6.4 2.5.4h.3a5 5 0 0 1-.2-1.300c0-3 2.8-5.4 6.3-5.400h.2c-.6-2.6-3.3-4.5-6.5-4.500Z' }),
    s('path', { d: 'M21.5 14.300c0-2.6-2.5-4.7-5.6-4.700s-5.6 2.1-5.6 4.700S12.8 19 15.9 19c.7 0 1.3-.1 1.9-.3l1.9 1-.5-1.700c1.4-.9 2.3-2.2 2.3-3.700Z', opacity: '.8' }));
}

/** The status bar's signal, wireless and battery. */
export function statusSigns() {
  return s('svg', { viewBox: '0 0 66 14', width: 66, height: 14, fill: 'currentColor', 'aria-hidden': 'true' },
    s('path', { d: 'M0 9h3v3H0zM4.5 7h3v5h-3zM9 4.500h3V12H9zM13.5 2h3v10h-3z' }),
    s('path', { d: 'M29 12.2 31.2 10a3.1 3.1 0 0 0-4.4 0ZM24.3 7.500l1.3 1.300a4.8 4.8 0 0 1 6.8 0l1.3-1.300a6.7 6.7 0 0 0-9.4 0ZM21.8 5l1.3 1.300a8.3 8.3 0 0 1 11.8 0L36.2 5a10.2 10.2 0 0 0-14.4 0Z' }),
    s('rect', { x: 41.5, y: 1.5, width: 20, height: 11, rx: 3, fill: 'none', stroke: 'currentColor', opacity: .45 }),
    s('rect', { x: 43, y: 3, width: 15, height: 8, rx: 1.8 }),
    s('path', { d: 'M63 5v4c.9-.3 1.5-1.1 1.5-2S63.9 5.3 63 5Z', opacity: .5 }));
}

/** A square portrait: the picture when this page may load it, else the initial. */
export function portrait(name, avatarUrl, user, allowed) {
  const box = h('span', { class: 'portrait', 'data-user': user || '', 'aria-hidden': 'true' },
    (name || '?').trim().slice(0, 1).toUpperCase());
  if (avatarUrl && allowed(avatarUrl)) {
    const picture = h('img', { alt: '', src: avatarUrl });
    picture.addEventListener('load', () => box.replaceChildren(picture), { once: true });
  }
  return box;
}
