// All gates, with what each means and what to do about it.

import { pause, remedy, resume } from '/assets/actions.js';
import { get, serverNow } from '/assets/api.js';
import { byId, complain, copyable, el, fill } from '/assets/dom.js';
import { pill } from '/assets/state.js';
import { table, time } from '/assets/table.js';
import { bucketName, clock, relative } from '/assets/words.js';

// cures say what to do, by the kind of the gate and who has set it.
const cures = {
  'parked limit': 'Nothing: it opens by itself.',
  'degraded failures': 'Look at the API and the network. weir probes by itself.',
  'held 401': 'Put the right key into the key file; it is noticed within a second.',
  'held 402': 'Top up the balance, then probe, or wait for the next probe.',
  'held not_api': 'Check WEIR_API_URL and what stands between weir and the API.',
  'held disk': 'Make space for the data directory; it opens by itself.',
  'held clock': 'Set the clock. If it is right and the earlier one was wrong, resume: then what may have been sent is unknown.',
  'degraded clock': 'Look at the time synchronisation. Nothing is held back.',
  'degraded queue': 'Start NATS again. What is at hand is sent.',
  'degraded nats': 'Make space for the data directory; NATS is restarted by itself. Nothing is held back.',
  'degraded wal': 'Find who reads weir.db without an end, and end that. Nothing is held back.',
  'paused operator': 'Somebody paused it. Resume it when the cause has gone.',
};

byId('pause').addEventListener('click', async () => {
  try {
    const { daemon, buckets } = await get('/status');
    const accounts = new Set(buckets.map((b) => `account:${bucketName(b.scope).split('/')[0]}`));
    if (await pause(['all', daemon.scope, ...accounts, ...buckets.map((b) => b.scope)])) await show();
  } catch (error) {
    complain(error);
  }
});
show();
setInterval(() => {
  if (!document.hidden && !document.querySelector('dialog')) show();
}, 5000);

let before = '';

async function show() {
  try {
    const { gates } = await get('/gates');
    complain(null);
    const now = serverNow();
    for (const node of document.querySelectorAll('[data-until]')) node.textContent = untilText(node.dataset.until, now);
    if (JSON.stringify(gates) === before) return; // what has the focus keeps it
    before = JSON.stringify(gates);
    fill(byId('list'), gates.length === 0
      ? el('p', { class: 'empty' }, 'No gate stands: everything that is due is being sent.')
      : table('Gates', columns(now), gates));
  } catch (error) {
    complain(error);
  }
}

const untilText = (iso, now) => `${clock(iso, now)} (${relative(iso, now)})`;

// whatEnds says what must happen to a gate that no time ends.
const whatEnds = (gate) => (gate.kind === 'paused' ? 'somebody resumes it' : 'its cause has gone');

const columns = (now) => [
  ['Scope', (g) => bucketName(g.scope)],
  ['Gate', (g) => pill(g.kind)],
  ['Set by', (g) => g.set_by],
  ['Since', (g) => time(g.since_at, clock(g.since_at, now))],
  ['Until', (g) => (g.until_at ? el('span', { 'data-until': g.until_at }, untilText(g.until_at, now)) : whatEnds(g))],
  ['Reason', (g) => [el('p', {}, g.reason), el('p', { class: 'minor' }, cures[`${g.kind} ${g.set_by}`])]],
  ['Request id', (g) => g.request_id && copyable(g.request_id, 'request id')],
  ['Action', action],
];

function action(g) {
  const act = remedy(g);
  return act && el('button', { click: async () => {
    try {
      if (await act(g.scope)) await show();
    } catch (error) {
      complain(error);
    }
  } }, act === resume ? 'Resume …' : 'Probe …');
}
