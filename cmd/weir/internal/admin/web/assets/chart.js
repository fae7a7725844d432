// A chart of one figure over what has been seen of the last five minutes:
// small, by hand, one line.

import { draw, el, say } from '/assets/dom.js';
import { number, span } from '/assets/words.js';

const width = 300;
const height = 64;
const longest = 300_000;
const shortest = 60_000;

// chart makes the figure. add takes a point, paint draws up to now.
export function chart(title) {
  const line = draw('path', { class: 'line' });
  const area = draw('path', { class: 'area' });
  const picture = draw('svg', { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': title }, area, line);
  const latest = el('strong', {}, '–');
  const start = el('span');
  const top = el('div', { class: 'top', 'aria-hidden': 'true' }, '0');
  const figure = el('figure', { class: 'chart' },
    el('figcaption', {}, title, latest),
    top, picture, el('div', { class: 'axis', 'aria-hidden': 'true' }, start, el('span', {}, 'now')));
  let points = [];

  function add(at, value) {
    points.push([at, value]);
    // One point before the range stays, so that the line enters from the edge.
    while (points.length > 1 && points[1][0] < at - longest) points.shift();
  }

  function paint(now) {
    if (points.length === 0) return;
    const range = Math.min(longest, Math.max(shortest, now - points[0][0]));
    const most = ceiling(Math.max(...points.map((p) => p[1])));
    const x = (at) => Math.max(0, width - ((now - at) / range) * width).toFixed(1);
    const y = (value) => (height - 1 - (value / most) * (height - 3)).toFixed(1);
    const value = points.at(-1)[1];
    // What has been said last holds until something else is said.
    const steps = points.map(([at, v]) => `${x(at)} ${y(v)}`).concat(`${width} ${y(value)}`);
    const path = `M${steps.join('L')}`;
    line.setAttribute('d', path);
    area.setAttribute('d', `${path}V${height}H${x(points[0][0])}Z`);
    say(latest, number(value));
    say(start, `${span(1000 * Math.round(range / 1000))} ago`);
    say(top, number(most));
    const label = `${title}: now ${number(value)}, of at most ${number(most)}`;
    if (picture.getAttribute('aria-label') !== label) picture.setAttribute('aria-label', label);
  }

  return { figure, add, paint };
}

// ceiling is the least round number that is not below n.
function ceiling(n) {
  if (n <= 5) return 5;
  const power = 10 ** Math.floor(Math.log10(n));
  return [1, 2, 5, 10].map((m) => m * power).find((top) => top >= n);
}
