// Whose hop is it? The server names an openid or a tunnelId where it knows one; before that
// (a login that is only a code yet) the phones' own calls tell. No DOM.

/** As the server masks: enough to recognise a secret, never enough to use it. */
export function mask(text) {
  const letters = [...text];
  return letters.length <= 8 ? `…(${letters.length})` : `${letters.slice(0, 4).join('')}…(${letters.length})`;
}

const LINGER_MS = 250;

export function createWhose(users, now = () => Date.now()) {
  const known = new Map(users.map((user) => [user, new Set([user])]));
  const busy = new Map(users.map((user) => [user, { calls: 0, until: 0 }]));

  /** Every phone that one of the texts inside `value` belongs to. */
  function found(value, into = new Set()) {
    if (typeof value === 'string') {
      for (const [user, texts] of known) {
        // A name alone is no proof: a chat text may say it.
        if (value !== user && texts.has(value)) into.add(user);
        else if (value.length > 20 && [...texts].some((one) => one.length > 20 && value.includes(one))) into.add(user);
      }
    } else if (value && typeof value === 'object') {
      Object.values(value).forEach((one) => found(one, into));
    }
    return into;
  }

  return {
    /** `value` (an openid, a tunnelId, a masked secret) is this user's. */
    learn(user, value) {
      if (value) known.get(user)?.add(value);
    },
    learnSecret(user, secret) {
      if (typeof secret === 'string' && secret.length > 8) known.get(user)?.add(mask(secret));
    },
    calling(user, step) {
      const one = busy.get(user);
      one.calls = Math.max(0, one.calls + step);
      one.until = now() + LINGER_MS;
    },
    /** Whose openid (or other known text) this is, or null. */
    named: (text) => users.find((user) => text && known.get(user).has(text)) || null,
    /** The user, or null when it is nobody's on this page or several's. */
    of(hop) {
      const named = this.named(hop.who);
      if (named) return named;
      const told = found(hop.detail);
      if (told.size) return told.size === 1 ? [...told][0] : null;
      const active = users.filter((user) => busy.get(user).calls > 0 || busy.get(user).until > now());
      return active.length === 1 ? active[0] : null;
    },
  };
}
