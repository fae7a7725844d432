// The list of messages. What is asked for stands in the page's address, so that
// it can be kept, sent to somebody and gone back to.

import { canCancel, canRetry, many } from '/assets/actions.js';
import { get, serverNow } from '/assets/api.js';
import { byId, complain, el, fill, say } from '/assets/dom.js';
import { pill } from '/assets/state.js';
import { pageLinks, table, time } from '/assets/table.js';
import { clock, count } from '/assets/words.js';

const limit = 50;
const asked = new URLSearchParams(location.search);

restore(byId('filter'));
byId('filter').addEventListener('submit', async (event) => {
  event.preventDefault();
  const query = new URLSearchParams();
  for (const [name, value] of new FormData(event.target)) if (value.trim()) query.append(name, value.trim());
  const recipient = byId('recipient').value.trim();
  try {
    if (recipient) query.set('recipient_hash', await hash(recipient));
    location.assign(`/messages?${query}`);
  } catch (error) {
    complain(error);
  }
});
show();

// restore puts into the form what has been asked for.
function restore(form) {
  for (const input of form.elements) {
    if (input.type === 'checkbox') input.checked = asked.getAll(input.name).includes(input.value);
    else if (input.name) input.value = asked.get(input.name) ?? '';
  }
  const filters = [...asked.keys()].some((name) => name !== 'find' && name !== 'cursor');
  form.querySelector('details').open = filters;
}

// hash is that of a recipient in the database. The recipient itself stays out of
// addresses, which browsers and proxies keep.
async function hash(recipient) {
  if (!crypto.subtle) throw new Error('browsers hash only over https or on loopback: find it with weir messages list --to');
  const sum = await crypto.subtle.digest('SHA-256', new TextEncoder().encode(recipient));
  return [...new Uint8Array(sum)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

async function show() {
  try {
    const answer = await find();
    const n = answer.messages.length;
    say(byId('count'), n === 0 ? 'No message matches.' : `${count(n, 'message')}, the newest first${answer.has_more ? '; there are more' : ''}`);
    fill(byId('list'), n > 0 && table('Messages', columns(serverNow()), answer.messages));
    fill(byId('pager'), pageLinks(asked, answer));
    fill(byId('all'), n > 0 && offer());
    complain(null);
  } catch (error) {
    complain(error);
  }
}

// offer gives what can be done to all that match, on every page: only where a
// state has been asked for, so that nobody changes more than he sees.
function offer() {
  const states = asked.getAll('state');
  const allowed = (by) => states.length > 0 && !asked.has('find') && states.every((s) => by.includes(s));
  const button = (verb, text) => el('button', { click: () => ask(verb) }, text);
  async function ask(verb) {
    try {
      if (await many(verb, Object.fromEntries(filters()))) await show();
    } catch (error) {
      complain(error);
    }
  }
  return [allowed(canRetry) && button('retry', 'Retry all that match …'), allowed(canCancel) && button('cancel', 'Cancel all that match …')];
}

// filters are those of the page as the API takes them.
function filters() {
  const query = new URLSearchParams(asked);
  query.delete('find');
  query.delete('cursor');
  if (query.has('state')) query.set('state', asked.getAll('state').join(','));
  for (const name of ['since', 'until']) {
    if (query.has(name)) query.set(name, withSeconds(query.get(name)) + 'Z');
  }
  return query;
}

// withSeconds adds what a browser leaves out of a time when it is zero.
const withSeconds = (local) => (local.length === 16 ? local + ':00' : local);

// find takes what was typed for a key and, if no message has it, for a request id.
async function find() {
  const query = filters();
  const text = asked.get('find');
  query.set('limit', limit);
  if (asked.has('cursor')) query.set('cursor', asked.get('cursor'));
  if (!text) return get(`/messages?${query}`);
  const byKey = new URLSearchParams(query);
  byKey.set('idempotency_key', text);
  const answer = await get(`/messages?${byKey}`);
  if (answer.messages.length > 0) return answer;
  query.set('request_id', text);
  return get(`/messages?${query}`);
}

const columns = (now) => [
  ['Key', (m) => el('a', { href: `/messages/${m.id}`, class: 'key' }, m.idempotency_key)],
  ['State', (m) => pill(m.state)],
  ['Bucket', (m) => `${m.account}/${m.channel}`],
  ['Lane', (m) => m.lane],
  ['Accepted', (m) => time(m.created_at, clock(m.created_at, now))],
  ['Settled or due', (m) => (m.settled_at ? time(m.settled_at, clock(m.settled_at, now)) : time(m.due_at, `due ${clock(m.due_at, now)}`))],
  ['Attempts', (m) => String(m.attempts)],
  ['Answer', (m) => [m.http_status && `HTTP ${m.http_status}`, m.error_code].filter(Boolean).join(' ') || null],
  ['Request id', (m) => m.request_id && el('code', {}, m.request_id)],
];
