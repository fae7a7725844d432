// The overview: the daemon, a card for each bucket, and the live charts.

import { serverNow } from '/assets/api.js';
import { card } from '/assets/card.js';
import { chart } from '/assets/chart.js';
import { announce, byId, el, fill, say } from '/assets/dom.js';
import { pill } from '/assets/state.js';
import { follow } from '/assets/stream.js';
import { bucketName, clock, relative, waiting } from '/assets/words.js';

const cards = new Map();
const charts = {
  sent: chart('Sent a second'), waiting: chart('Waiting'),
  throttled: chart('Answers of 429 a minute'), inFlight: chart('In flight'),
};
let last = null; // the last status, and when it came
let cutSince = null;

fill(byId('charts'), Object.values(charts).map((c) => c.figure));
follow(onStatus, onCut);
setInterval(tick, 1000);

function onStatus(status) {
  const now = serverNow();
  cutSince = null;
  showDaemon(status.daemon, now);
  showBuckets(status, now);
  plot(status.daemon, now);
  tellChanges(status);
  last = { status, at: now };
  warn(now);
}

function onCut(heard) {
  cutSince ??= heard + serverNow() - Date.now();
  document.body.classList.add('cut');
  warn(serverNow());
}

function tick() {
  const now = serverNow();
  if (last && !cutSince) {
    showDaemon(last.status.daemon, now);
    for (const c of cards.values()) c.tick(now);
    for (const c of Object.values(charts)) c.paint(now);
  }
  warn(now);
}

// warn says loudly what makes the page, or all of weir, stand still.
function warn(now) {
  const alarm = byId('alarm');
  const daemon = last?.status.daemon;
  let text = '';
  if (cutSince) {
    text = `No connection to weir since ${clock(cutSince, now)}. What stands here is from then. Trying again every second; is weir serve running?`;
  } else if (daemon && daemon.state !== 'running') {
    text = `The daemon is ${daemon.state}${daemon.reason ? ': ' + daemon.reason : ''}`;
  }
  document.body.classList.toggle('cut', cutSince !== null);
  alarm.className = cutSince || daemon?.state === 'held' || daemon?.state === 'stopped' ? 'alarm' : 'alarm mild';
  alarm.hidden = text === '';
  say(alarm, text);
}

let shownState = '';

function showDaemon(daemon, now) {
  const line = byId('daemon');
  if (shownState !== daemon.state) {
    shownState = daemon.state;
    fill(line, pill(daemon.state), el('span'));
  }
  const since = daemon.since_at ? `since ${clock(daemon.since_at, now)} (${relative(daemon.since_at, now)})` : '';
  say(line.lastChild, ` ${daemon.scope.replace(':', ' ')}, ${since}`);
}

function showBuckets({ daemon, buckets }, now) {
  const list = byId('buckets');
  const same = buckets.length === cards.size && buckets.every((b) => cards.has(b.scope));
  if (!same || buckets.length === 0) {
    for (const b of buckets) if (!cards.has(b.scope)) cards.set(b.scope, card(b.scope));
    for (const scope of cards.keys()) if (!buckets.some((b) => b.scope === scope)) cards.delete(scope);
    fill(list, buckets.length === 0
      ? el('p', { class: 'empty' }, 'No messages yet. A bucket appears with its first message.')
      : buckets.map((b) => cards.get(b.scope).node));
  }
  for (const b of buckets) cards.get(b.scope).show(b, daemon.scope, now);
}

// plot turns counts that only grow into rates; retention may lower them.
function plot(daemon, now) {
  const before = last?.status.daemon;
  if (before && now > last.at) {
    const seconds = (now - last.at) / 1000;
    const rate = (name) => Math.max(0, daemon[name] - before[name]) / seconds;
    charts.sent.add(now, Math.round(rate('sent')));
    charts.throttled.add(now, Math.round(60 * rate('throttled')));
  }
  charts.waiting.add(now, waiting(daemon));
  charts.inFlight.add(now, daemon.in_flight);
  for (const c of Object.values(charts)) c.paint(now);
}

// tellChanges tells a screen reader what needs a person, and when that is over.
// A limit that parks a bucket every few seconds is no news.
function tellChanges({ buckets }) {
  if (!last) return;
  const calm = (state) => state === 'running' || state === 'parked';
  for (const b of buckets) {
    const before = last.status.buckets.find((old) => old.scope === b.scope)?.state ?? 'running';
    if (before !== b.state && !(calm(before) && calm(b.state))) announce(`${bucketName(b.scope)} is ${b.state}`);
  }
}
