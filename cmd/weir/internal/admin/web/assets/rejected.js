// Payloads that could not become messages. They may hold people's data, so each
// is shown only when asked for.

import { get, post, serverNow } from '/assets/api.js';
import { confirm } from '/assets/confirm.js';
import { byId, complain, el, fill } from '/assets/dom.js';
import { pageLinks, table, time } from '/assets/table.js';
import { clock, number } from '/assets/words.js';

const asked = new URLSearchParams(location.search);

show();

async function show() {
  try {
    const query = new URLSearchParams({ limit: 50 });
    if (asked.has('cursor')) query.set('cursor', asked.get('cursor'));
    const answer = await get(`/rejected?${query}`);
    fill(byId('list'), answer.rejected.length === 0
      ? el('p', { class: 'empty' }, 'Nothing was rejected.')
      : table('Rejected payloads', columns(serverNow()), answer.rejected));
    fill(byId('pager'), pageLinks(asked, answer));
    complain(null);
  } catch (error) {
    complain(error);
  }
}

const columns = (now) => [
  ['Received', (r) => time(r.received_at, clock(r.received_at, now))],
  ['Reason', (r) => r.reason],
  ['Size', (r) => `${number(r.size)} bytes`],
  ['Payload', payload],
  ['Action', (r) => el('button', { click: async () => (await requeue(r)) && show() }, 'Requeue …')],
];

function payload(r) {
  const place = el('div', {}, el('button', { class: 'quiet', click: reveal }, 'Show'));
  async function reveal() {
    try {
      fill(place, el('pre', { tabindex: 0, 'aria-label': 'Payload' }, (await get(`/rejected/${r.id}/payload`)).payload));
    } catch (error) {
      complain(error);
    }
  }
  return place;
}

function requeue(r) {
  return confirm({
    title: 'Judge this payload again?',
    text: `It was rejected: ${r.reason}. If the cause has gone, it becomes a message now.`,
    verb: 'Requeue',
    act: async () => {
      const { result } = await post(`/rejected/${r.id}/requeue`);
      return `The payload is ${(result ?? 'requeued').replace('_', ' ')}`;
    },
  });
}
