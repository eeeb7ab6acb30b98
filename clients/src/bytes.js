// How long things are on the wire.
'use strict';

/** The bytes of a text in UTF-8, without an encoder: mini programs have none. */
function utf8Length(text) {
  let bytes = 0;
  for (let at = 0; at < text.length; at += 1) {
    const unit = text.charCodeAt(at);
    if (unit < 0x80) bytes += 1;
    else if (unit < 0x800) bytes += 2;
    else if (unit >= 0xd800 && unit < 0xdc00 && isLow(text.charCodeAt(at + 1))) {
      bytes += 4;
      at += 1;
    } else bytes += 3;
  }
  return bytes;
}

const isLow = (unit) => unit >= 0xdc00 && unit < 0xe000;

/** The bytes of what is handed to wx.request or comes from it. */
function sizeOf(data) {
  if (data === undefined || data === null) return 0;
  if (typeof data === 'string') return utf8Length(data);
  if (data instanceof ArrayBuffer || ArrayBuffer.isView(data)) return data.byteLength;
  return utf8Length(JSON.stringify(data) || '');
}

module.exports = { utf8Length, sizeOf };
