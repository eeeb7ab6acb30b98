// What the tutorials call each hop, whatever the room that reported it called it. No DOM.
//
// A row: who to whom, what the reported name must look like, the name of the request, the name
// of the answer. The first row that fits wins; a name nobody knows is shown as it came.

const TABLE = [
  ['phone>wechat', /(^|\/|\.)login$/, 'wx.login', 'code'],
  ['phone>wechat', /check_?session/, 'wx.checkSession', 'wx.checkSession'],
  ['phone>wechat', /expire_?session/, 'session_key ⌛', '⌛'],
  ['phone>wechat', /user_?(info|profile)/, 'wx.getUserInfo', 'encryptedData + iv'],
  ['phone>wechat', /phone_?number/, 'getPhoneNumber', 'encryptedData + iv'],
  ['phone>wechat', /authorize/, 'wx.authorize', 'wx.authorize'],
  ['phone>weappd', /(^|[/. ])login$|^code$|^skey$/, 'code → /login', 'skey'],
  ['phone>weappd', /(^|[/. ])user$|^who am i|^userinfo$/, 'skey → /user', 'userInfo'],
  ['phone>weappd', /(^|[/. ])session$/, 'code → /session', 'skey'],
  ['phone>weappd', /upload/, 'wx.uploadFile', 'imgUrl'],
  ['phone>weappd', /files|download/, 'wx.downloadFile', 'picture'],
  ['phone>weappd', /(^ws$|ws\/|websocket(?! close)|upgrade|connect_?socket|^connect$|^open$)/, 'wx.connectSocket', '101'],
  ['phone>weappd', /tunnel/, 'skey → /tunnel', 'connectUrl'],
  ['weappd>wechat', /code_?2_?session/, 'code2Session', 'openid + session_key'],
  ['app>weappd', /wsurl/, '/get/wsurl', 'tunnelId + connectUrl'],
  ['app>weappd', /push/, '/ws/push', '/ws/push'],
  ['app>weappd', /(^|[/. ])user$/, 'skey → /user', 'userInfo'],
];

/** `{label, aside, beat, failed}`: the name, what small text stands beside it, whether it is only a heartbeat. */
export function nameOf(hop) {
  const name = plain(hop.name);
  // An answer runs the other way, under the name of what it answers.
  const way = hop.answer ? `${hop.to}>${hop.from}` : `${hop.from}>${hop.to}`;
  const row = TABLE.find(([ends, looks]) => ends === way && looks.test(name));
  const failed = failureOf(hop);
  const given = row && row[hop.answer && !failed ? 3 : 2];
  return {
    // A refusal does not carry what the answer is named after: its own words name it, or else
    // what was asked.
    label: (failed && reasonIn(hop.detail)) || given || shown(hop.name),
    aside: asideOf(hop, name),
    beat: /^(ping|pong)$/.test(name),
    failed,
  };
}

const plain = (name) => String(name).trim().toLowerCase().replace(/^(get|post|put|delete|head) +/, '').replace(/[?#].*$/, '').replace(/\/$/, '');
const shown = (name) => (String(name).length > 34 ? `${String(name).slice(0, 33)}…` : String(name));

/** Whether a hop is only this page fetching itself. */
export const isOfPage = ({ name }) => /^(\w+ )?\/(_dev(\/|$)|favicon|$)/.test(String(name));

/** Inside a message or a push: which kind of message. */
function asideOf(hop, name) {
  if (hop.answer || !/push|message|tunnel|callback/.test(name)) return '';
  const kinds = [];
  gather(hop.detail, kinds, 0);
  const kind = kinds.filter((one) => !plain(hop.name).split(/[/ ]/).includes(one)).pop();
  return kind && kind.length <= 16 ? kind : '';
}

function gather(value, kinds, depth) {
  if (depth > 8 || value === null) return;
  if (typeof value === 'string') {
    const json = value.replace(/^message:/, '');
    if (/^\s*[[{]/.test(json)) {
      try {
        gather(JSON.parse(json), kinds, depth + 1);
      } catch { /* not JSON after all */ }
    }
  } else if (typeof value === 'object') {
    if (typeof value.type === 'string') kinds.push(value.type);
    Object.values(value).forEach((one) => gather(one, kinds, depth + 1));
  }
}

/** The status or code of an answer that is a refusal, or of a process that ended, else ''. */
function failureOf({ answer, detail, name }) {
  if (name === 'exited') return detail?.ended?.code === undefined ? '✗' : String(detail.ended.code);
  if (!answer || !detail || typeof detail !== 'object') return '';
  const status = [detail.status, detail.statusCode, detail.response?.status].find((one) => Number(one) >= 400);
  if (status) return String(status);
  const body = [detail, detail.body, detail.response?.body].map(unfold).find((one) => one && typeof one === 'object' && (refuses(one.code) || refuses(one.errcode)));
  if (body) return String(refuses(body.code) ? body.code : body.errcode);
  const words = [detail, unfold(detail.body)].find((one) => one && /:fail/.test(one.errMsg || ''));
  if (words) return words.errMsg.split(':fail ')[1] || 'fail';
  return typeof detail.error === 'string' && detail.error ? '✗' : '';
}

// weappd's own refusals. Its tap masks whatever is called `code`, for a login's code is a secret.
const MASKED_REFUSALS = { 'app_…(13)': 'app_not_ready', 'bad_…(11)': 'bad_gateway', 'gate…(15)': 'gateway_timeout' };

/** The server's own short word for a refusal: `ERR_SKEY_INVALID`. */
function reasonIn(detail) {
  const words = [detail, unfold(detail.body), unfold(detail.response?.body)]
    .map((one) => one && typeof one === 'object' && wordsOf(one))
    .find((one) => typeof one === 'string' && one);
  return words ? shown(words.split('\n')[0]) : '';
}

function wordsOf({ error, errmsg, message }) {
  if (!error || typeof error !== 'object') return error || errmsg || message;
  return MASKED_REFUSALS[error.code] || error.message || error.code;
}

const refuses = (code) => typeof code === 'number' && code !== 0 && !(code >= 200 && code < 400);

function unfold(value) {
  if (typeof value !== 'string') return value;
  try {
    return JSON.parse(value);
  } catch {
    return null;
  }
}

/** The login sequence as the tutorials draw it: the hint on an empty wire. */
export const LOGIN_SEQUENCE = [
  ['phone', 'wechat', 'wx.login', false],
  ['wechat', 'phone', 'code', true],
  ['phone', 'weappd', 'code → /login', false],
  ['weappd', 'wechat', 'code2Session', false],
  ['wechat', 'weappd', 'openid + session_key', true],
  ['weappd', 'phone', 'skey', true],
  ['phone', 'weappd', 'skey → /user', false],
  ['weappd', 'phone', 'userInfo', true],
];
