// An app with a page of its own, which ends when /end is asked, and then cannot start again.

const fs = require('node:fs');
const http = require('node:http');

const MARK = 'has-ended';

if (fs.existsSync(MARK)) {
  console.error('still out of luck');
  process.exit(7);
}
http.createServer((request, response) => {
  if (request.url === '/end') {
    fs.writeFileSync(MARK, '');
    console.error('\x1b[31mout of luck\x1b[0m: the database is gone');
    process.exit(7);
  }
  response.setHeader('Content-Type', 'text/html; charset=utf-8');
  response.end('<!doctype html><title>own</title><link rel="icon" href="data:,"><p>the app’s own page</p>');
}).listen(process.env.PORT, '127.0.0.1');
