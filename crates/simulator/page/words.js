// The page in two languages. A text lives in the DOM as its key, so a switch changes it in place.

const WORDS = {
  en: {
    title: 'weappd dev: two phones and the wire',
    tagline: 'Everything here runs on this machine. WeChat is simulated.',
    language: '中文', languageLabel: '切换到中文',
    themeAuto: 'Colours: as the system. Switch to light.',
    themeLight: 'Colours: light. Switch to dark.',
    themeDark: 'Colours: dark. Switch to automatic.',
    stage: 'The phones', skip: 'Skip to the wire',
    alice: 'Alice', bob: 'Bob', phoneOf: '{name}\'s phone',
    appTitle: 'Mini program', hello: 'This is {name}\'s phone',
    helloNote: 'The mini program does not know who is holding it yet.',
    logIn: 'Log in with WeChat', working: 'One moment …',
    refuse: 'Refuse authorisation', refuseNote: 'hides name and picture',
    someone: 'WeChat user', loggedIn: 'Logged in', outdated: 'Session expired', openid: 'openid {id}',
    user: 'Who am I?', userNote: 'asks the server, by its skey', userAnswer: 'the server says: {name}', ask: 'Ask',
    chat: 'Chat room', chatNote: 'a tunnel over WebSocket', join: 'Join',
    picture: 'Send a picture', pictureNote: 'uploaded, then fetched back', sample: 'Sample', file: 'File …',
    fileLabel: 'Choose a picture file', pictureAlt: 'The picture as it came back from the server', sampleLabel: 'Send a sample picture',
    expire: 'Expire my session', expireNote: 'then press Ask and watch', expireDo: 'Expire',
    clear: 'Clear storage', clearNote: 'the phone forgets its skey', clearDo: 'Clear',
    room: 'Chat', roomOf: 'Chat ({count})', leave: 'Leave', send: 'Send', say: 'Say something', sayTo: '{name}\'s message',
    log: 'Chat messages', entered: '{name} joined', left: '{name} left', youEntered: 'You joined',
    reconnecting: 'Connection lost, reconnecting …', reconnected: 'Connected again',

    idle: 'Press the green button: the login everyone draws on whiteboards, for real.',
    now_login: 'wx.login: asking WeChat for a code …',
    ok_login: 'Logged in. The server turned the code into openid + session_key; the phone keeps only an skey.',
    ok_login_refused: 'You refused (getUserInfo:fail auth deny) and are logged in all the same: a code tells your openid, not your name.',
    ok_login_refused_known: 'You refused, and are logged in all the same. The server still says {name}: it keeps what you shared before.',
    ok_resume: 'Still logged in: the skey was in storage, and wx.checkSession says it is fine.',
    ok_user: 'The skey travelled in X-WX-Skey, and the server answered: you are {name}.',
    now_chat: 'Asking for a tunnel: the business server will hand out a WebSocket address …',
    ok_chat: 'Connected. What you say goes phone, tunnel, business server, and back to everyone.',
    ok_chat_first: 'Connected, and alone in the room. Let the other phone join, then say something.',
    ok_chat_met: '{name} is in the room. What you say goes phone, tunnel, business server, and back to everyone.',
    ok_chat_alone: '{name} left. You are alone in the room now.',
    ok_leave: 'You left. The tunnel told the business server, and the other phone saw it.',
    now_upload: 'Uploading the picture …',
    ok_upload: 'Uploaded ({size}), then fetched back with wx.downloadFile. What you see came from the server.',
    ok_expire: 'Your session has expired, and the phone does not know it. Press Ask and watch the wire.',
    now_renew: 'The server refused the old skey; the phone is logging in again by itself …',
    ok_renew: 'The old skey was refused, so the phone logged in again and asked once more. The user noticed nothing.',
    ok_clear: 'Storage cleared: the phone has forgotten its skey, the server has not forgotten you.',
    ok_refuse_on: 'From now on this phone refuses to share its profile. Log in to see what that changes.',
    ok_refuse_on_in: 'From now on this phone refuses. You stay logged in as {name}: the server has what you shared before.',
    ok_refuse_off: 'From now on this phone shares its profile when asked.',
    ok_refuse_off_in: 'From now on this phone shares its profile when asked: at the next login.',
    ok_back: 'weappd answers again.',

    e_cut: 'weappd does not answer, so nothing this phone does arrives. The page tries again by itself.',
    e_wechat: 'The simulated WeChat at {url} does not answer. See that weappd dev is still running, then press again.',
    e_wechat_said: 'WeChat said no: {text}. Press again; if it stays so, restart weappd dev.',
    e_server: 'The server does not answer. See that weappd dev is still running, then press again.',
    e_server_said: 'The server answered: {text}. Press again; the wire shows the whole answer.',
    e_login: 'The server refused the login: {text}. Press again, each code is good for one login only.',
    e_session: 'The server refused the new session as well: {text}. Clear the storage and log in again.',
    e_app: 'The chat\'s business server is not up yet ({text}). weappd starts it again by itself; join in a moment.',
    e_tunnel: 'The tunnel could not be opened ({text}). Press Join to try again.',
    e_lost: 'The chat broke off, and five tries did not bring it back. Press Join to try again.',
    e_upload: 'The server did not take the picture: {text}. It takes JPEG, PNG, GIF and BMP up to 10 MB.',

    offline: 'No network: weappd does not answer',
    r_noUrl: 'no connectUrl in the answer', r_refused: 'the WebSocket was refused', r_closed: 'closed, {count}', r_noPong: 'no pong came',
    r_said: '{text}', r_status: 'HTTP {count}', r_noCode: 'no code in the answer', r_noFile: 'no such file', r_badUrl: 'no valid address', r_sockets: 'too many sockets',

    wire: 'The wire', wireNote: 'what really went over it, as it happens',
    all: 'All', show: 'Show hops of', pause: 'Pause', resume: 'Go on', held: 'Go on ({count})', wipe: 'Clear',
    weappd: 'weappd', wechat: 'WeChat', app: 'Business server', phones: 'Phones',
    cut: 'The wire is cut: weappd does not answer. This page reconnects by itself.',
    untapped: 'This weappd does not report its wire. Start it with weappd dev to watch.',
    lostHops: '{count} hops went by too fast to show',
    hint: 'This is the login sequence. Press a green button and it happens here, step by step. Press an arrow to see what it carries.',
    newer: '{count} new', lane: 'Sequence diagram', arrowLabel: '{name}, from {from} to {to}',
    detail: 'What this hop carried', close: 'Close', copy: 'Copy', copied: 'Copied', request: 'request', answer: 'answer',
    empty: 'This hop carried nothing else.', masked: 'Secret, masked by the server', jsonText: 'JSON text',
    ms: '{count} ms', comma: ', ', keys: '↑ ↓ walk · Enter opens · Esc leaves',
    toDesk: 'Simulated WeChat', toApp: 'Your app',
    fileMenu: 'File', save: 'Save the wire', saveHar: 'Save as HAR', openFile: 'Open a saved wire …', toLive: 'Back to live',
    savedFile: '{name}: {count} hops, saved {at}',
    openTooLarge: '{name} is larger than 32 MB.', openNoJson: '{name} is no JSON file.',
    openOther: '{name} is no saved wire. Choose a file that “Save the wire” made.', openNewer: '{name} is of a newer weappd.',
    serverLines: 'What it printed last', serverDown: 'The business server {how}. {next}',
    serverNext: 'weappd starts it again by itself. Its last lines:', serverStopped: 'weappd app start starts it again. Its last lines:', serverRests: 'It failed too often: mend it, then run weappd app restart. Its last lines:',
    endedCode: 'ended with exit code {code}', endedSignal: 'was ended by signal {signal}', endedHung: 'was not ready after {seconds} s',
    endedNever: 'could not start: {why}', endedStopped: 'was stopped',
    hop_picture: 'picture', hop_exited: 'the process ended', hop_app_not_ready: 'business server not ready', hop_bad_gateway: 'business server unreachable',
    hop_gateway_timeout: 'business server too slow',
  },
  zh: {
    title: 'weappd dev：两部手机与通信过程',
    tagline: '一切都在本机运行，微信是模拟的。',
    language: 'English', languageLabel: 'Switch to English',
    themeAuto: '配色：跟随系统。切换到浅色。',
    themeLight: '配色：浅色。切换到深色。',
    themeDark: '配色：深色。切换到自动。',
    stage: '手机', skip: '跳到通信过程',
    alice: '爱丽丝', bob: '小波', phoneOf: '{name}的手机',
    appTitle: '我的小程序', hello: '这是{name}的手机',
    helloNote: '小程序还不知道是谁在用它。',
    logIn: '微信登录', working: '请稍候…',
    refuse: '拒绝授权用户信息', refuseNote: '小程序拿不到昵称和头像',
    someone: '微信用户', loggedIn: '已登录', outdated: '登录态已过期', openid: 'openid {id}',
    user: '我是谁？', userNote: '带着 skey 问服务器', userAnswer: '服务器说：{name}', ask: '问一下',
    chat: '聊天室', chatNote: 'WebSocket 信道', join: '加入',
    picture: '发一张图片', pictureNote: '上传，再取回来', sample: '示例图', file: '文件…',
    fileLabel: '选择图片文件', pictureAlt: '从服务器取回的图片', sampleLabel: '发送示例图片',
    expire: '让登录态过期', expireNote: '然后点“问一下”看通信过程', expireDo: '过期',
    clear: '清除缓存', clearNote: '让手机忘掉 skey', clearDo: '清除',
    room: '聊天室', roomOf: '聊天室（{count}）', leave: '离开', send: '发送', say: '说点什么', sayTo: '{name}要说的话',
    log: '聊天记录', entered: '{name} 加入了聊天', left: '{name} 离开了聊天', youEntered: '你加入了聊天',
    reconnecting: '连接断开，正在重连…', reconnected: '已重新连接',

    idle: '点绿色按钮：白板上画过无数遍的登录流程，这次是真的。',
    now_login: 'wx.login：正在向微信要 code…',
    ok_login: '登录成功。服务器用 code 换到了 openid + session_key，手机只保存 skey。',
    ok_login_refused: '你拒绝了授权（auth deny），但仍然登录了：只凭 code，服务器知道你的 openid，不知道你的名字。',
    ok_login_refused_known: '你拒绝了授权，但仍然登录了。服务器还是叫你{name}：它保留着你以前授权过的信息。',
    ok_resume: '仍在登录中：缓存里有 skey，wx.checkSession 也说没问题。',
    ok_user: 'skey 放在 X-WX-Skey 里带了过去，服务器返回：你是 {name}。',
    now_chat: '正在申请信道：业务服务器会给出一个 WebSocket 地址…',
    ok_chat: '已连接。你说的话经过信道到业务服务器，再发给所有人。',
    ok_chat_first: '已连接，房间里只有你。让另一部手机也加入，再说句话。',
    ok_chat_met: '{name}也在房间里。你说的话经过信道到业务服务器，再发给所有人。',
    ok_chat_alone: '{name}离开了，房间里只剩你一个人。',
    ok_leave: '你离开了。信道通知了业务服务器，另一部手机也看到了。',
    now_upload: '正在上传图片…',
    ok_upload: '已上传（{size}），又用 wx.downloadFile 取了回来。你看到的就是服务器上的那一张。',
    ok_expire: '登录态已过期，而手机还不知道。点“问一下”，看看通信过程里发生了什么。',
    now_renew: '服务器拒绝了旧的 skey，手机正在自动重新登录…',
    ok_renew: '旧 skey 被拒绝，手机自动重新登录并重试了一次。用户毫无察觉。',
    ok_clear: '缓存已清除：手机忘了 skey，服务器没有忘记你。',
    ok_refuse_on: '从现在起这部手机拒绝授权用户信息。登录一次，看看有什么不同。',
    ok_refuse_on_in: '从现在起这部手机拒绝授权。你仍以{name}的身份登录：以前授权过的信息，服务器还留着。',
    ok_refuse_off: '从现在起这部手机允许授权用户信息。',
    ok_refuse_off_in: '从现在起这部手机允许授权用户信息，下次登录时生效。',
    ok_back: 'weappd 已恢复响应。',

    e_cut: 'weappd 没有响应，手机做什么都到不了服务器。页面会自动重试。',
    e_wechat: '模拟微信（{url}）没有响应。请确认 weappd dev 还在运行，然后再点一次。',
    e_wechat_said: '微信拒绝了：{text}。请再点一次；如果还不行，请重启 weappd dev。',
    e_server: '服务器没有响应。请确认 weappd dev 还在运行，然后再点一次。',
    e_server_said: '服务器返回：{text}。请再点一次；完整的响应见通信过程。',
    e_login: '服务器拒绝了登录：{text}。请再点一次，每个 code 只能用一次。',
    e_session: '新的登录态也被拒绝：{text}。请清除缓存后重新登录。',
    e_app: '聊天的业务服务器还没就绪（{text}）。weappd 会自动重启它，请稍后再点“加入”。',
    e_tunnel: '信道没能打开（{text}）。请点“加入”再试一次。',
    e_lost: '聊天断开了，重连五次都没有成功。请点“加入”再试一次。',
    e_upload: '服务器没有接收这张图片：{text}。支持 JPEG、PNG、GIF、BMP，最大 10 MB。',

    offline: '网络不可用：weappd 没有响应',
    r_noUrl: '响应里没有 connectUrl', r_refused: 'WebSocket 连接被拒绝', r_closed: '连接已关闭，{count}', r_noPong: '没有收到心跳响应',
    r_said: '状态码 {count}', r_status: '状态码 {count}', r_noCode: '响应里没有 code', r_noFile: '没有这个文件', r_badUrl: '地址无效', r_sockets: '连接太多',

    wire: '通信过程', wireNote: '真实发生的每一步',
    all: '全部', show: '显示谁的通信', pause: '暂停', resume: '继续', held: '继续（{count}）', wipe: '清空',
    weappd: 'weappd', wechat: '微信', app: '业务服务器', phones: '手机',
    cut: '连接断了：weappd 没有响应。页面会自动重连。',
    untapped: '这个 weappd 不报告通信过程。请用 weappd dev 启动。',
    lostHops: '有 {count} 步发生太快，没有显示',
    hint: '这是登录时序图。点任意一个绿色按钮，它就会在这里一步步发生。点箭头可以看它带了什么内容。',
    newer: '{count} 步新通信', lane: '时序图', arrowLabel: '{name}，从{from}到{to}',
    detail: '这一步的内容', close: '关闭', copy: '复制', copied: '已复制', request: '请求', answer: '响应',
    empty: '这一步没有携带其他内容。', masked: '敏感信息，已由服务器打码', jsonText: 'JSON 文本',
    ms: '{count} 毫秒', comma: '，', keys: '↑ ↓ 移动 · 回车打开 · Esc 离开',
    toDesk: '模拟微信', toApp: '你的应用',
    fileMenu: '文件', save: '保存通信记录', saveHar: '另存为 HAR', openFile: '打开通信记录…', toLive: '回到实时',
    savedFile: '{name}：{count} 步，保存于 {at}',
    openTooLarge: '{name} 超过 32 MB。', openNoJson: '{name} 不是 JSON 文件。',
    openOther: '{name} 不是保存的通信记录。请选择用“保存通信记录”得到的文件。', openNewer: '{name} 来自版本更新的 weappd。',
    serverLines: '它最后的输出', serverDown: '业务服务器{how}。{next}',
    serverNext: 'weappd 会自动重启它。最后的输出：', serverStopped: '请运行 weappd app start 重新启动它。最后的输出：', serverRests: '失败次数太多，改好后请运行 weappd app restart。最后的输出：',
    endedCode: '已退出，退出码 {code}', endedSignal: '被信号 {signal} 终止', endedHung: '{seconds} 秒后仍未就绪',
    endedNever: '无法启动：{why}', endedStopped: '已停止',
    hop_picture: '图片', hop_exited: '进程退出', hop_app_not_ready: '业务服务器未就绪', hop_bad_gateway: '业务服务器连不上',
    hop_gateway_timeout: '业务服务器超时',
  },
};

let language = 'en';
const listeners = new Set();

/** A text in the chosen language; `{name}` is filled from `values`. */
export function t(key, values = {}) {
  const text = WORDS[language][key] ?? WORDS.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (all, name) => {
    const value = values[name] ?? all;
    // A value that is itself a key follows the language: {word: 'alice'}.
    return value && value.word ? t(value.word, value.values) : value;
  });
}

/** All keys. */
export const WORD_KEYS = Object.keys(WORDS.en);
export const has = (key) => key in WORDS.en;
export const currentLanguage = () => language;
export const onLanguage = (listener) => listeners.add(listener);

/** Gives an element a text that follows the language. */
export function word(element, key, values) {
  element.dataset.word = key;
  if (values) element.dataset.values = JSON.stringify(values);
  else delete element.dataset.values;
  element.textContent = t(key, values);
  return element;
}

/** Gives an element an accessible name (or another attribute) that follows the language. */
export function label(element, key, values, attribute = 'aria-label') {
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
      element.setAttribute(attribute, t(key, values || {}));
    }
  }
  listeners.forEach((listener) => listener());
}
