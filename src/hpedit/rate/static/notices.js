// Notice bars below the header: what is wrong and what to do; one per subject, the newest text wins.

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
    // Replacing it by the same text would make a screen reader repeat it.
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

/** Join the server's errors and hints, which have no capital and no full stop, into sentences. */
export function sentences(...texts) {
  const capital = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1).replace(/\.$/, "")}.`;
  return texts.filter(Boolean).map(capital).join(" ");
}

/** The notice about answers that the server has not stored yet. */
export function unsentNotice(error, waiting) {
  const kept =
    waiting === 1
      ? "Your answer is kept in this browser and sent again automatically."
      : `Your ${waiting} answers are kept in this browser and sent again automatically.`;
  if (error.status === undefined) return { title: "No connection to the server.", text: kept };
  return { title: `Not stored yet: ${error.message}.`, text: sentences(error.hint, kept), tone: "bad" };
}

/** The notice about an answer that the server refuses for good; `said` names the answer. */
export function refusedNotice({ status, message, hint }, said) {
  const lost = `Not stored: ${said}.`;
  if (status !== 409) return { title: `The server refused an answer: ${message}.`, text: sentences(hint, lost) };
  return { title: "This item was already answered.", text: `The first answer counts; use Undo to change it. ${lost}` };
}
