// The desk in two languages. Texts in the DOM keep their key, so a switch changes them in place.

const WORDS = {
  en: {
    title: 'weappd simulate: a WeChat of your own', skip: 'Skip to the calls',
    tagline: 'A WeChat of your own, for tests. Nothing here leaves this machine.',
    toPhones: 'The two phones', language: '中文', languageLabel: '切换到中文',
    themeAuto: 'Colours: as the system. Switch to light.', themeLight: 'Colours: light. Switch to dark.', themeDark: 'Colours: dark. Switch to automatic.',
    users: 'Users', usersNote: 'appear when first named', addUser: 'a name: carol', add: 'Add',
    loggedIn: 'logged in', noLogin: 'no session', refuses: 'refuses', risky: 'risky', inbox: '{count} received', replies: '{count} answers open',
    noUsers: 'Nobody yet. Add alice, or let your tests log somebody in.', more: 'and {count} more', actions: 'What {name} does',
    login: 'Log in', phoneCode: 'Phone code', expire: 'End session', refuse: 'Refuse data', allow: 'Allow data', makeRisky: 'Make risky', makeSafe: 'Make safe', enter: 'Enter chat',
    say: 'Write', sayHint: 'a message to customer service', subscribe: 'Agree', subscribeHint: 'a template id',
    gotLogin: 'wx.login gave {name} this code, good once and for 5 minutes:', gotPhone: 'The phone-number button gave this code, good once and for 5 minutes:',
    done: 'Done.', said: 'Said. The mini program may answer 5 times within 48 hours.', entered: 'In the chat. The mini program may answer twice within a minute.', agreed: 'One more message of {template} may be sent.',
    copy: 'Copy', copied: 'Copied',
    codes: 'Codes', codesNote: 'five minutes, one use', noCodes: 'No code is alive.', used: 'used', kind_login: 'login', kind_phone_number: 'phone',
    tokens: 'Access tokens', tokensNote: 'what works now', noTokens: 'No access_token is alive.', replaced: 'replaced', left: '{time} left',
    calls: 'Calls', callsNote: 'secrets masked, the last 500', all: 'All', api: 'Server', phone: 'Phone', push: 'Push', pause: 'Pause', resume: 'Go on', clear: 'Clear', show: 'Show calls of',
    noCalls: 'Point your server at {url} in place of https://api.weixin.qq.com. Every call shows up here.', search: 'Filter by path', noMatch: 'No call fits the filter.',
    detail: 'The call', close: 'Close', asked: 'Asked', answered: 'Answered', generic: 'general answer', took: '{count} ms', noAnswer: 'no answer', masked: 'a secret, masked by the server', jsonText: 'JSON text',
    weather: 'A bad day', weatherNote: 'with the next answers', times: 'How often', latency: 'Delay', none: 'none', heal: 'All well again', well: 'All is well.', ill: '{fault}, {count} left', slow: 'every answer waits {ms} ms',
    f_busy: 'System busy', f_limit: 'Too often', f_token: 'Token invalid', f_reset: 'Connection cut', f_half: 'Half an answer', f_wrong_json: 'A page, no JSON',
    clock: 'Time', clockNote: 'the simulator’s own', real: 'as the clock', ahead: '{time} ahead', behind: '{time} behind', back: 'Back to now',
    pushTitle: 'Message push', pushNote: 'WeChat calls your server', pushOff: 'No address is set.', url: 'Address', token: 'Token', key: 'EncodingAESKey', mode: 'Mode', format: 'Format', save: 'Verify and save', verify: 'Verify', off: 'Switch off',
    plain: 'plain', compatible: 'compatible', safe: 'safe', saved: 'It echoed, and is set.', verified: 'It echoed.', off_done: 'Nothing is pushed from now on.', keyHint: '43 characters, for safe mode',
    lost: 'The simulator does not answer. See that weappd simulate is still running; this page asks again by itself.',
  },
  zh: {
    title: 'weappd simulate：自己的微信', skip: '跳到调用记录',
    tagline: '测试用的微信，一切都在本机。',
    toPhones: '两部手机', language: 'English', languageLabel: 'Switch to English',
    themeAuto: '颜色：跟随系统。切换到浅色。', themeLight: '颜色：浅色。切换到深色。', themeDark: '颜色：深色。切换到自动。',
    users: '用户', usersNote: '第一次被提到时出现', addUser: '名字：carol', add: '添加',
    loggedIn: '已登录', noLogin: '无会话', refuses: '拒绝授权', risky: '风险用户', inbox: '收到 {count} 条', replies: '可回复 {count} 条',
    noUsers: '还没有用户。添加 alice，或让测试登录一个用户。', more: '还有 {count} 位', actions: '{name} 的操作',
    login: '登录', phoneCode: '手机号 code', expire: '结束会话', refuse: '拒绝授权', allow: '允许授权', makeRisky: '设为风险', makeSafe: '取消风险', enter: '进入客服',
    say: '发送', sayHint: '给客服发一条消息', subscribe: '同意', subscribeHint: '模板 ID',
    gotLogin: 'wx.login 给了 {name} 这个 code，5 分钟内可用一次：', gotPhone: '手机号按钮给了这个 code，5 分钟内可用一次：',
    done: '完成。', said: '已发送。小程序 48 小时内可回复 5 条。', entered: '已进入客服会话。小程序 1 分钟内可回复 2 条。', agreed: '模板 {template} 可多发一条。',
    copy: '复制', copied: '已复制',
    codes: 'Code', codesNote: '五分钟，一次', noCodes: '没有有效的 code。', used: '已用', kind_login: '登录', kind_phone_number: '手机号',
    tokens: 'access_token', tokensNote: '当前有效', noTokens: '没有有效的 access_token。', replaced: '已被替换', left: '剩 {time}',
    calls: '调用', callsNote: '敏感信息已打码，保留最近 500 条', all: '全部', api: '服务器', phone: '手机', push: '推送', pause: '暂停', resume: '继续', clear: '清空', show: '显示哪些调用',
    noCalls: '把服务器里的 https://api.weixin.qq.com 换成 {url}，每次调用都会出现在这里。', search: '按路径过滤', noMatch: '没有符合条件的调用。',
    detail: '调用详情', close: '关闭', asked: '请求', answered: '应答', generic: '通用应答', took: '{count} 毫秒', noAnswer: '没有应答', masked: '敏感信息，已由服务器打码', jsonText: 'JSON 文本',
    weather: '故障', weatherNote: '作用于接下来的应答', times: '次数', latency: '延迟', none: '无', heal: '恢复正常', well: '一切正常。', ill: '{fault}，还剩 {count} 次', slow: '每次应答等待 {ms} 毫秒',
    f_busy: '系统繁忙', f_limit: '调用太频繁', f_token: 'token 无效', f_reset: '连接断开', f_half: '只有半个应答', f_wrong_json: '网页而非 JSON',
    clock: '时间', clockNote: '只影响模拟器', real: '与时钟一致', ahead: '快 {time}', behind: '慢 {time}', back: '回到现在',
    pushTitle: '消息推送', pushNote: '微信调用你的服务器', pushOff: '没有设置地址。', url: '地址', token: 'Token', key: 'EncodingAESKey', mode: '模式', format: '格式', save: '验证并保存', verify: '验证', off: '关闭',
    plain: '明文', compatible: '兼容', safe: '安全', saved: '验证通过，已保存。', verified: '验证通过。', off_done: '已停止推送。', keyHint: '43 个字符，安全模式用',
    lost: '模拟器没有回应。请确认 weappd simulate 还在运行，页面会自动重试。',
  },
};

let language = 'en';
const listeners = new Set();

/** A text in the chosen language; `{name}` is filled from `values`. */
export function t(key, values = {}) {
  const text = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

export const currentLanguage = () => language;
export const onLanguage = (listener) => listeners.add(listener);

/** Gives an element a text that follows the language. */
export function word(element, key, values) {
  element.dataset.word = key;
  element.dataset.values = JSON.stringify(values || {});
  element.textContent = t(key, values);
  return element;
}

/** Gives an element an accessible name, or another attribute, that follows the language. */
export function label(element, key, attribute = 'aria-label', values = {}) {
  const labels = { ...JSON.parse(element.dataset.labels || '{}'), [attribute]: [key, values] };
  element.dataset.labels = JSON.stringify(labels);
  element.setAttribute(attribute, t(key, values));
  return element;
}

export function firstLanguage() {
  const wanted = navigator.languages || [navigator.language || 'en'];
  return /^zh\b/i.test(wanted[0] || '') ? 'zh' : 'en';
}

export function setLanguage(wanted) {
  language = WORDS[wanted] ? wanted : 'en';
  document.documentElement.lang = language === 'zh' ? 'zh-CN' : 'en';
  document.title = t('title');
  for (const element of document.querySelectorAll('[data-word]')) {
    element.textContent = t(element.dataset.word, JSON.parse(element.dataset.values || '{}'));
  }
  for (const element of document.querySelectorAll('[data-labels]')) {
    for (const [attribute, [key, values]] of Object.entries(JSON.parse(element.dataset.labels))) {
      element.setAttribute(attribute, t(key, values));
    }
  }
  listeners.forEach((listener) => listener());
}
