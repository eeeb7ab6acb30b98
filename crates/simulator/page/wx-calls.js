// How every `wx` call ends: later, with success or fail, then complete. No DOM.

/** Runs `work`, then success/fail and complete; a promise when no callback was given. */
export function settle(api, options, work) {
  const { success, fail, complete } = options || {};
  const wantsPromise = !success && !fail && !complete;
  const done = Promise.resolve().then(work).then(
    (result) => ({ ok: true, result: { ...result, errMsg: `${api}:ok` } }),
    (error) => ({ ok: false, result: failure(api, error) }),
  );
  if (wantsPromise) {
    return done.then(({ ok, result }) => {
      if (ok) return result;
      throw Object.assign(new Error(result.errMsg), result);
    });
  }
  done.then(({ ok, result }) => {
    // A throwing callback is the mini program's error, and must not swallow `complete`.
    guarded(ok ? success : fail, result);
    guarded(complete, result);
  });
  return undefined;
}

export function guarded(callback, result) {
  if (typeof callback !== 'function') return;
  try {
    callback(result);
  } catch (error) {
    setTimeout(() => { throw error; });
  }
}

export class Fail extends Error {
  constructor(reason, more) {
    super(reason);
    this.more = more || {};
  }
}

function failure(api, error) {
  return { ...(error.more || {}), errMsg: `${api}:fail ${error.message || error}` };
}
