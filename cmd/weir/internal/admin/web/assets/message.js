// One message: its story, attempt by attempt, and what can be done to it.

import { canCancel, canResolve, canRetry, cancel, resolve, retry } from '/assets/actions.js';
import { get, getText, serverNow } from '/assets/api.js';
import { byId, complain, copyable, el, fill } from '/assets/dom.js';
import { pill } from '/assets/state.js';
import { time } from '/assets/table.js';
import { clock, number, relative } from '/assets/words.js';

const path = location.pathname; // /messages/{id}, as in the API
const verdicts = {
  sent: 'accepted by the API', refused: 'refused by the API', retry: 'failed; it can be repeated',
  ambiguous: 'it may have been sent', throttled: 'refused: over the limit', unauthorized: 'the API key was refused',
  unpaid: 'the balance was too low', not_api: 'something other than the API answered', never_left: 'never left this machine',
  in_progress: 'the API was still working on an earlier one', lost: 'cut off by the end of the daemon; it may have been sent',
};

show();

async function show() {
  try {
    const message = await get(path);
    document.title = `${message.idempotency_key} · weir`;
    fill(byId('message'), head(message), actions(message), facts(message), story(message), body());
    complain(null);
  } catch (error) {
    complain(error);
  }
}

function head(m) {
  return el('div', { class: 'heading' }, el('h1', { class: 'key' }, m.idempotency_key), pill(m.state), m.error_message && el('p', { class: 'reason' }, m.error_message));
}

function actions(m) {
  const act = (states, text, action) => states.includes(m.state) &&
    el('button', { click: async () => (await action(m)) && show() }, text);
  return el('div', { class: 'buttons' },
    act(canRetry, 'Retry …', retry), act(canCancel, 'Cancel …', cancel), act(canResolve, 'Resolve …', resolve),
    el('button', { click: show }, 'Refresh'));
}

function facts(m) {
  const fact = (name, value) => value !== null && value !== undefined && el('div', {}, el('dt', {}, name), el('dd', {}, value));
  return el('dl', { class: 'facts' },
    fact('Bucket', `${m.account}/${m.channel}`), fact('Lane', m.lane),
    fact('Requests', requests(m)),
    fact('Message id', m.message_id && copyable(m.message_id, 'message id')),
    fact('Request id', m.request_id && copyable(m.request_id, 'request id')),
    fact('Answer', [m.http_status && `HTTP ${m.http_status}`, m.error_code].filter(Boolean).join(' ') || null),
    fact('Like it', m.error_code && el('a', { href: `/messages?${new URLSearchParams({ state: m.state, error_code: m.error_code })}` }, `all ${m.state} with ${m.error_code}`)),
    fact('Deadline', m.expires_at && moment(m.expires_at)),
    fact('Recipient hash', m.recipient_hash && copyable(m.recipient_hash, 'recipient hash')),
    fact('Trace', m.traceparent && copyable(m.traceparent, 'trace')),
    fact('Number', String(m.id)));
}

function requests(m) {
  const n = m.timeline.reduce((sum, a) => sum + a.requests, 0);
  return number(n) + (m.throttles > 0 ? `, ${number(m.throttles)} of them over the limit` : '');
}

// story is all that happened and that is known to come, in the order of time.
function story(m) {
  const events = [[m.created_at, el('p', {}, 'accepted')], ...m.timeline.map((a) => [a.started_at, attempt(a)])];
  if (m.settled_at) {
    events.push([m.settled_at, el('p', {}, pill(m.state))]);
  } else {
    if (m.state !== 'sending') events.push([m.due_at, el('p', {}, 'due')]);
    if (m.expires_at) events.push([m.expires_at, el('p', {}, 'deadline')]);
  }
  events.sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0));
  return el('section', { 'aria-labelledby': 'story' }, el('h2', { id: 'story' }, 'What happened'),
    el('ol', { class: 'story' }, events.map(([at, what]) => el('li', {}, moment(at), el('div', {}, what)))));
}

function moment(iso) {
  const now = serverNow();
  return time(iso, `${clock(iso, now).replace(' UTC', iso.slice(19, 23) + ' UTC')} (${relative(iso, now)})`);
}

function attempt(a) {
  const which = a.requests > 1 ? `Attempts ${a.number} to ${a.number + a.requests - 1}, the last of them` : `Attempt ${a.number}`;
  const answer = [a.http_status && `HTTP ${a.http_status}`, a.error_code, a.duration_ms !== null && `${number(a.duration_ms)} ms`].filter(Boolean).join(', ');
  return [
    el('p', {}, el('strong', {}, `${which}: ${a.verdict}`), `, ${verdicts[a.verdict] ?? ''}`),
    el('p', { class: 'minor' }, answer),
    a.error_message && el('p', { class: 'reason' }, a.error_message),
    a.rate_limit !== null && el('p', { class: 'minor' }, limitText(a)),
    a.request_id && el('p', {}, 'Request ', copyable(a.request_id, 'request id')),
  ];
}

function limitText(a) {
  const left = a.remaining === null ? '' : `, ${number(a.remaining)} left`;
  const reset = a.reset_at === null ? '' : `, reset ${clock(a.reset_at, serverNow())}`;
  return `Limit ${number(a.rate_limit)}${left}${reset}`;
}

// body is hidden until asked for: it says who receives what.
function body() {
  const place = el('div', {}, el('button', { click: reveal }, 'Show body and recipient'));
  async function reveal() {
    try {
      const text = (await getText(`${path}/body`)).trim().replace(/^\{\s*"body"\s*:\s*/, '').replace(/\s*\}$/, '');
      const to = JSON.parse(text)?.to;
      const shown = el('pre', { tabindex: 0, 'aria-label': 'Body' }, text);
      fill(place, typeof to === 'string' && el('p', {}, 'Recipient ', copyable(to, 'recipient')), shown,
        el('button', { click: () => place.replaceWith(body().lastChild) }, 'Hide again'));
      shown.focus();
    } catch (error) {
      complain(error);
    }
  }
  return el('section', { 'aria-labelledby': 'body' }, el('h2', { id: 'body' }, 'Body'), place);
}
