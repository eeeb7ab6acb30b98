// An Express app that trusts weappd with who may see /admin and /account.
const express = require('express');

const app = express();
const tell = (place) => (ask, answer) => answer.json({ place, caller: ask.get('x-wx-openid') || '' });
app.use('/admin', tell('admin'));
app.all('/account', tell('account'));
app.use(tell('open'));
app.listen(process.env.PORT, '127.0.0.1');
