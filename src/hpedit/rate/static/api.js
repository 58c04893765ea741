// Client of the HTTP API of `hpedit rate serve`, and the two ways in which a call can fail.

const TIMEOUT_MS = 20_000;

/** No answer: the network is off, the server is down, or it took too long. The request may have arrived. */
export class NoAnswer extends Error {}

/** An error answer with `message` and `hint`; `own` if it is the server's, not a proxy's in front of it. */
export class Refused extends Error {
  constructor(status, message, hint, own) {
    super(message);
    this.status = status;
    this.hint = hint;
    this.own = own;
  }
}

/** Call `path`; returns the parsed JSON. Throws NoAnswer or Refused. */
export async function call(method, path, body) {
  const headers = method === "GET" ? {} : { "X-HPEdit": "1", "Content-Type": "application/json" };
  const text = body === undefined ? undefined : JSON.stringify(body);
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), TIMEOUT_MS);
  let response, reply;
  try {
    const options = { method, headers, body: text, cache: "no-store", credentials: "same-origin", redirect: "error", signal: stop.signal };
    response = await fetch(path, options);
    reply = await response.text();
  } catch {
    throw new NoAnswer("no connection to the server");
  } finally {
    clearTimeout(timer);
  }
  const parsed = parse(reply);
  if (response.ok && parsed !== null) return parsed;
  // A proxy answers in HTML, which says less than the status.
  throw new Refused(response.status, parsed?.error || `the server answered ${response.status}`, parsed?.hint || "", Boolean(parsed?.error));
}

function parse(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === "object" ? value : null;
  } catch {
    return null;
  }
}

/** A random UUID (version 4). crypto.randomUUID is missing over plain HTTP from another machine. */
export function uuid4() {
  if (crypto.randomUUID) return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
