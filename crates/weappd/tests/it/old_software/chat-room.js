// The chat room of the Wafer demos, in memory: who sits at which tunnel, and what to tell
// everybody. The SDK's own `broadcast` and `closeTunnel` are handed in.
'use strict';

module.exports = function chatRoom({ broadcast, closeTunnel }) {
  const known = new Map(); // tunnelId -> userInfo, from the moment the tunnel was asked for
  const here = new Set(); // tunnelIds that are connected

  async function tell(type, content) {
    try {
      const answer = await broadcast([...here], type, content);
      const gone = (answer && answer.data && answer.data.invalidTunnelIds) || [];
      for (const tunnelId of gone) leave(tunnelId);
    } catch (error) {
      console.error(`broadcast ${type}: ${error.message}`);
    }
  }

  function leave(tunnelId) {
    const who = known.get(tunnelId);
    known.delete(tunnelId);
    if (!here.delete(tunnelId)) return;
    console.log(`leave ${who && who.nickName}`);
    tell('people', { total: here.size, leave: who });
  }

  return {
    asked(tunnelId, userInfo) {
      known.set(tunnelId, userInfo);
    },
    connect(tunnelId) {
      const who = known.get(tunnelId);
      if (!who) return closeTunnel(tunnelId).catch(() => {});
      here.add(tunnelId);
      console.log(`connect ${who.nickName}`);
      return tell('people', { total: here.size, enter: who });
    },
    message(tunnelId, type, content) {
      console.log(`message ${type}`);
      const who = known.get(tunnelId);
      if (!who) return closeTunnel(tunnelId).catch(() => {});
      if (type === 'speak') return tell('speak', { who, word: content.word });
      // So that a test can be thrown out: the server closes the speaker's tunnel.
      if (type === 'kick_me') return closeTunnel(tunnelId).catch((e) => console.error(e.message));
      return undefined;
    },
    leave,
  };
};
