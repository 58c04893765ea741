// What the page knows. One rater, one item at a time; the answers themselves are the outbox's.

export const state = {
  rater: null,
  /** The item on the screen; null while the next one is awaited. */
  item: null,
  /** Items held ready, in the order in which they come. */
  upcoming: [],
  /** What the server said last, and when; an older reply that arrives late does not replace it. */
  progress: null,
  progressAt: -Infinity,
  /** Of the item shown last; null before the first one. */
  phase: null,
  /** Whether the rater has just given a name, and not merely reloaded the page. */
  signedIn: false,
  locked: true,
  advancing: false,
  undoing: false,
  troubled: false,
  flags: new Set(),
  /** assignment -> when its answer was settled; a list that was asked for earlier may still name it. */
  settled: new Map(),
  savedAt: -Infinity,
  retry: 0,
};
