/** Prometheus' stale marker (model/value): a NaN with this payload, as the high and low half of its bits. */
export const STALE_HIGH = 0x7ff00000;
export const STALE_LOW = 2;

export function isStaleMarker(high: number, low: number): boolean {
  return high === STALE_HIGH && low === STALE_LOW;
}
