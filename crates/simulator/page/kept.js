// What the page remembers as long as the tab lives, so that a reload shows what was there. A browser
// that keeps nothing still works.

export const tab = {
  get(key) {
    try {
      return JSON.parse(sessionStorage.getItem(key));
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      if (value === null) sessionStorage.removeItem(key);
      else sessionStorage.setItem(key, JSON.stringify(value));
    } catch { /* forbidden, or full */ }
  },
};
