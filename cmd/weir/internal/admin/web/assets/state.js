// How a state looks: a shape, a word and a colour, so that no one of them is
// needed to tell it.

import { draw, el } from '/assets/dom.js';

const circle = 'M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13z';
const shapes = {
  running: 'M4 2.5v11l9-5.5z',
  parked: circle + 'M7.2 4v4.5l3.2 2l.8-1.3l-2.4-1.5v-3.7z',
  degraded: 'M8 1l7.5 13.5h-15zM7.2 6v4.5h1.6v-4.5zM7.2 11.5v1.6h1.6v-1.6z',
  held: circle + 'M4 7v2h8v-2z',
  paused: 'M3.5 2.5h3.2v11h-3.2zM9.3 2.5h3.2v11h-3.2z',
  stopped: 'M3 3h10v10h-10z',
  sent: 'M6.3 13.2l-4.6-4.6l1.6-1.6l3 3l6.8-6.8l1.6 1.6z',
  failed: 'M3.4 1.9l4.6 4.6l4.6-4.6l1.5 1.5l-4.6 4.6l4.6 4.6l-1.5 1.5l-4.6-4.6l-4.6 4.6l-1.5-1.5l4.6-4.6l-4.6-4.6z',
  unknown: 'M7 11.8h2v2.2h-2zM4 5.5a4 4 0 1 1 5.4 3.7v1.3h-2.4v-2.5c1.6 0 2.7-1.1 2.7-2.5a1.7 1.7 0 0 0-3.4 0z',
};
Object.assign(shapes, {
  pending: shapes.parked, retrying: shapes.degraded, sending: shapes.running,
  expired: shapes.parked, canceled: shapes.stopped,
});

// pill shows a state; a new one is made when it changes.
export function pill(state) {
  const icon = draw('svg', { viewBox: '0 0 16 16', 'aria-hidden': 'true' },
    draw('path', { d: shapes[state] ?? circle, 'fill-rule': 'evenodd' }));
  return el('span', { class: `pill ${shapes[state] ? state : ''}` }, icon, state);
}
