// The rating page: from the rater's answer to the server and on to the next item.
//
// The outbox stores an answer before it sends it. The page goes on with an item that it already holds, or waits for the
// acknowledgement and requests the next one. One item takes one answer: the first decision sets `locked`, and the next
// item clears it once its pictures are on the screen.

import { NoAnswer, Refused, call, uuid4 } from "./api.js";
import { REWORDED, fillChoices, spoken } from "./choices.js";
import { forget, remember, undoable } from "./history.js";
import { listen } from "./keys.js";
import { InstructionEditor } from "./instruction_editor.js";
import { Notices, refusedNotice, sentences, unsentNotice } from "./notices.js";
import { Outbox } from "./outbox.js";
import {
  $, fillFeedback, fillFlags, fillGuide, fillItem, fillMessage, fillProgress, fillSignIn, fillStatus, markChoice,
  screen, showScreen,
} from "./screens.js";
import { state } from "./state.js";
import { Stopwatch } from "./stopwatch.js";
import { Viewer } from "./viewer.js";

/** Items that are leased and loaded before they are needed. */
const AHEAD = 2;
/** Milliseconds after an item appears in which decisions are ignored: they were meant for the previous item. */
const GRACE_MS = 300;
const RETRY_MS = 4_000;
const SAVED_LATELY_MS = 60_000;
/** Notices that are cleared when another session begins. */
const OF_SESSION = ["trouble", "load", "others", "picture", "undo", "refused"];

const notices = new Notices($("notices"));
const viewer = new Viewer($("stage"), (zoom) => ($("zoom-value").textContent = `${Math.round(zoom * 10) / 10}×`));
const outbox = new Outbox({ stored, refused, trouble, changed, unkept });
const watch = new Stopwatch();
const instructionEditor = new InstructionEditor((text) => decide(REWORDED + text));
const tabs = "BroadcastChannel" in self ? new BroadcastChannel("hpedit-rate") : null;

// Signing in and out

async function start() {
  const token = new URLSearchParams(location.hash.slice(1)).get("token");
  if (token && $("token")) $("token").value = token;
  // A link may carry the token after #, which is not sent to any server; remove it from the address bar.
  if (token) history.replaceState(null, "", location.pathname);
  if (!(await outbox.open())) unkept();
  await resume();
}

async function resume() {
  try {
    await enter(await call("GET", "/api/session"), false);
  } catch (error) {
    if (error.status === 401) showSignIn();
    else couldNot("open the session", error, resume);
  }
}

async function signIn(event) {
  event.preventDefault();
  $("signin-button").disabled = true;
  try {
    const session = await call("POST", "/api/session", { rater: $("name").value.trim(), token: $("token")?.value ?? null });
    tabs?.postMessage({ session: session.rater });
    await enter(session, true);
  } catch (error) {
    expected(error);
    showSignIn(error instanceof NoAnswer ? new Error("no connection to the server; try again in a moment") : error);
  } finally {
    $("signin-button").disabled = false;
  }
}

async function enter(session, signedIn) {
  Object.assign(state, { rater: session.rater, item: null, upcoming: [], phase: null, progress: null, progressAt: -Infinity, signedIn });
  notices.clear(...OF_SESSION);
  // Send what an earlier visit left unsent first, so that the server takes it into account for the next item.
  await outbox.use(session.rater);
  await advance();
}

async function signOut() {
  const waiting = outbox.waiting.length;
  const question = `${waiting} unsent answer${waiting === 1 ? "" : "s"} will stay in this browser until you sign in again. Sign out?`;
  if (waiting && !confirm(question)) return;
  try {
    await call("DELETE", "/api/session");
    tabs?.postMessage({ session: null });
    leave();
  } catch (error) {
    couldNot("sign out", error, signOut);
  }
}

function leave() {
  Object.assign(state, { rater: null, item: null, upcoming: [], locked: true });
  clearTimeout(state.retry);
  outbox.use(null);
  viewer.clear();
  notices.clear(...OF_SESSION);
  showSignIn();
}

function showSignIn(error = null) {
  showScreen("signin", null);
  fillSignIn(error);
  const others = outbox.others;
  if (!others.length) return;
  notices.show("others", { title: "There are unsent answers in this browser.", text: `Sign in as ${others.join(" or ")} to send them.`, tone: "info" });
}

// Items

/** Go on to the next item: one held already, or else the server's once all answers have arrived there. */
async function advance() {
  if (state.advancing || state.rater === null) return;
  state.advancing = true;
  state.item = null;
  try {
    if (!state.upcoming.length) {
      // Not all sent: `stored` comes back here when they are.
      if (!(await outbox.flush())) return;
      const done = await refill();
      if (!state.upcoming.length) return done ? showDone() : again(advance);
    }
    notices.clear("load");
    present(state.upcoming.shift());
    if (state.upcoming.length < AHEAD) refill().catch(expected);
  } catch (error) {
    couldNot("load the next item", error, () => state.item ?? advance());
  } finally {
    state.advancing = false;
  }
}

/** Ask for the next items and preload their pictures; returns whether the server has none left. */
async function refill() {
  const asked = Date.now();
  const rater = state.rater;
  const reply = await call("GET", `/api/next?ahead=${AHEAD}`);
  if (rater !== state.rater) return false;
  const items = [reply.item, ...(reply.ahead ?? [])].filter(Boolean);
  state.upcoming = items.filter(({ assignment }) => {
    const settled = outbox.has(assignment) || state.settled.get(assignment) >= asked;
    return !settled && assignment !== state.item?.assignment;
  });
  for (const item of state.upcoming) for (const address of [item.source, ...item.edits]) new Image().src = address;
  // While answers are being sent the server's count is outdated; their acknowledgements bring a newer one.
  if (!outbox.waiting.length) setProgress(reply.progress ?? items[0]?.progress, asked);
  return Boolean(reply.done);
}

/** Show an item; before the first one the guide, after practice a message. */
function present(item) {
  const { practice_done, practice_total, done, total } = item.progress;
  state.item = item;
  showProgress();
  const first = state.phase === null && (practice_done + done === 0 || (state.signedIn && item.phase === "practice"));
  if (first) {
    fillGuide(item.kind, item.phase === "practice" ? practice_total - practice_done : 0);
    $("guide-go").onclick = () => place(item);
    showScreen("guide", state.rater);
    $("guide-go").focus({ preventScroll: true });
  } else if (state.phase === "practice" && item.phase === "rate") {
    const text = `From now on your answers count. There are ${total - done} items for you; you can stop at any time and continue later.`;
    showMessage({ title: "Practice complete", text, button: "Start rating", act: () => place(item) });
  } else {
    place(item);
  }
}

async function place(item) {
  Object.assign(state, { item, phase: item.phase, locked: true, flags: new Set() });
  fillItem(item);
  fillFlags(state.flags);
  fillChoices($("choices"), item.kind, decide);
  instructionEditor.fill(item);
  if ("previous" in item) markChoice(item.previous, "previous");
  showScreen("rate", state.rater);
  showProgress();
  changed();
  $("instruction").focus({ preventScroll: true });
  try {
    if (!(await viewer.show(item))) return;
    notices.clear("picture");
    state.locked = false;
    watch.start();
  } catch {
    pictureFailed(item);
  }
}

function pictureFailed(item) {
  const retry = async () => {
    notices.clear("picture");
    try {
      await call("GET", "/api/session");
      await place(item);
    } catch (error) {
      couldNot("load the pictures", error, retry);
    }
  };
  const skip = () => {
    notices.clear("picture");
    send(item, "skip", 0);
  };
  notices.show("picture", { title: "A picture could not be loaded.", text: "Try again, or skip this item.", tone: "bad", actions: [["Try again", retry], ["Skip it", skip]] });
}

function showMessage(message) {
  fillMessage(message);
  showScreen("message", state.rater);
  (message.button ? $("message-go") : $("message-title")).focus();
}

function showDone() {
  const text = `Nothing is left for you to rate. All your answers are stored (${state.progress.done} items). You can close this page.`;
  viewer.clear();
  showMessage({ title: "All done, thank you!", text, undo: canUndo() });
}

function setProgress(progress, asked = Infinity) {
  if (asked > state.progressAt) Object.assign(state, { progress, progressAt: Date.now() });
  showProgress();
}

function showProgress() {
  fillProgress(state.progress, state.item?.phase === "practice");
  $("undo").disabled = !canUndo();
}

// Answers

function decide(value) {
  if (screen() !== "rate" || state.locked || !state.item || watch.sinceStart() < GRACE_MS) return;
  if (value === "reword") instructionEditor.open();
  else send(state.item, value, watch.seen());
}

async function send(item, value, ms) {
  state.locked = true;
  markChoice(value, "chosen");
  $("skip").classList.toggle("chosen", value === "skip");
  const { assignment } = item;
  const flags = [...state.flags];
  await outbox.add({ client_id: uuid4(), assignment, value, flags, ms: Math.round(ms), client_time: new Date().toISOString() });
  tabs?.postMessage({ answered: assignment, rater: state.rater });
  // In practice the reply holds the expected answer, which the rater reads before the next item.
  if (item.phase !== "practice" && state.item === item) await advance();
}

function stored(entry, reply) {
  const { assignment, client_id, value } = entry.body;
  state.settled.set(assignment, Date.now());
  state.savedAt = Date.now();
  remember(entry.rater, client_id);
  const here = state.item?.assignment === assignment;
  setProgress(reply.progress);
  if (here && reply.feedback) fillFeedback(value, reply.feedback);
  else if (here || !state.item) advance();
}

function refused(entry) {
  state.settled.set(entry.body.assignment, Date.now());
  if (!state.item || state.item.assignment === entry.body.assignment) advance();
}

function toggleFlag(flag) {
  if (state.locked) return;
  if (!state.flags.delete(flag)) state.flags.add(flag);
  fillFlags(state.flags);
}

function next() {
  if ($("feedback").hidden) return;
  $("feedback").hidden = true;
  advance();
}

const canUndo = () => Boolean(state.progress?.can_undo);

async function undo() {
  if (state.undoing || state.advancing || !["rate", "message"].includes(screen())) return;
  state.undoing = true;
  try {
    // An answer being sent has to arrive before it can be undone.
    if ((await outbox.flush()) && canUndo()) await takeBack(undoable(state.rater).at(-1) ?? null);
  } finally {
    state.undoing = false;
  }
}

/** @param {string | null} answer its client_id; null, if this browser knows of none, means the rater's last one */
async function takeBack(answer) {
  const request = { client_id: uuid4(), answer };
  const current = state.item && !state.settled.has(state.item.assignment) ? [state.item] : [];
  try {
    // Repeated once after a lost reply: the same client_id does not undo anything else.
    const attempt = () => call("POST", "/api/undo", request);
    const { item } = await attempt().catch((error) => (error instanceof NoAnswer ? attempt() : Promise.reject(error)));
    forget(state.rater, answer);
    notices.clear("undo");
    // The study no longer has that item.
    if (!item) return state.item ?? advance();
    state.settled.delete(item.assignment);
    setProgress(item.progress);
    state.upcoming = [...current, ...state.upcoming].filter(({ assignment }) => assignment !== item.assignment);
    tabs?.postMessage({ undone: item.assignment, rater: state.rater });
    await place(item);
  } catch (error) {
    expected(error);
    const lost = error instanceof NoAnswer;
    // Refused for good: the next undo concerns the answer before it.
    if (error.status === 404 || error.status === 409) forget(state.rater, answer);
    const title = lost ? "No connection: the answer still counts." : `Could not undo: ${error.message}.`;
    notices.show("undo", { title, text: lost ? "Try again when the connection is back." : sentences(error.hint), seconds: 8 });
  }
}

// Notices about answers that have not arrived

function changed() {
  fillStatus(outbox.waiting.length, state.troubled, Date.now() - state.savedAt < SAVED_LATELY_MS);
  const entry = outbox.refused[0];
  if (!entry) return notices.clear("refused");
  const actions = [["OK", () => outbox.discard(entry.client_id)]];
  notices.show("refused", { ...refusedNotice(entry.refused, spoken(entry.body.value)), actions });
}

function trouble(error) {
  state.troubled = error !== null;
  if (error === null) return notices.clear("trouble");
  if (error.status === 401) return sessionEnded();
  notices.show("trouble", { ...unsentNotice(error, outbox.waiting.length), actions: [["Try now", () => outbox.sync()]] });
}

function sessionEnded() {
  const kept = outbox.waiting.length ? " Your unsent answers are kept and sent then." : "";
  const text = `Sign in again with the same name.${kept}`;
  notices.show("trouble", { title: "Your session has ended.", text, actions: [["Sign in", leave]] });
}

function unkept() {
  notices.show("unkept", { title: "This browser can't store unsent answers.", text: "Its storage is full or disabled. Wait for “✓ Saved” before you close the page." });
}

/** Show that `what` failed, and retry it: by a button, or automatically. */
function couldNot(what, error, redo) {
  expected(error);
  if (error.status === 401) return sessionEnded();
  const title = error instanceof NoAnswer ? "No connection to the server." : `Could not ${what}: ${error.message}.`;
  const now = () => {
    clearTimeout(state.retry);
    notices.clear("load");
    redo();
  };
  notices.show("load", { title, text: sentences(error.hint, "Retrying automatically."), actions: [["Try now", now]] });
  again(redo);
}

function again(redo) {
  clearTimeout(state.retry);
  state.retry = setTimeout(redo, RETRY_MS);
}

/** A failed call is expected; anything else is a bug of this page and must be seen. */
function expected(error) {
  if (!(error instanceof NoAnswer || error instanceof Refused)) throw error;
}

// Events

async function fromAnotherTab({ data }) {
  if ("session" in data) return data.session === state.rater ? outbox.sync() : location.reload();
  if (data.rater !== state.rater) return;
  if ("undone" in data) return state.settled.delete(data.undone);
  state.settled.set(data.answered, Date.now());
  state.upcoming = state.upcoming.filter(({ assignment }) => assignment !== data.answered);
  const here = state.item?.assignment === data.answered && !state.locked;
  if (here) {
    state.locked = true;
    notices.show("elsewhere", { title: "Answered in another tab.", text: "Here is the next one.", tone: "info", seconds: 6 });
  }
  // Its answer may still be unsent: this tab then reads it and helps to send it.
  await outbox.sync();
  if (here && state.item?.assignment === data.answered) advance();
}

listen(viewer, { kind: () => state.item?.kind ?? "score", decide, undo, flag: toggleFlag, next });
$("signin-form").addEventListener("submit", signIn);
for (const [id, act] of [["sign-out", signOut], ["feedback-go", next]]) $(id).addEventListener("click", act);
for (const id of ["undo", "message-undo"]) $(id).addEventListener("click", (event) => event.detail <= 1 && undo());
$("skip").addEventListener("click", (event) => event.detail <= 1 && decide("skip"));
for (const button of document.querySelectorAll("[data-flag]")) button.addEventListener("click", () => toggleFlag(button.dataset.flag));
tabs?.addEventListener("message", fromAnotherTab);
addEventListener("online", () => outbox.sync());
document.addEventListener("visibilitychange", () => document.hidden || outbox.sync());
// Back to a page from the browser's cache: its item may have been answered meanwhile.
addEventListener("pageshow", (event) => event.persisted && location.reload());
start();
