// The card of one bucket: what it does, why, until when, and when it is done.

import { gatesOver, pause, remedy } from '/assets/actions.js';
import { announce, el, fill, say } from '/assets/dom.js';
import { pill } from '/assets/state.js';
import { bucketName, clock, count, forecast, number, relative, span } from '/assets/words.js';

// card makes the card of a bucket. show takes its status and the daemon's scope,
// tick brings what is told by the clock up to date.
export function card(scope) {
  const name = bucketName(scope);
  const [account, channel] = name.split('/');
  const at = { account, channel };
  const title = el('h3', { id: `bucket-${name}` }, name);
  const state = el('span');
  const since = el('p', { class: 'when' });
  const until = el('p', { class: 'until' });
  const reason = el('p', { class: 'reason' });
  const gauge = makeGauge(name);
  const done = el('p', { class: 'forecast' });
  const oldest = el('p', { class: 'minor' });
  const settled = el('ul', { class: 'counts' });
  const actions = el('div', { class: 'buttons' });
  const node = el('article', { class: 'card', 'aria-labelledby': title.id },
    el('div', { class: 'card-head' }, title, state), since, until, reason, gauge.node, done, oldest, settled, actions);
  let shown = {};
  let daemon = '';

  function show(status, daemonScope, now) {
    const before = shown;
    shown = status;
    daemon = daemonScope;
    if (before.state !== status.state) {
      node.dataset.state = status.state;
      fill(state, pill(status.state));
      offer();
    }
    say(reason, why(status));
    reason.hidden = reason.textContent === '';
    fillCounts(settled, status, at);
    tick(now);
  }

  function tick(now) {
    say(since, shown.since_at ? `since ${moment(shown.since_at, now)}` : '');
    say(until, untilText(shown, now));
    until.hidden = until.textContent === '';
    gauge.show(shown, now);
    const moves = shown.state === 'running' || shown.state === 'parked' || shown.state === 'degraded';
    say(done, forecast(moves ? shown : { ...shown, eta_at: null }, now));
    say(oldest, details(shown, now));
  }

  // offer gives the buttons that the state allows.
  function offer() {
    const had = actions.contains(document.activeElement);
    const paused = shown.state === 'paused';
    const sick = shown.state === 'held' || shown.state === 'degraded';
    fill(actions,
      sick && el('button', { click: lift }, 'Probe …'),
      paused ? el('button', { click: lift }, 'Resume …') : el('button', { click: () => pause([scope]) }, 'Pause …'));
    if (had) actions.firstElementChild.focus();
  }

  // lift acts on the gate that is shown, which may be the account's or the daemon's.
  async function lift() {
    try {
      const gates = (await gatesOver(scope, daemon)).filter((g) => g.kind === shown.state);
      const gate = gates.find(remedy);
      if (gate) await remedy(gate)(gate.scope);
      else announce(gates.length > 0 ? 'It opens by its own cure only: Gates says which.' : 'No gate stands now: the reason says what to do.');
    } catch (error) {
      announce(error.message);
    }
  }

  return { node, show, tick };
}

// why is the reason, and the request that tells more.
function why(status) {
  if (!status.reason) return '';
  const told = status.last_request_id && (status.state === 'held' || status.state === 'degraded');
  return status.reason + (told ? `; last request ${status.last_request_id}` : '');
}

const moment = (iso, now) => `${clock(iso, now)} (${relative(iso, now)})`;

// untilText says when it moves again, or who has to see to that. Where it moves,
// the time is that of a message that waits by itself.
function untilText(status, now) {
  if (status.until_at) return `${status.state === 'running' ? 'next try' : 'until'} ${moment(status.until_at, now)}`;
  if (status.state === 'paused') return 'until somebody resumes it';
  return status.state === 'stopped' ? 'until the daemon is started' : '';
}

function details(status, now) {
  return [
    status.oldest_due_at && `oldest due ${relative(status.oldest_due_at, now)}`,
    `${number(status.in_flight)} in flight`,
    `${number(status.sent_last_minute)} sent in the last minute`,
    status.throttled > 0 && `${count(status.throttled, 'answer')} of 429`,
    status.last_error_code && `last error ${status.last_error_code}`,
  ].filter(Boolean).join(' · ');
}

const settledStates = ['sent', 'failed', 'expired', 'canceled', 'unknown'];

function fillCounts(list, status, at) {
  const key = settledStates.map((s) => status[s]).join();
  if (list.dataset.key === key) return; // links keep their focus
  const focused = [...list.querySelectorAll('a')].indexOf(document.activeElement);
  list.dataset.key = key;
  fill(list, settledStates.map((state) => {
    const query = new URLSearchParams({ ...at, state });
    const marked = status[state] > 0 && (state === 'failed' || state === 'unknown');
    return el('li', { class: marked ? 'marked' : null }, el('a', { href: `/messages?${query}` }, `${number(status[state])} ${state}`));
  }));
  if (focused >= 0) list.querySelectorAll('a')[focused].focus();
}

// makeGauge shows what is left of the limit's window.
function makeGauge(name) {
  const fillBar = el('div', { class: 'gauge-fill' });
  const bar = el('div', { class: 'gauge', role: 'meter', 'aria-label': `What is left of the limit of ${name}`, 'aria-valuemin': 0 }, fillBar);
  const text = el('p', { class: 'gauge-text' });

  function show(status, now) {
    const { rate_limit: limit, remaining, window_ms: length, reset_at: reset } = status;
    const known = limit !== null && remaining !== null;
    bar.hidden = !known;
    if (!known) {
      say(text, 'limit not known: the API has not told one');
      return;
    }
    fillBar.style.width = `${(100 * Math.min(1, remaining / Math.max(1, limit))).toFixed(1)}%`;
    const resets = reset && Date.parse(reset) > now ? `, more ${relative(reset, now)}` : '';
    const window = length ? ` per ${span(length)}` : '';
    say(text, `${number(remaining)} left of ${number(limit)}${window}${resets}`);
    for (const [name, value] of [['aria-valuemax', limit], ['aria-valuenow', remaining], ['aria-valuetext', `${remaining} of ${limit}`]]) {
      if (bar.getAttribute(name) !== String(value)) bar.setAttribute(name, value);
    }
  }

  return { node: el('div', {}, bar, text), show };
}
