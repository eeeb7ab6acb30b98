// A Wafer 2 business server: Koa and the unchanged wafer-node-sdk, with its own sessions
// in MySQL or MariaDB. It knows nothing of weappd; only its sdk.config.json says where the
// tunnel server is.
//
//   PORT        where to listen on 127.0.0.1 (0: any; the line "listening on N" says which)
//   SDK_CONFIG  path of the sdk.config.json, /data/release/sdk.config.json in its days
//   WX_APPID, WX_APPSECRET, WX_MESSAGE_TOKEN, WX_LOGIN_EXPIRES (seconds)
//   MYSQL_HOST, MYSQL_PORT, MYSQL_USER, MYSQL_PASS, MYSQL_DB
//
// The SDK exchanges codes at https://api.weixin.qq.com, a name written into its code. To
// meet a simulated WeChat instead, start it with `--require ./wechat-elsewhere.js`.
'use strict';

const fs = require('fs');
const Koa = require('koa');
const Router = require('koa-router');
const bodyParser = require('koa-bodyparser');
const chatRoom = require('./chat-room.js');

const { env } = process;
const given = JSON.parse(fs.readFileSync(env.SDK_CONFIG || '/data/release/sdk.config.json', 'utf8'));
const { auth, message, mysql, tunnel } = require('wafer-node-sdk')({
  // What the vendor's console filled in, for services this server does not use.
  qcloudAppId: '0',
  qcloudSecretId: '-',
  qcloudSecretKey: '-',
  ...given,
  rootPathname: '',
  useQcloudLogin: false,
  appId: env.WX_APPID,
  appSecret: env.WX_APPSECRET,
  wxMessageToken: env.WX_MESSAGE_TOKEN || 'message-token',
  wxLoginExpires: Number(env.WX_LOGIN_EXPIRES || 7200),
  cos: { region: 'ap-guangzhou', fileBucket: 'unused', uploadFolder: '' },
  mysql: {
    host: env.MYSQL_HOST || '127.0.0.1',
    port: Number(env.MYSQL_PORT || 3306),
    user: env.MYSQL_USER || 'root',
    pass: env.MYSQL_PASS || '',
    db: env.MYSQL_DB || 'cAuth',
    char: 'utf8mb4',
  },
});

// The table the SDK reads and writes.
const SESSION_TABLE = `CREATE TABLE IF NOT EXISTS cSessionInfo (
  open_id varchar(100) NOT NULL PRIMARY KEY,
  uuid varchar(100) NOT NULL,
  skey varchar(100) NOT NULL,
  create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  last_visit_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
  session_key varchar(100) NOT NULL,
  user_info varchar(2048) NOT NULL,
  KEY by_skey (skey)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4`;

const room = chatRoom(tunnel);
const router = new Router({ prefix: '/weapp' });

router.get('/login', auth.authorizationMiddleware, (ctx) => {
  if (ctx.state.$wxInfo.loginState) {
    ctx.state.data = ctx.state.$wxInfo.userinfo;
    console.log('login');
  }
});

router.get('/user', auth.validationMiddleware, (ctx) => {
  if (ctx.state.$wxInfo.loginState === 1) {
    ctx.state.data = ctx.state.$wxInfo.userinfo;
  } else {
    ctx.state.code = -1;
  }
});

router.get('/tunnel', async (ctx) => {
  const { tunnel: opened, userinfo } = await tunnel.getTunnelUrl(ctx.req);
  room.asked(opened.tunnelId, userinfo);
  ctx.state.data = opened;
});

router.post('/tunnel', async (ctx) => {
  const packet = await tunnel.onTunnelMessage(ctx.request.body);
  if (packet.type === 'connect') room.connect(packet.tunnelId);
  if (packet.type === 'close') room.leave(packet.tunnelId);
  if (packet.type === 'message') {
    room.message(packet.tunnelId, packet.content.messageType, packet.content.messageContent);
  }
});

const signed = ({ query: { signature, timestamp, nonce } }) => message.checkSignature(signature, timestamp, nonce);
router.get('/message', (ctx) => {
  ctx.body = signed(ctx) ? ctx.query.echostr : 'ERR_WHEN_CHECK_SIGNATURE';
});
router.post('/message', (ctx) => {
  if (signed(ctx)) console.log(`message from WeChat ${JSON.stringify(ctx.request.body)}`);
  ctx.body = signed(ctx) ? 'success' : 'ERR_WHEN_CHECK_SIGNATURE';
});

const app = new Koa();
// The envelope of Wafer 2: HTTP 200 always.
app.use(async (ctx, next) => {
  try {
    await next();
    if (!ctx.body && ctx.matched && ctx.matched.length) {
      ctx.body = { code: ctx.state.code || 0, data: ctx.state.data || {} };
    }
  } catch (error) {
    console.log(`refused ${error.message.split('\n')[0]}`);
    ctx.status = 200;
    ctx.body = { code: -1, error: error.message };
  }
});
// WeChat labels its JSON bodies text/xml.
app.use(bodyParser({ extendTypes: { json: ['application/json', 'text/xml'] } }));
app.use(router.routes());

mysql.raw(SESSION_TABLE).then(() => {
  const server = app.listen(Number(env.PORT || 5757), '127.0.0.1', () => {
    console.log(`listening on ${server.address().port}`);
  });
  process.on('SIGTERM', () => server.close(() => mysql.destroy(() => process.exit(0))));
}).catch((error) => {
  console.error(`cSessionInfo: ${error.message}`);
  process.exit(1);
});
