/** The result of an earlier request for a point. unavailable: alone it got a 503, so it is not sent together with others. */
type KnownPoint = { state: "refused"; reason: string } | { state: "unavailable" };

/** Results of isolation, so that a later round does not repeat its requests. */
export interface KnownPoints {
  isEmpty(): boolean;
  get(fingerprint: string): KnownPoint | undefined;
  set(fingerprint: string, known: KnownPoint): void;
}

/** Keeps the newest `pointsMax` in memory. */
export function createKnownPoints(pointsMax: number): KnownPoints {
  const points = new Map<string, KnownPoint>();
  return {
    isEmpty: () => points.size === 0,
    get: (fingerprint) => points.get(fingerprint),
    set: (fingerprint, known) => {
      points.set(fingerprint, known);
      const [oldest] = points.keys();
      if (points.size > pointsMax && oldest !== undefined) points.delete(oldest);
    },
  };
}
