import { fraction, mix } from "./noise.ts";

/**
 * A series' value at a time (ms since the epoch); pure, so that any window can be computed without what came
 * before.
 */
export type ValueAt = (timeMs: number) => number;

export interface GaugeShape {
  hash: number;
  base: number;
  /** Largest distance from the base. */
  swing: number;
  /** Rounded to whole numbers, as bytes and MHz are. */
  whole?: boolean;
}

/** A slow wave with a little noise on it: values that use all digits of a double unless `whole`. */
export function gauge({ hash, base, swing, whole = false }: GaugeShape): ValueAt {
  const periodMs = 300_000 + fraction(mix(hash, 1)) * 900_000;
  const phase = fraction(mix(hash, 2)) * 2 * Math.PI;
  return (timeMs) => {
    const wave = Math.sin((timeMs / periodMs) * 2 * Math.PI + phase);
    const value = base + swing * (0.9 * wave + 0.2 * (fraction(mix(hash, timeMs)) - 0.5));
    return whole ? Math.round(value) : value;
  };
}

export interface CounterShape {
  hash: number;
  perSecond: number;
  /** When the counter's process began, for a given time: it is 0 there. */
  startedAt: (timeMs: number) => number;
  whole?: boolean;
}

/** Never falls between two starts; its rate swings between 0.2 and 1.8 times `perSecond`. */
export function counter({ hash, perSecond, startedAt, whole = false }: CounterShape): ValueAt {
  const waveSeconds = (60 + fraction(mix(hash, 3)) * 540) / (2 * Math.PI);
  return (timeMs) => {
    const seconds = Math.max(0, timeMs - startedAt(timeMs)) / 1000;
    const value = perSecond * (seconds + 0.8 * waveSeconds * (1 - Math.cos(seconds / waveSeconds)));
    return whole ? Math.floor(value) : value;
  };
}

export function constant(value: number): ValueAt {
  return () => value;
}

/** The last start of something that starts again every `everyMs` since `firstMs`. */
export function lastStart(firstMs: number, everyMs: number): (timeMs: number) => number {
  return (timeMs) => firstMs + Math.floor((timeMs - firstMs) / everyMs) * everyMs;
}
