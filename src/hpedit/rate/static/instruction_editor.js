// The field in which a rater edits the instruction of a case.

import { REWORDED, buttonOf } from "./choices.js";
import { $ } from "./screens.js";

export class InstructionEditor {
  #shown = "";
  #typed = "";
  /** Whether the key that opened the field is still down: its repetitions are not text. */
  #held = false;

  /** @param {(text: string) => void} save gets the new instruction, on one line and different from the one shown */
  constructor(save) {
    this.save = save;
    $("reword").addEventListener("submit", (event) => this.#submit(event));
    $("reword-cancel").addEventListener("click", () => this.close());
    $("reword-text").addEventListener("keydown", (event) => this.#pressed(event));
    $("reword-text").addEventListener("keyup", () => (this.#held = false));
    $("reword-text").addEventListener("input", () => ($("reword-error").hidden = true));
  }

  /** Prepare for an item; after an undo the field holds the instruction that had been entered. */
  fill(item) {
    const before = item.previous ?? "";
    this.#shown = item.instruction;
    this.#typed = buttonOf(before) === "reword" ? before.slice(REWORDED.length) : item.instruction;
    this.#show(false);
  }

  open() {
    $("reword-text").value = this.#typed;
    $("reword-error").hidden = true;
    this.#held = true;
    this.#show(true);
    $("reword-text").focus();
    $("reword-text").setSelectionRange(this.#typed.length, this.#typed.length);
  }

  /** Close the field; what was typed is kept for the next time. */
  close() {
    this.#typed = $("reword-text").value;
    this.#show(false);
    $("instruction").focus({ preventScroll: true });
  }

  #show(open) {
    $("reword").hidden = !open;
    $("decide").hidden = open;
  }

  #pressed(event) {
    if (event.repeat && this.#held) event.preventDefault();
    else if (!event.repeat) this.#held = false;
    if (event.key === "Escape") this.close();
    // During IME composition Enter chooses a word. An instruction has one line.
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    if (!event.repeat) $("reword").requestSubmit();
  }

  #submit(event) {
    event.preventDefault();
    const text = oneLine($("reword-text").value);
    let error = "";
    if (!/[\p{L}\p{N}]/u.test(text)) error = "Write what the editor should do.";
    else if (text === oneLine(this.#shown)) error = "The instruction is unchanged: edit it, or cancel and keep it.";
    $("reword-error").textContent = error;
    $("reword-error").hidden = !error;
    if (!error) this.save(text);
  }
}

/** The text as the server normalises it. */
function oneLine(text) {
  return text.normalize("NFC").split(/\s+/).filter(Boolean).join(" ");
}
