// Elements are made and filled here only. Whatever the API returns is text of
// strangers: it becomes text nodes and attribute values, never markup.

// el makes an element. A property that is a function listens to that event; one
// that is null, undefined or false is left out.
export function el(tag, properties = {}, ...children) {
  return dress(document.createElement(tag), properties, children);
}

// draw is el for SVG.
export function draw(tag, properties = {}, ...children) {
  return dress(document.createElementNS('http://www.w3.org/2000/svg', tag), properties, children);
}

function dress(node, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === 'function') node.addEventListener(name, value);
    else if (value === true) node.setAttribute(name, '');
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  }
  fill(node, ...children);
  return node;
}

// fill replaces what is in a node; null, undefined and false are left out.
export function fill(node, ...children) {
  node.replaceChildren(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
}

// say sets a node's text if it is another: what has not changed keeps a
// selection, and a screen reader quiet.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const byId = (id) => document.getElementById(id);

let forget = 0;

// announce tells, in a live region and for a while, what an action has come to.
export function announce(text) {
  say(byId('said'), text);
  clearTimeout(forget);
  forget = setTimeout(() => say(byId('said'), ''), 10_000);
}

// complain shows what went wrong with what the page wanted to show.
export function complain(error) {
  say(byId('trouble'), error ? error.message : '');
}

// copyable shows a text with a button that copies it. Browsers give the
// clipboard to https and loopback only; elsewhere the text is selected.
export function copyable(text, what) {
  const code = el('code', {}, text);
  const button = el('button', { type: 'button', class: 'copy quiet', 'aria-label': `Copy ${what}`, click: copy }, 'Copy');
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      announce(`${what} copied`);
      say(button, 'Copied');
      setTimeout(() => say(button, 'Copy'), 2000);
    } catch {
      getSelection().selectAllChildren(code);
      announce(`${what} selected`);
    }
  }
  return el('span', { class: 'copyable' }, code, button);
}
