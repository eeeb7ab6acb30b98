// Preload: the name api.weixin.qq.com is weappd's internal address, as an `extra_hosts` line
// of a container or /etc/hosts would have it. Tests have no port 80 to give.
'use strict';

const http = require('http');

const { hostname, port } = new URL(process.env.WEAPPD_INTERNAL_URL);
const { request } = http;

http.request = (url, options, heard) => {
  const asked = new URL(url);
  if (asked.hostname !== 'api.weixin.qq.com') return request(url, options, heard);
  const headers = { ...options.headers, host: asked.host };
  return request({ ...options, hostname, port, path: asked.pathname + asked.search, headers }, heard);
};
