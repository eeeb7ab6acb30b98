// Whose hop is it? Told by the stream of hops alone, so that the same hops give the same answer
// after a reload: the server names an openid or a tunnelId where it knows one, a phone's request
// carries its phone's address as Referer, an answer belongs to who asked. No DOM.
//
// An skey tells nothing: all of them begin with the time, and only their beginning is shown.

const MOST_OPEN = 40;
const MOST_KNOWN = 600;
const CODES = /^(code|js_code|x-wx-code|tunnelId)$/;

/** The address a phone's requests come from; `phoneOf` reads it again. */
export const phoneAddress = (user) => `/_dev/phones/${user}`;
const phoneOf = (referer) => /\/_dev\/phones\/([\w-]+)$/.exec(String(referer || ''))?.[1] ?? null;

/** @param {{name: string, openid?: string}[]} users */
export function createWhose(users) {
  const names = users.map(({ name }) => name);
  const known = new Map();
  // Requests of phones that are not answered yet, oldest first.
  let open = [];

  function learn(text, user) {
    known.delete(text);
    known.set(text, user);
    if (known.size > MOST_KNOWN) known.delete(known.keys().next().value);
  }

  function forget() {
    known.clear();
    open = [];
    for (const { name, openid } of users) if (openid) learn(openid, name);
  }

  /** Everybody whom a known text inside `value` belongs to. */
  function found(value, into = new Set(), depth = 0) {
    if (depth > 10) return into;
    if (typeof value === 'string') {
      if (known.has(value)) into.add(known.get(value));
      else if (value.length > 20) for (const [text, user] of known) if (text.length > 20 && value.includes(text)) into.add(user);
    } else if (value && typeof value === 'object') {
      for (const one of Object.values(value)) found(one, into, depth + 1);
    }
    return into;
  }

  /** What a hop that is this user's tells about later ones: its code, its tunnel. */
  function learnFrom(value, user, depth = 0) {
    if (!value || typeof value !== 'object' || depth > 4) return;
    for (const [name, one] of Object.entries(value)) {
      if (typeof one === 'string' && CODES.test(name) && one.length > 5) learn(one, user);
      else learnFrom(one, user, depth + 1);
    }
  }

  function told({ who, detail, from, to }) {
    const parts = detail && typeof detail === 'object' ? detail : {};
    const user = known.get(who) ?? phoneOf(parts.headers?.referer)
      ?? (from === 'phone' && to === 'wechat' ? parts.user : null);
    if (names.includes(user)) return user;
    const all = found(parts);
    return all.size === 1 ? [...all][0] : null;
  }

  /** Who asked what this answers: by the request's id, its name, or nobody else being waited for. */
  function asker(hop) {
    const asked = open.filter((one) => one.to === hop.from);
    const id = hop.detail?.id;
    const one = asked.find((request) => id && request.id === id)
      ?? asked.find((request) => request.name === hop.name)
      ?? (new Set(asked.map(({ user }) => user)).size === 1 ? asked[0] : null);
    open = open.filter((other) => other !== one);
    return one?.user ?? null;
  }

  forget();
  return {
    forget,
    /** Whose openid (or other known text) this is, or null. */
    named: (text) => known.get(text) ?? null,
    /** The user, or null when it is nobody's on this page or several's. */
    of(hop) {
      let user = told(hop);
      if (hop.answer && hop.to === 'phone') {
        const asked = asker(hop);
        user ??= asked;
      } else if (!hop.answer && hop.from === 'phone' && user) {
        open.push({ user, to: hop.to, name: hop.name, id: hop.detail?.id });
        open = open.slice(-MOST_OPEN);
      }
      if (user) learnFrom(hop.detail, user);
      return user;
    },
  };
}
