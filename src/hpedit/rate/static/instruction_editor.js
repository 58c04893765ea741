// The field in which a checker puts another instruction in place of the one shown.

import { MEND, buttonOf } from "./choices.js";
import { $ } from "./screens.js";

export class InstructionEditor {
  #shown = "";
  #typed = "";
  /** The key that opened the field is still down: what it repeats is no text. */
  #held = false;

  /** @param {(text: string) => void} save gets the new instruction, on one line and other than the one shown */
  constructor(save) {
    this.save = save;
    $("mend").addEventListener("submit", (event) => this.#submit(event));
    $("mend-cancel").addEventListener("click", () => this.close());
    $("mend-text").addEventListener("keydown", (event) => this.#pressed(event));
    $("mend-text").addEventListener("keyup", () => (this.#held = false));
    $("mend-text").addEventListener("input", () => ($("mend-error").hidden = true));
  }

  /** Make ready for an item; one that comes back after an undo brings the words that it was mended to. */
  fill(item) {
    const before = item.previous ?? "";
    this.#shown = item.instruction;
    this.#typed = buttonOf(before) === "mend" ? before.slice(MEND.length) : item.instruction;
    this.#show(false);
  }

  open() {
    $("mend-text").value = this.#typed;
    $("mend-error").hidden = true;
    this.#held = true;
    this.#show(true);
    $("mend-text").focus();
    $("mend-text").setSelectionRange(this.#typed.length, this.#typed.length);
  }

  /** Put the field away; what was typed is there again at the next opening. */
  close() {
    this.#typed = $("mend-text").value;
    this.#show(false);
    $("instruction").focus({ preventScroll: true });
  }

  #show(open) {
    $("mend").hidden = !open;
    $("decide").hidden = open;
  }

  #pressed(event) {
    if (event.repeat && this.#held) event.preventDefault();
    else if (!event.repeat) this.#held = false;
    if (event.key === "Escape") this.close();
    // A composition's Enter chooses a word. An instruction has one line.
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    if (!event.repeat) $("mend").requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    const text = oneLine($("mend-text").value);
    let error = "";
    if (!/[\p{L}\p{N}]/u.test(text)) error = "Write what the editor shall do.";
    else if (text === oneLine(this.#shown)) error = "These are the words as they were: change them, or cancel and keep.";
    $("mend-error").textContent = error;
    $("mend-error").hidden = !error;
    if (!error) this.save(text);
  }
}

/** As the server keeps it. */
function oneLine(text) {
  return text.normalize("NFC").split(/\s+/).filter(Boolean).join(" ");
}
