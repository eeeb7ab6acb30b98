// What the stories see and press.

// What the simulated WeChat calls them.
const NAMES = { alice: 'Alice 爱丽丝', bob: 'Bob 小波' };

const step = (text) => console.log(`step: ${text}`);

/** One phone on the stage, by what a user can press and read. */
function phoneOn(page, user) {
  const at = (name) => page.getByTestId(name ? `phone-${user}-${name}` : `phone-${user}`);
  const phone = {
    at,
    state: (state) => page.locator(`[data-testid="phone-${user}"][data-state="${state}"]`).waitFor(),
    notice: (kind, text) => page.locator(`[data-testid="phone-${user}-notice"][data-kind="${kind}"]`, { hasText: text }).waitFor(),
    press: (name) => at(name).click(),
    async login() {
      step(`${user} logs in`);
      await phone.press('login');
      await phone.state('in');
    },
    async join() {
      step(`${user} joins the chat`);
      await phone.press('chat-join');
      await phone.state('chat');
    },
    async say(text) {
      await at('chat-input').fill(text);
      await phone.press('chat-send');
    },
    hears: (text) => page.locator(`[data-testid="phone-${user}-bubble"][data-mine="false"]`, { hasText: text }).waitFor(),
    sees: (text) => page.locator(`[data-testid="phone-${user}-chat-event"]`, { hasText: text }).waitFor(),
    skey: () => page.evaluate((prefix) => {
      const key = Object.keys(localStorage).find((name) => name.startsWith(prefix));
      return key ? /[0-9a-f]{64}/.exec(localStorage.getItem(key))?.[0] ?? null : null;
    }, `weappd:${user}:`),
  };
  return phone;
}

/** The arrows so far: label, from, to, whose. */
const arrows = (page) => page.getByTestId('wire-arrow').evaluateAll((all) => all.map(({ dataset }) => (
  { label: dataset.label, from: dataset.from, to: dataset.to, phone: dataset.phone, name: dataset.name })));

/** Waits for an arrow of this name, and whose it is. */
const arrow = (page, label, phone) => page.locator(
  `[data-testid="wire-arrow"][data-label="${label}"]${phone ? `[data-phone="${phone}"]` : ''}`).first();

module.exports = { NAMES, arrow, arrows, phoneOn, step };
