// What a person can do to gates and messages, each behind its question. All
// resolve to whether it was done.

import { get, post, serverNow } from '/assets/api.js';
import { confirm } from '/assets/confirm.js';
import { el } from '/assets/dom.js';
import { count, number } from '/assets/words.js';

const option = (value, text = value) => el('option', { value }, text);

const spans = [['', 'until somebody resumes it'], [15, 'for 15 minutes'], [60, 'for 1 hour'], [240, 'for 4 hours'], [1440, 'for 1 day']];

// pause asks for one of the scopes, how long and why.
export function pause(scopes) {
  const one = scopes.length === 1;
  return confirm({
    title: one ? `Pause ${scopes[0]}?` : 'Pause',
    text: 'Nothing is sent until it is resumed. Messages go on being accepted and wait; requests under way finish.',
    fields: [
      !one && { name: 'scope', label: 'What', input: el('select', {}, scopes.map((s) => option(s))) },
      { name: 'minutes', label: 'How long', input: el('select', {}, spans.map(([value, text]) => option(value, text))) },
      { name: 'reason', label: 'Why', hint: 'Others see this. It may stay empty.', input: el('input', { maxlength: 200, autocomplete: 'off' }) },
    ].filter(Boolean),
    verb: 'Pause',
    act: async ({ scope = scopes[0], minutes, reason }) => {
      const body = { scope };
      if (reason) body.reason = reason;
      if (minutes) body.until = new Date(serverNow() + minutes * 60_000).toISOString();
      await post('/gates/pause', body);
      return `${scope} is paused`;
    },
  });
}

// resume ends what stands on the very scope: a pause, and the hold of a clock.
export async function resume(scope) {
  const { gates } = await get('/gates');
  const held = gates.some((g) => g.scope === scope && g.kind === 'held' && g.set_by === 'clock');
  const clock = held ? ' You say that the clock is right now: what may have been sent becomes unknown, for nobody knows how old its key is.' : '';
  return confirm({
    title: `Resume ${scope}?`,
    text: `Sending begins again, gently: 1, 2, 4, … requests at a time. Any other gate stays.${clock}`,
    verb: 'Resume',
    act: async () => {
      const { changed } = await post('/gates/resume', { scope });
      return changed > 0 ? `${scope} is resumed` : `${scope} was not paused`;
    },
  });
}

// probe tries now whether a hold is cured.
export function probe(scope) {
  return confirm({
    title: `Probe ${scope} now?`,
    text: 'One message is sent to see whether the cause has gone. If it has, sending begins again, gently.',
    verb: 'Probe now',
    act: async () => {
      const { changed } = await post('/gates/probe', { scope });
      return changed > 0 ? `${scope} is probed now` : `${scope} is neither held nor degraded by what a probe can cure`;
    },
  });
}

// remedy is what a person can do about a gate; null where only its own cure
// helps: a probe says nothing about this machine or NATS.
export function remedy(gate) {
  if (gate.kind === 'paused' || (gate.kind === 'held' && gate.set_by === 'clock')) return resume;
  return gate.kind === 'parked' || ['clock', 'disk', 'nats', 'wal', 'queue'].includes(gate.set_by) ? null : probe;
}

// gatesOver are the gates that hold a bucket: its own, its account's and the daemon's.
export async function gatesOver(bucket, daemon) {
  const account = bucket.replace(/^bucket:/, 'account:').split('/')[0];
  const { gates } = await get('/gates');
  return gates.filter((g) => [bucket, account, daemon].includes(g.scope));
}

const deadlines = [['', 'as it was'], ['1h', '1 hour from now'], ['24h', '1 day from now'], ['168h', '1 week from now']];

const newDeadline = () => ({
  name: 'ttl', label: 'Deadline', hint: 'One that has passed needs a new one.',
  input: el('select', {}, deadlines.map(([value, text]) => option(value, text))),
});

// canRetry, canCancel and canResolve are the states that allow it.
export const canRetry = ['failed', 'expired', 'canceled'];
export const canCancel = ['pending', 'retrying'];
export const canResolve = ['unknown'];

// retry makes a message that was surely not sent pending again.
export function retry(message) {
  return confirm({
    title: 'Send this message again?',
    text: `${message.idempotency_key} is ${message.state}: it was not sent. The same body goes out again under the same key.`,
    fields: [newDeadline()],
    verb: 'Retry',
    act: ({ ttl }) => change(message, 'retry', ttl ? { ttl } : {}),
  });
}

// cancel withdraws a message that waits.
export function cancel(message) {
  const doubt = message.ambiguous_at !== null;
  return confirm({
    title: 'Cancel this message?',
    text: `${message.idempotency_key} is withdrawn and not sent.` +
      (doubt ? ' An attempt may have been sent already, so it becomes unknown.' : ''),
    verb: 'Cancel the message',
    act: () => change(message, 'cancel'),
  });
}

// resolve says what a person has found out about an unknown message.
export function resolve(message) {
  return confirm({
    title: 'What became of this message?',
    text: 'weir cannot know whether it was sent. Look for its key or request ids at the API, then say what you found.',
    fields: [
      { name: 'outcome', label: 'Outcome', input: el('select', {},
        option('sent', 'It was sent'),
        option('not_sent', 'It was surely not sent: it becomes failed'),
        option('may_duplicate', 'Send it again, at the risk of sending it twice')) },
      { name: 'message_id', label: 'Message id of the API', hint: 'Only if it was sent, and if you know it.', input: el('input', { autocomplete: 'off', spellcheck: 'false' }) },
    ],
    verb: 'Resolve',
    act: ({ outcome, message_id }) => change(message, 'resolve', message_id ? { outcome, message_id } : { outcome }),
  });
}

// many puts one question for all messages that a filter selects, with their
// number. verb is retry or cancel.
export async function many(verb, filter) {
  const { matched, skipped, before } = await post(`/messages/${verb}`, { filter, dry_run: true });
  const except = skipped > 0 ? ` ${number(skipped)} of them cannot be changed as they are, and stay.` : '';
  return confirm({
    title: `${verb === 'retry' ? 'Send again' : 'Cancel'} ${count(matched, 'message')}?`,
    text: (verb === 'retry' ? 'None of them was sent. Each goes out again with the same body under the same key.'
      : 'They are withdrawn and not sent; one that may have been sent already becomes unknown.') + except,
    fields: verb === 'retry' ? [newDeadline()] : [],
    verb: verb === 'retry' ? 'Retry them all' : 'Cancel them all',
    act: async ({ ttl }) => {
      const sum = await post(`/messages/${verb}`, ttl ? { filter, before, ttl } : { filter, before });
      return `${count(sum.changed, 'message')} changed, ${number(sum.skipped)} left as they were`;
    },
  });
}

async function change(message, verb, body) {
  const answer = await post(`/messages/${message.id}/${verb}`, body);
  return `${message.idempotency_key} is ${answer.message.state}`;
}
