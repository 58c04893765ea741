// Which answers undo can take back: client_ids of acknowledged answers, newest last.
//
// In localStorage, shared with reloads and other tabs, and therefore read again each time. A browser may refuse it
// (disabled, full): undo then means the rater's last answer, which the server knows.

const DEPTH = 100;
const key = (rater) => `hpedit-rate.history.${rater}`;

export function undoable(rater) {
  try {
    return JSON.parse(localStorage.getItem(key(rater)) ?? "[]");
  } catch {
    return [];
  }
}

export function remember(rater, clientId) {
  write(rater, [...undoable(rater).filter((id) => id !== clientId), clientId]);
}

export function forget(rater, clientId) {
  write(rater, undoable(rater).filter((id) => id !== clientId));
}

function write(rater, ids) {
  try {
    localStorage.setItem(key(rater), JSON.stringify(ids.slice(-DEPTH)));
  } catch {
    // See above.
  }
}
