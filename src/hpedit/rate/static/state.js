// The page's state: one rater, one item at a time. Unsent answers are in the outbox.

export const state = {
  rater: null,
  /** The item on the screen; null while waiting for the next one. */
  item: null,
  /** Preloaded items, in their order. */
  upcoming: [],
  /** The server's latest progress, and when it was received; an older reply that arrives late does not replace it. */
  progress: null,
  progressAt: -Infinity,
  /** Phase of the item shown last; null before the first one. */
  phase: null,
  /** Whether the rater has just signed in, not merely reloaded the page. */
  signedIn: false,
  locked: true,
  advancing: false,
  undoing: false,
  troubled: false,
  flags: new Set(),
  /** assignment -> when its answer was settled; a list requested earlier may still contain it. */
  settled: new Map(),
  savedAt: -Infinity,
  retry: 0,
};
