// The question before every change.

import { announce, el, fill } from '/assets/dom.js';

let names = 0;

// confirm asks, does it, and shows in the dialog what went wrong, so that the
// question can be put again. It resolves to whether it was done.
//
//   title, text   what would happen
//   fields        labelled inputs: {name, label, hint, input: element}
//   verb          what the button that does it says
//   act           does it, given the fields' values; returns what to announce
export function confirm({ title, text, fields = [], verb, act }) {
  const id = `dialog-${++names}`;
  const failure = el('p', { role: 'alert', class: 'failure' });
  const go = el('button', { class: 'primary' }, verb);
  const back = el('button', { type: 'button', class: 'quiet', autofocus: fields.length === 0, click: () => dialog.close() }, 'Do nothing');
  const form = el('form', { submit: go_ },
    el('h2', { id }, title),
    el('p', {}, text),
    fields.map((f) => el('label', {}, f.label, f.input, f.hint && el('small', {}, f.hint))),
    failure,
    el('div', { class: 'buttons' }, go, back));
  const dialog = el('dialog', { 'aria-labelledby': id, close: () => dialog.remove() }, form);
  let done = false;

  async function go_(event) {
    event.preventDefault();
    fill(failure);
    go.disabled = true;
    try {
      const values = Object.fromEntries(fields.map((f) => [f.name, f.input.value.trim()]));
      const said = await act(values);
      done = true;
      dialog.close();
      announce(said);
    } catch (error) {
      failure.textContent = error.message;
      go.disabled = false;
    }
  }

  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(done)));
}
