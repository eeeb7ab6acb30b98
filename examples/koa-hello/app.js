// The tutorial's Koa server. It speaks plain HTTP on loopback; weappd in front of it does
// HTTPS, the domain and the certificate, and says who calls.
'use strict';

const Koa = require('koa');

const app = new Koa();

app.use((ctx) => {
  const openid = ctx.get('X-WX-OPENID');
  ctx.body = { hello: openid || 'world' };
});

const port = Number(process.env.PORT || 1937);
app.listen(port, '127.0.0.1', () => console.log(`listening on 127.0.0.1:${port}`));
