// How long an item was visible: time in which the page is hidden does not count.

export class Stopwatch {
  #started = 0;
  #hidden = 0;
  #hiddenSince = null;

  constructor() {
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) this.#hiddenSince = performance.now();
      else if (this.#hiddenSince !== null) {
        this.#hidden += performance.now() - this.#hiddenSince;
        this.#hiddenSince = null;
      }
    });
  }

  start() {
    this.#started = performance.now();
    this.#hidden = 0;
    this.#hiddenSince = document.hidden ? this.#started : null;
  }

  /** Milliseconds since the start, hidden or not. */
  sinceStart() {
    return performance.now() - this.#started;
  }

  /** Milliseconds since the start in which the page was visible. */
  seen() {
    const hiddenNow = this.#hiddenSince === null ? 0 : performance.now() - this.#hiddenSince;
    return Math.max(0, this.sinceStart() - this.#hidden - hiddenNow);
  }
}
