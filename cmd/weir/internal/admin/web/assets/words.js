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

// waiting is how many messages could be sent now, if nothing held them back.
export const waiting = (status) => Math.max(0, status.pending + status.retrying - status.scheduled);

// forecast tells what waits, how fast it goes and when it will be done. The
// rate is the one that weir's own estimate rests on.
export function forecast(status, now) {
  const n = waiting(status);
  if (n === 0) return 'nothing waiting';
  const text = `${number(n)} waiting`;
  if (!status.eta_at) return text;
  const left = Date.parse(status.eta_at) - now;
  if (left < 1000) return `${text}, done in a moment`;
  const rate = Number((n / (left / 60_000)).toPrecision(2));
  return `${text}, ${number(rate)} a minute, done about ${clock(status.eta_at, now, left < 120_000)}`;
}
