// Keyboard shortcuts, and buttons that act while they are held.

import { choiceOf } from "./choices.js";
import { $, screen } from "./screens.js";

const PAN = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
const HOLDS = { " ": "source", w: "swap" };

/**
 * @param {import("./viewer.js").Viewer} viewer
 * @param {object} actions kind(), decide(value), undo(), flag(name), next()
 */
export function listen(viewer, actions) {
  // Space presses a button only after it was reached with Tab; otherwise it flips.
  let tabbed = false;
  document.addEventListener("pointerdown", () => (tabbed = false), true);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Tab") tabbed = true;
    else pressed(event, tabbed && event.target.matches("button"));
    if (event.key !== "Tab" && event.key !== "Shift" && event.key !== " ") tabbed = false;
  });
  document.addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() in HOLDS) viewer.flip(null);
  });
  addEventListener("blur", () => viewer.flip(null));
  for (const [id, what] of [["flip", "source"], ["swap", "swap"]]) holdButton($(id), (down) => viewer.flip(down ? what : null));
  $("zoom-in").addEventListener("click", () => viewer.zoomBy(1.5));
  $("zoom-out").addEventListener("click", () => viewer.zoomBy(1 / 1.5));
  $("zoom-fit").addEventListener("click", () => viewer.fit());
  $("help-open").addEventListener("click", toggleHelp);
  $("help-close").addEventListener("click", () => $("help").close());

  function pressed(event, onButton) {
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    // A held Enter would press one button after another.
    if (key === "Enter" && event.repeat) return event.preventDefault();
    if (event.target.closest("input, textarea, [contenteditable]")) return;
    if (event.altKey || ((event.ctrlKey || event.metaKey) && key !== "z")) return;
    if (key === "?") return toggleHelp();
    if ($("help").open || !["rate", "message"].includes(screen())) return;
    if (key === "z" || key === "Backspace") {
      event.preventDefault();
      if (!event.repeat) actions.undo();
    } else if (screen() === "rate" && !(onButton && key === " ")) {
      if (changeView(key, event.repeat) || answer(key, event)) event.preventDefault();
    }
  }

  /** Keys that change only the view; true if this was one. */
  function changeView(key, repeat) {
    if (key in HOLDS && (key !== "w" || actions.kind() === "compare")) {
      if (!repeat) viewer.flip(HOLDS[key]);
    } else if (key === "+" || key === "=") viewer.zoomBy(1.25);
    else if (key === "-" || key === "−") viewer.zoomBy(0.8);
    else if (key === "f") viewer.fit();
    else if (key in PAN) viewer.pan(...PAN[key]);
    else return false;
    return true;
  }

  /** Keys that answer or flag the item, once per press. */
  function answer(key, event) {
    if (key === "Enter" && event.target.matches("button")) return false;
    const flags = [...document.querySelectorAll(`[data-flag][data-key="${CSS.escape(key)}"]`)];
    // The page also holds the hidden flags of other kinds of items.
    const flag = flags.find((button) => button.offsetParent !== null);
    const value = key === "s" ? "skip" : choiceOf(actions.kind(), event);
    if (!flag && value === undefined && key !== "Enter") return false;
    if (event.repeat) return true;
    if (flag) actions.flag(flag.dataset.flag);
    else if (key === "Enter") actions.next();
    else actions.decide(value);
    return true;
  }
}

function toggleHelp() {
  if ($("help").open) $("help").close();
  else $("help").showModal();
}

function holdButton(button, act) {
  button.addEventListener("pointerdown", (event) => {
    button.setPointerCapture(event.pointerId);
    act(true);
  });
  for (const name of ["pointerup", "pointercancel", "lostpointercapture", "blur"]) button.addEventListener(name, () => act(false));
  button.addEventListener("contextmenu", (event) => event.preventDefault());
  // Enter and Space on the focused button: held as well.
  button.addEventListener("keydown", (event) => {
    if (["Enter", " "].includes(event.key) && !event.repeat) act(true);
  });
  button.addEventListener("keyup", (event) => {
    if (["Enter", " "].includes(event.key)) act(false);
  });
}
