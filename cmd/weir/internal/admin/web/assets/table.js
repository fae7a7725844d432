// A table that becomes a list of cards on a narrow screen: each cell carries
// the name of its column.

import { el } from '/assets/dom.js';

// table makes one. Columns are [name, cell] where cell gives what stands in a
// row's cell: nodes or text, null for nothing.
export function table(caption, columns, rows) {
  return el('table', {},
    el('caption', { class: 'unseen' }, caption),
    el('thead', {}, el('tr', {}, columns.map(([name]) => el('th', { scope: 'col' }, name)))),
    el('tbody', {}, rows.map((row) => el('tr', {}, columns.map(([name, cell], i) =>
      el(i === 0 ? 'th' : 'td', i === 0 ? { scope: 'row' } : { 'data-name': name }, cell(row)))))));
}

// time shows a time, with all of its digits for those who ask.
export function time(iso, text) {
  return iso ? el('time', { datetime: iso, title: iso }, text) : null;
}

// pageLinks gives the links to the other pages of a list that goes by cursors.
export function pageLinks(parameters, answer) {
  const to = (cursor) => {
    const query = new URLSearchParams(parameters);
    query.delete('cursor');
    if (cursor) query.set('cursor', cursor);
    return `${location.pathname}?${query}`;
  };
  return [
    parameters.has('cursor') && el('a', { class: 'button', href: to(null) }, 'Newest'),
    answer.has_more && el('a', { class: 'button', href: to(answer.next_cursor), rel: 'next' }, 'Older'),
  ];
}
