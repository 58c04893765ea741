// The answers a rater can give, by kind of item: the value sent, the button's label, and its key.

export const CHOICES = {
  score: [
    { value: 0, key: "0", label: "0", says: "does not follow" },
    { value: 1, key: "1", label: "1", says: "" },
    { value: 2, key: "2", label: "2", says: "" },
    { value: 3, key: "3", label: "3", says: "follows, but poor" },
    { value: 4, key: "4", label: "4", says: "" },
    { value: 5, key: "5", label: "5", says: "follows fully, realistic" },
  ],
  compare: [
    { value: "A", key: "a", label: "A", wide: " is better", says: "" },
    { value: "tie", key: "t", label: "Tie", says: "" },
    { value: "both_bad", key: "x", label: "Both bad", says: "" },
    { value: "B", key: "b", label: "B", wide: " is better", says: "" },
  ],
  check: [
    { value: "keep", key: "k", label: "Keep", says: "" },
    { value: "reword", key: "m", label: "Edit", wide: " instruction", says: "" },
    { value: "drop", key: "d", label: "Drop", says: "" },
  ],
};

/** Prefix of an answer that replaces the instruction; the rest is the new instruction. */
export const REWORDED = "mend:";

/** The button that gives an answer: one button for all changed instructions. */
export function buttonOf(value) {
  return String(value).startsWith(REWORDED) ? "reword" : String(value);
}

/** An answer as part of a sentence. */
export function spoken(value) {
  const names = { A: "A is better", B: "B is better", tie: "a tie", both_bad: "both bad", skip: "skipped", keep: "kept", drop: "dropped" };
  if (buttonOf(value) === "reword") return `changed to “${value.slice(REWORDED.length)}”`;
  return names[value] ?? String(value);
}

/** Fill `box` with the buttons of `kind`; `choose(value)` is called by a single click. */
export function fillChoices(box, kind, choose) {
  box.dataset.kind = kind;
  box.replaceChildren(...CHOICES[kind].map((choice) => button(choice, kind, choose)));
}

function button(choice, kind, choose) {
  const element = document.createElement("button");
  element.type = "button";
  element.className = "choice";
  element.dataset.value = String(choice.value);
  const label = document.createElement(kind === "score" ? "b" : "span");
  label.textContent = choice.label;
  if (choice.wide) {
    const wide = document.createElement("span");
    wide.className = "wide";
    wide.textContent = choice.wide;
    label.append(wide);
  }
  element.append(label);
  if (kind !== "score") {
    const key = document.createElement("kbd");
    key.textContent = choice.key.toUpperCase();
    element.append(key);
  }
  const says = document.createElement("small");
  says.textContent = choice.says;
  if (choice.says) element.append(says);
  element.setAttribute("aria-label", choice.says ? `${choice.label}: ${choice.says}` : label.textContent);
  element.setAttribute("aria-keyshortcuts", choice.key.toUpperCase());
  element.addEventListener("click", (event) => {
    // The second click of a double click would answer the item that has just appeared.
    if (event.detail <= 1) choose(choice.value);
  });
  return element;
}

/** The answer of a key, or undefined. On layouts that type digits with Shift, a digit key counts by its position. */
export function choiceOf(kind, event) {
  const typed = event.key.toLowerCase();
  const place = /^Digit([0-9])$/.exec(event.code)?.[1];
  const found = CHOICES[kind].find((choice) => choice.key === typed);
  const shifted = /^[0-9a-z]$/.test(typed) ? undefined : CHOICES[kind].find((choice) => choice.key === place);
  return (found ?? shifted)?.value;
}
