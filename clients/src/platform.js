// The calls of `wx` this package needs, as promises. Everything else is plain JavaScript.
'use strict';

const { WeappdError, wxFailure } = require('./errors.js');

/** The `wx` that was handed in, or the mini program's own. */
function platform(given) {
  const found = given || (typeof wx === 'undefined' ? undefined : wx);
  if (!found) throw new WeappdError('bad_argument', 'there is no wx here: hand one in as options.wx');
  return found;
}

/** One call of wx that ends in `success` or `fail`; `onTask` gets what it returns. */
function call(wx, api, options, onTask) {
  return new Promise((resolve, reject) => {
    const task = wx[api](Object.assign({}, options, {
      success: resolve,
      fail: (result) => reject(wxFailure(`wx.${api}`, result)),
    }));
    if (onTask && task) onTask(task);
  });
}

/** A header by its name, in whatever case the platform left it. */
function headerOf(headers, name) {
  const wanted = name.toLowerCase();
  const found = Object.keys(headers || {}).find((key) => key.toLowerCase() === wanted);
  const value = found === undefined ? undefined : headers[found];
  return Array.isArray(value) ? value[0] : value;
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** `https://host/` and `api`, `/api` or a whole address. */
function address(base, path) {
  if (/^(https?|wss?):\/\//i.test(path)) return path;
  return base + (path.charAt(0) === '/' ? path : `/${path}`);
}

module.exports = { platform, call, headerOf, sleep, address };
