// What goes wrong, as one kind of error with a code for programs.
'use strict';

/** `code` is one of the words in index.d.ts; `detail` is what the other side said. */
class WeappdError extends Error {
  constructor(code, message, detail) {
    super(message);
    this.name = 'WeappdError';
    this.code = code;
    this.detail = detail;
  }
}

/** The error for a `fail` callback of wx: no answer came. */
function wxFailure(what, result) {
  const errMsg = (result && result.errMsg) || 'no reason given';
  let code = 'unreachable';
  if (/timeout|timed out/i.test(errMsg)) code = 'timeout';
  if (/abort/i.test(errMsg)) code = 'aborted';
  return new WeappdError(code, `${what}: ${errMsg}`, result);
}

module.exports = { WeappdError, wxFailure };
