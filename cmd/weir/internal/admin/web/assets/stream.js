// The stream of the status: server-sent events, and what it means when they end.

import { get } from '/assets/api.js';

// silence is how long the stream may say nothing: the heartbeat in the status
// changes every 5 s, so a longer silence is a connection that has died.
const silence = 20_000;
const pause = 1000;

// follow calls onStatus with each status, and onCut with the time of the last
// one while weir cannot be reached. A page that nobody sees has no stream: a
// browser allows six connections to one server, and each tab would take one.
export function follow(onStatus, onCut) {
  let source = null;
  let timer = 0;
  let heard = Date.now();

  function hear(status) {
    heard = Date.now();
    onStatus(status);
  }

  function close() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function open() {
    close();
    heard = Date.now();
    source = new EventSource('/api/v1/status/stream');
    source.addEventListener('status', (event) => hear(JSON.parse(event.data)));
    source.addEventListener('error', () => ask(pause));
  }

  // ask asks for the status by a plain call, which tells what a stream does
  // not: why there is none, and the server's clock. Where streams are refused,
  // the page lives on such calls.
  async function ask(wait) {
    close();
    try {
      hear(await get('/status'));
      then(open, wait);
    } catch {
      onCut(heard);
      then(() => ask(0), pause);
    }
  }

  function then(next, wait) {
    clearTimeout(timer);
    if (!document.hidden) timer = setTimeout(next, wait);
  }

  setInterval(() => {
    if (source && Date.now() - heard > silence) ask(pause);
  }, pause);
  document.addEventListener('visibilitychange', () => (document.hidden ? close() : ask(0)));
  ask(0);
}
