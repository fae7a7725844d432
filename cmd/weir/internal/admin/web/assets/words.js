// How figures and times are put into words. Pure functions.

const figures = new Intl.NumberFormat('en-GB');

export const number = (n) => figures.format(n);

// count is a number with its noun.
export const count = (n, one, many = one + 's') => `${number(n)} ${n === 1 ? one : many}`;

// span is a length of time in ms by its two largest units.
export function span(ms) {
  if (ms < 10_000 && ms % 1000 !== 0) return `${Math.max(ms / 1000, 0.1).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return pair(seconds, 60, 'min', 's');
  if (seconds < 86_400) return pair(Math.round(seconds / 60), 60, 'h', 'min');
  return pair(Math.round(seconds / 3600), 24, 'd', 'h');
}

function pair(total, size, large, small) {
  const rest = total % size;
  return `${number(Math.floor(total / size))} ${large}` + (rest ? ` ${rest} ${small}` : '');
}

// relative says how far a time is from now, in whole seconds.
export function relative(iso, now) {
  const ms = Math.round((Date.parse(iso) - now) / 1000) * 1000;
  if (ms === 0) return 'now';
  return ms > 0 ? `in ${span(ms)}` : `${span(-ms)} ago`;
}

// clock is a time of day in UTC, with the date if it is not today's.
export function clock(iso, now, exact = true) {
  const text = new Date(iso).toISOString();
  const day = text.slice(0, 10) === new Date(now).toISOString().slice(0, 10) ? '' : text.slice(0, 10) + ' ';
  return `${day}${text.slice(11, exact ? 19 : 16)} UTC`;
}

// bucketName is a scope without the word for its kind.
export const bucketName = (scope) => scope.replace(/^bucket:/, '');

// waiting is how many messages are still to be sent, now or later.
export const waiting = (status) => status.pending + status.retrying;

// forecast tells what waits, how fast it goes and when it will be through, in
// the words of weir status.
export function forecast(status, now) {
  const n = waiting(status);
  if (n === 0) return 'nothing waiting';
  const kinds = ['scheduled', 'retrying'].filter((kind) => status[kind] > 0).map((kind) => `${number(status[kind])} ${kind}`);
  return `${number(n)} waiting` + (kinds.length > 0 ? ` (${kinds.join(', ')})` : '') + expectation(status, now);
}

// expectation is empty while nobody can tell. The end was reckoned, at the last
// heartbeat, from the rate, unless a park decides about it.
function expectation(status, now) {
  if (!status.eta_at || !status.heartbeat_at) return '';
  const end = Date.parse(status.eta_at);
  const minutes = (end - Date.parse(status.heartbeat_at)) / 60_000;
  const rate = minutes > 0 && !awaitsPark(status) ? `, ${rateText((waiting(status) - status.scheduled) / minutes)}` : '';
  return `${rate}, done about ${clock(status.eta_at, now, end - now < 300_000)}`;
}

// awaitsPark tells whether all is sent by when a park ends, or it lasts for longer
// than a window, whose end is rounded to a second.
function awaitsPark({ state, until_at: until, eta_at: end, window_ms: window, heartbeat_at: reported }) {
  return state === 'parked' && until !== null && (until === end || Date.parse(until) - Date.parse(reported) > window + 1000);
}

// rateText rounds to two digits: it is a forecast.
function rateText(perMinute) {
  if (perMinute < 1) return 'less than 1 a minute';
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(perMinute)) - 1);
  return `${number(Math.round(perMinute / unit) * unit)} a minute`;
}
