// Rendering: functions that put given values into the page, and know nothing of answers or the server.

import { buttonOf, spoken } from "./choices.js";
import { sentences } from "./notices.js";

export const $ = (id) => document.getElementById(id);

/** Characters from which an instruction is set smaller, to leave room for the pictures. */
const LONG = 120;
const SCREENS = ["loading", "signin", "guide", "rate", "message"];

/** Title and first sentence of the guide. */
const GUIDES = {
  score: ["Score each edit from 0 to 5", "Read the instruction, look at source and edit, and give one score."],
  compare: ["Which edit is better?", "Read the instruction, look at the source and both edits, and choose."],
  check: ["Is this a fair task for an editor?", "Read the instruction and look at the photo. No editor has seen it yet."],
};

/** Show one of the screens; the bar belongs to a signed-in rater. */
export function showScreen(screen, rater) {
  document.body.dataset.screen = screen;
  for (const name of SCREENS) $(name).hidden = name !== screen;
  $("bar").hidden = rater === null;
  $("who").textContent = rater ?? "";
}

export function screen() {
  return document.body.dataset.screen;
}

/** @param {Error & {hint?: string} | null} error of the last attempt */
export function fillSignIn(error) {
  $("signin-error").hidden = error === null;
  $("signin-error").textContent = error ? sentences(error.message, error.hint) : "";
  (($("name").value && $("token")) || $("name")).focus();
}

/** The guide for the kind of items that follow, with the number of practice items left. */
export function fillGuide(kind, practice) {
  document.body.dataset.kind = kind;
  [$("guide-title").textContent, $("guide-lead").textContent] = GUIDES[kind];
  const start = kind === "check" ? "Start checking" : "Start rating";
  $("guide-go").textContent = practice ? `Start with ${practice} practice item${practice === 1 ? "" : "s"}` : start;
}

/** A short message; `button` and `act` are optional, `undo` offers to undo the last answer. */
export function fillMessage({ title, text, button = "", act = null, undo = false }) {
  $("message-title").textContent = title;
  $("message-text").textContent = text;
  $("message-go").hidden = !button;
  $("message-go").textContent = button;
  $("message-go").onclick = act;
  $("message-undo").hidden = !undo;
}

/** The texts of an item; its pictures are shown by the viewer. */
export function fillItem(item) {
  document.body.dataset.kind = item.kind;
  $("phase").textContent = item.phase === "practice" ? "Practice" : "";
  $("task").textContent = item.task ?? "";
  $("instruction").textContent = item.instruction;
  $("instruction").classList.toggle("long", item.instruction.length > LONG);
  $("instruction").scrollTop = 0;
  requestAnimationFrame(showMore);
  $("feedback").hidden = true;
  $("skip").classList.remove("chosen");
  $("references").hidden = !item.references?.length;
  $("references").replaceChildren("With:", ...(item.references ?? []).map(reference));
}

/** Fade the bottom of an instruction that continues below it. */
function showMore() {
  const { scrollTop, clientHeight, scrollHeight } = $("instruction");
  $("instruction").classList.toggle("more", scrollTop + clientHeight < scrollHeight - 2);
}

$("instruction").addEventListener("scroll", showMore);
addEventListener("resize", showMore);

/** A further source picture, small; clicks toggle its size. */
function reference(address, index) {
  const button = document.createElement("button");
  const image = new Image();
  button.type = "button";
  button.className = "reference";
  image.src = address;
  image.alt = `Further source picture ${index + 1}, enlarge`;
  button.append(image);
  button.addEventListener("click", () => button.classList.toggle("large"));
  return button;
}

export function fillProgress(progress, practice) {
  const [done, total] = practice ? [progress.practice_done, progress.practice_total] : [progress.done, progress.total];
  $("progress-fill").style.width = `${total ? Math.min(100, (100 * done) / total) : 0}%`;
  $("progress").setAttribute("aria-valuemax", String(total));
  $("progress").setAttribute("aria-valuenow", String(done));
  $("count").textContent = `${practice ? "Practice " : ""}${done} of ${total}`;
}

/** How many answers are unsent, and whether the last one has arrived. */
export function fillStatus(waiting, troubled, savedLately) {
  const late = waiting > 1 || (waiting && troubled);
  const tone = late ? "waiting" : waiting ? "sending" : savedLately ? "saved" : "";
  const words = { waiting: `${waiting} answer${waiting === 1 ? "" : "s"} waiting`, sending: "Saving…", saved: "✓ Saved", "": "" };
  $("status").className = `status ${tone}`;
  $("status").textContent = words[tone];
}

/** Mark the button of `value` as "chosen", "previous" or "expected", and no other. */
export function markChoice(value, className) {
  for (const button of $("choices").children) button.classList.toggle(className, button.dataset.value === buttonOf(value));
}

export function fillFeedback(value, { expected, right, text }) {
  markChoice(expected, "expected");
  const given = value === "skip" ? "You skipped it" : `You answered ${spoken(value)}`;
  const ours = value === expected ? "." : `; the expected answer is ${spoken(expected)}.`;
  $("feedback").classList.toggle("right", Boolean(right));
  $("feedback-verdict").textContent = `${right ? "✓ Right. " : ""}${given}${ours}`;
  $("feedback-text").textContent = text ?? "";
  $("feedback").hidden = false;
  $("feedback-go").focus({ preventScroll: true });
}

export function fillFlags(flags) {
  for (const button of document.querySelectorAll("[data-flag]")) {
    button.setAttribute("aria-pressed", String(flags.has(button.dataset.flag)));
  }
}
