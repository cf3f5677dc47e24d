/** Left-open, closed: (fromMs, toMs], ms since the epoch. */
export interface Window {
  fromMs: number;
  toMs: number;
}
