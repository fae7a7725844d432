// The stream of the status: server-sent events, and what it means when they end.

import { get } from '/assets/api.js';

// silence is how long the stream may say nothing: the heartbeat in the status
// changes every 5 s, so a longer silence is a connection that has died.
const silence = 20_000;

// follow calls onStatus with each status, and onCut with the time of the last
// one whenever the stream is found to be cut. A page that nobody sees has no
// stream: a browser allows six connections to one server, and each tab would
// take one.
export function follow(onStatus, onCut) {
  let source = null;
  let heard = Date.now();
  let again = 0;

  function open() {
    close();
    heard = Date.now();
    source = new EventSource('/api/v1/status/stream');
    source.addEventListener('status', (event) => {
      heard = Date.now();
      onStatus(JSON.parse(event.data));
    });
    source.addEventListener('error', cut);
  }

  function close() {
    clearTimeout(again);
    source?.close();
    source = null;
  }

  // cut tries again by a plain request first: only that tells why.
  function cut() {
    close();
    onCut(heard);
    again = setTimeout(async () => {
      try {
        await get('/status');
        open();
      } catch {
        cut();
      }
    }, 1000);
  }

  setInterval(() => {
    if (source && Date.now() - heard > silence) cut();
  }, 1000);
  document.addEventListener('visibilitychange', () => (document.hidden ? close() : open()));
  get('/status').catch(() => {}); // learns the server's clock
  open();
}
