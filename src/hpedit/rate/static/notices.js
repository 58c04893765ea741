// Bars below the header that say what is wrong and what to do; one a subject, newest words win.

export class Notices {
  /** @param {HTMLElement} box */
  constructor(box) {
    this.box = box;
  }

  /**
   * Show or replace the notice about `subject`.
   * @param {string} subject
   * @param {{title: string, text?: string, tone?: "warn" | "bad" | "info", actions?: [string, () => void][], seconds?: number}} notice
   */
  show(subject, { title, text = "", tone = "warn", actions = [], seconds = 0 }) {
    const bar = document.createElement("div");
    bar.className = `notice ${tone}`;
    bar.dataset.subject = subject;
    const words = document.createElement("p");
    const strong = document.createElement("b");
    strong.textContent = title;
    words.append(strong, text ? ` ${text}` : "");
    bar.append(words, ...actions.map(([label, act]) => actionButton(label, act)));
    const old = this.find(subject);
    // The same words again would only make a screen reader repeat them.
    if (old && old.textContent === bar.textContent) return;
    if (old) old.replaceWith(bar);
    else this.box.append(bar);
    if (seconds) setTimeout(() => bar.remove(), seconds * 1000);
  }

  find(subject) {
    return [...this.box.children].find((bar) => bar.dataset.subject === subject);
  }

  clear(...subjects) {
    for (const subject of subjects) this.find(subject)?.remove();
  }
}

function actionButton(label, act) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "small";
  button.textContent = label;
  button.addEventListener("click", act);
  return button;
}

/** Hints of the server begin in lower case and end without a stop, as on the command line. */
export function sentences(...texts) {
  const capital = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;
  return texts.filter(Boolean).map(capital).join(" ");
}

/** What to say about answers that the server has not taken yet. */
export function unsentNotice(error, waiting) {
  const kept =
    waiting === 1
      ? "Your answer is kept in this browser and sent again by itself."
      : `Your ${waiting} answers are kept in this browser and sent again by themselves.`;
  if (error.status === undefined) return { title: "No connection to the server.", text: kept };
  return { title: `Not stored yet: ${error.message}.`, text: sentences(error.hint, kept), tone: "bad" };
}

/** What to say about an answer that the server will not take however often it is sent; `said` names the answer. */
export function refusedNotice({ status, message, hint }, said) {
  const lost = `Not stored: ${said}.`;
  if (status !== 409) return { title: `The server did not take an answer: ${message}.`, text: sentences(hint, lost) };
  return { title: "This item was already answered.", text: `The first answer counts; change it by undo. ${lost}` };
}
