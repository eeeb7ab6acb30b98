// What wafer-node-sdk 1.4.5 does with encrypted user data: its own aesDecrypt, then JSON.parse.
// The arguments are a file of `bench_wechat logins` and how often to go through it; a line
// of output is the nanoseconds each took.
'use strict';

const { createHash } = require('crypto');
const { readFileSync } = require('fs');
const aesDecrypt = require('wafer-node-sdk/lib/helper/aesDecrypt');

const [, , file, rounds] = process.argv;
const all = readFileSync(file, 'utf8').trim().split('\n').map((line) => {
  const [openid, code, data, iv] = line.split('\t');
  const seed = `${Number(code.slice(1, 7))} ${Number(code.slice(8, 10))}`;
  const key = createHash('sha256').update(seed).digest().subarray(0, 16).toString('base64');
  return { openid, key, data, iv };
});

for (let round = 0; round < Number(rounds); round += 1) {
  const began = process.hrtime.bigint();
  for (const { openid, key, data, iv } of all) {
    if (JSON.parse(aesDecrypt(key, iv, data)).openId !== openid) throw new Error(openid);
  }
  console.log(String((process.hrtime.bigint() - began) / BigInt(all.length)));
}
