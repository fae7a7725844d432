// Calls of weir's own API. Every failure becomes an Error whose message is one
// line for people.

// serverNow is the time of the server, by which its times are told: a wrong
// clock of this machine must not make a countdown lie. Date counts in whole
// seconds, so a small difference is none.
export const serverNow = () => Date.now() + (Math.abs(ahead) > 2000 ? ahead : 0);
let ahead = 0;

// get asks for JSON.
export async function get(path) {
  return (await call(path, { headers: { Accept: 'application/json' } })).json();
}

// getText asks for JSON as it was written: numbers and spaces unchanged.
export async function getText(path) {
  return (await call(path, { headers: { Accept: 'application/json' } })).text();
}

// post asks for a change.
export async function post(path, body = {}) {
  return (await call(path, {
    method: 'POST',
    headers: { Accept: 'application/json', 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })).json();
}

// logIn leaves for the login page.
export function logIn() {
  location.assign('/login');
}

async function call(path, options) {
  let response;
  try {
    response = await fetch('/api/v1' + path, options);
  } catch {
    throw new Error('weir cannot be reached: the daemon may have been stopped; start it with weir serve');
  }
  const date = Date.parse(response.headers.get('Date'));
  if (!Number.isNaN(date)) ahead = date + 500 - Date.now();
  if (response.ok) return response;
  if (response.status === 401) logIn();
  throw new Error(await lineOf(response));
}

// lineOf is the error envelope in one line.
async function lineOf(response) {
  try {
    const { message, details } = await response.json();
    const fields = (details ?? []).map((d) => (d.field ? `${d.field}: ${d.message}` : d.message)).filter((d) => !message.includes(d));
    return [message, ...fields].join('; ');
  } catch {
    return `weir answered with HTTP ${response.status}`;
  }
}
