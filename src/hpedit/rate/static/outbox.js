// Outbox of answers: written to IndexedDB before they are sent, deleted only when the server has acknowledged them.
//
// An answer is sent again under the same client_id until a reply comes, so a lost reply does not duplicate it. Several
// tabs may send the same entry; the server stores it once. What the server refuses for good (answered before, unknown
// item) stays until the rater has seen it.

import { NoAnswer, Refused, call } from "./api.js";

const DATABASE = "hpedit-rate";
const STORE = "outbox";
const RETRY_MS = [1_000, 2_000, 4_000, 8_000, 15_000];
/** Statuses that mean that repeating the same request cannot succeed. */
const FINAL = new Set([400, 404, 405, 409, 410, 413, 415, 422]);

export class Outbox {
  #database = null;
  #memory = new Map();
  /** Ids that were acknowledged or discarded here: a read that began before their deletion must not bring them back. */
  #gone = new Set();
  #rater = null;
  #flushing = null;
  #timer = null;
  #failures = 0;

  /**
   * @param {object} events stored(entry, reply), refused(entry, error), trouble(error | null), changed(), unkept()
   */
  constructor(events) {
    this.events = events;
  }

  /** Open the database; returns false if the browser has none, and answers are then kept in memory only. */
  async open() {
    try {
      this.#database = await openDatabase();
      await this.#reread();
    } catch {
      this.#database = null;
    }
    return this.#database !== null;
  }

  /** Send this rater's entries from now on; null stops. Other raters' entries are kept: the cookie names one rater. */
  async use(rater) {
    this.#rater = rater;
    await this.sync();
  }

  /** Read what other tabs left unsent, and send it. */
  async sync() {
    // A browser may close its database while the page is open; this tab still has its own entries in memory.
    await this.#reread().catch(() => {});
    this.events.changed();
    return this.flush();
  }

  /** The rater's unsent entries, oldest first. */
  get waiting() {
    return this.#sorted().filter((entry) => entry.rater === this.#rater && !entry.refused);
  }

  /** The rater's entries that the server refused for good. */
  get refused() {
    return this.#sorted().filter((entry) => entry.rater === this.#rater && entry.refused);
  }

  /** Names of other raters with unsent answers in this browser. */
  get others() {
    return [...new Set(this.#sorted().filter((entry) => entry.rater !== this.#rater).map((entry) => entry.rater))];
  }

  has(assignment) {
    return this.#sorted().some((entry) => entry.rater === this.#rater && entry.body.assignment === assignment);
  }

  /** Store an answer, then send it. Resolves when it is stored. */
  async add(body) {
    const entry = { client_id: body.client_id, rater: this.#rater, body, queued: Date.now(), refused: null };
    this.#memory.set(entry.client_id, entry);
    await this.#write(entry);
    this.events.changed();
    this.flush();
  }

  /** Forget an entry that the server refused. */
  async discard(clientId) {
    await this.#remove(clientId);
    this.events.changed();
  }

  /** Send all unsent entries in order; one run at a time. Resolves to true when none is left. */
  flush() {
    clearTimeout(this.#timer);
    this.#flushing ??= this.#sendAll().finally(() => {
      this.#flushing = null;
      // Entries added while the last reply was arriving.
      if (this.waiting.length && !this.#failures) this.flush();
    });
    return this.#flushing;
  }

  async #sendAll() {
    while (this.#rater !== null && this.waiting.length) {
      const entry = this.waiting[0];
      try {
        const reply = await call("POST", "/api/answer", entry.body);
        await this.#remove(entry.client_id);
        this.#calm();
        this.events.stored(entry, reply);
      } catch (error) {
        if (!(error instanceof NoAnswer || error instanceof Refused)) throw error;
        // A proxy whose server is down may answer 404; the entry is kept until the server itself answers.
        if (!error.own || !FINAL.has(error.status)) {
          this.#later(error);
          return false;
        }
        entry.refused = { status: error.status, message: error.message, hint: error.hint };
        await this.#write(entry);
        this.#calm();
        this.events.refused(entry, error);
      }
      this.events.changed();
    }
    return true;
  }

  #calm() {
    this.#failures = 0;
    this.events.trouble(null);
  }

  #later(error) {
    const delay = RETRY_MS[Math.min(this.#failures, RETRY_MS.length - 1)];
    this.#failures += 1;
    // For a 401 the rater must sign in again, which flushes.
    if (error.status !== 401) this.#timer = setTimeout(() => this.flush(), delay);
    this.events.trouble(error);
    this.events.changed();
  }

  #sorted() {
    return [...this.#memory.values()].sort((a, b) => a.queued - b.queued);
  }

  async #reread() {
    if (!this.#database) return;
    for (const entry of await this.#request("readonly", (store) => store.getAll())) {
      if (!this.#memory.has(entry.client_id) && !this.#gone.has(entry.client_id)) this.#memory.set(entry.client_id, entry);
    }
  }

  async #write(entry) {
    if (!this.#database) return;
    try {
      await this.#request("readwrite", (store) => store.put(entry));
    } catch {
      // For example, the disk is full: the answer is still sent, but closing the page now would lose it.
      this.events.unkept();
    }
  }

  async #remove(clientId) {
    this.#memory.delete(clientId);
    this.#gone.add(clientId);
    // What can't be deleted is sent again at the next visit, and the server recognises it.
    if (this.#database) await this.#request("readwrite", (store) => store.delete(clientId)).catch(() => {});
  }

  #request(mode, action) {
    return new Promise((resolve, reject) => {
      // "strict": flushed to disk, so that the entry survives a kill of the browser.
      const transaction = this.#database.transaction(STORE, mode, { durability: "strict" });
      const request = action(transaction.objectStore(STORE));
      transaction.oncomplete = () => resolve(request.result);
      transaction.onabort = () => reject(transaction.error);
    });
  }
}

function openDatabase() {
  return new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => request.result.createObjectStore(STORE, { keyPath: "client_id" });
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("blocked"));
  });
}
