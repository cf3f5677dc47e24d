import type { MatrixScanner } from "#prometheus/matrix-scanner.ts";

/** Has the scanner read the whole chunk. Returns the positions that it stopped at. */
export function scanWhole(scanner: MatrixScanner, chunk: Buffer): number[] {
  const stops: number[] = [];
  for (let at = 0; at < chunk.length;) {
    at = scanner.scan(chunk, at);
    stops.push(at);
  }
  return stops;
}
