// Which answers undo can take back: client_ids of acknowledged answers, newest last.
//
// In localStorage, since a reload and other tabs go on with it; read anew each time for the same reason.

const DEPTH = 100;
const key = (rater) => `hpedit-rate.history.${rater}`;

export function undoable(rater) {
  return JSON.parse(localStorage.getItem(key(rater)) ?? "[]");
}

export function remember(rater, clientId) {
  write(rater, [...undoable(rater).filter((id) => id !== clientId), clientId]);
}

export function forget(rater, clientId) {
  write(rater, undoable(rater).filter((id) => id !== clientId));
}

function write(rater, ids) {
  localStorage.setItem(key(rater), JSON.stringify(ids.slice(-DEPTH)));
}
