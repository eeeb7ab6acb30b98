// What the server tells while it happens: hops, how the business server is, and that it is there.

const SILENCE_MS = 20000;

/**
 * @param {string} url
 * @param {object} heard  `onRun(run)`, `onHop(hop)`, `onServer(news)`, `onLost(count)`,
 *                        `onReach(reached, why)` with why = 'cut' or 'untapped'
 */
export function listen(url, heard) {
  let last = Date.now();
  let reached = null;
  let source = null;

  function reach(now, why) {
    if (reached === now) return;
    reached = now;
    heard.onReach(now, why);
  }

  function open() {
    source = new EventSource(url);
    const on = (kind, act) => source.addEventListener(kind, ({ data }) => {
      last = Date.now();
      act(data);
    });
    on('listening', (data) => {
      heard.onRun(JSON.parse(data).run);
      reach(true);
    });
    on('beat', () => reach(true));
    on('lost', (data) => heard.onLost(data));
    on('server', (data) => heard.onServer(JSON.parse(data)));
    on('message', (data) => heard.onHop(JSON.parse(data)));
    source.onerror = () => reach(false, source.readyState === EventSource.CLOSED ? 'untapped' : 'cut');
  }

  open();
  // A server that stands still keeps its connections: its silence is what tells.
  setInterval(() => {
    if (reached && Date.now() - last > SILENCE_MS) reach(false, 'cut');
  }, SILENCE_MS / 4);
}
