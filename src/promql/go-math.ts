/**
 * Logarithms and powers by Go's algorithms (package math): each operation is rounded as there, so that results are equal to the last bit, as
 * `log10(x) == 3` and 100 ^ 100 show. They are those of FreeBSD's e_log.c, and powers by squares.
 */

const LN2_HIGH = 6.9314718036912381649e-1;
const LN2_LOW = 1.90821492927058770002e-10;
const L1 = 6.66666666666673513e-1;
const L2 = 3.999999999940941908e-1;
const L3 = 2.857142874366239149e-1;
const L4 = 2.222219843214978396e-1;
const L5 = 1.818357216161805012e-1;
const L6 = 1.531383769920937332e-1;
const L7 = 1.479819860511658591e-1;

const bits = new DataView(new ArrayBuffer(8));
const EXPONENT_BIAS = 1022;
const MIN_NORMAL = 2 ** -1022;

/** Of the last `split`: value = fraction * 2^exponent, with 0.5 <= |fraction| < 1. */
let fraction = 0;
let exponent = 0;

/** Go's Frexp, of a finite number that is not zero. */
function split(value: number): void {
  const isSmall = Math.abs(value) < MIN_NORMAL;
  bits.setFloat64(0, isSmall ? value * 2 ** 52 : value);
  const high = bits.getUint16(0);
  exponent = ((high >> 4) & 0x7ff) - EXPONENT_BIAS - (isSmall ? 52 : 0);
  bits.setUint16(0, (high & 0x800f) | (EXPONENT_BIAS << 4));
  fraction = bits.getFloat64(0);
}

/** value * 2^power with one rounding. */
function scale(value: number, power: number): number {
  if (value === 0 || !Number.isFinite(value)) return value;
  split(value);
  const to = exponent + power;
  if (to > 1024) return value > 0 ? Infinity : -Infinity;
  if (to < -1075) return value > 0 ? 0 : -0;
  // Below the normal numbers, the rest of the way is the only rounding.
  if (to < -1021) return fraction * 2 ** -1021 * 2 ** (to + 1021);
  return fraction * 2 * 2 ** (to - 1);
}

export function log(value: number): number {
  if (Number.isNaN(value) || value === Infinity) return value;
  if (value < 0) return NaN;
  if (value === 0) return -Infinity;
  split(value);
  let f1 = fraction;
  let k = exponent;
  if (f1 < Math.SQRT1_2) {
    f1 *= 2;
    k--;
  }
  const f = f1 - 1;
  const s = f / (2 + f);
  const s2 = s * s;
  const s4 = s2 * s2;
  const t1 = s2 * (L1 + s4 * (L3 + s4 * (L5 + s4 * L7)));
  const t2 = s4 * (L2 + s4 * (L4 + s4 * L6));
  const r = t1 + t2;
  const half = 0.5 * f * f;
  return k * LN2_HIGH - (half - (s * (half + r) + k * LN2_LOW) - f);
}

export function log2(value: number): number {
  if (!(value > 0) || value === Infinity) return log(value);
  split(value);
  const [of, power] = [fraction, exponent];
  if (of === 0.5) return power - 1;
  return log(of) * Math.LOG2E + power;
}

export function log10(value: number): number {
  return log(value) * Math.LOG10E;
}

export function pow(x: number, y: number): number {
  if (y === 0 || x === 1) return 1;
  if (y === 1) return x;
  if (Number.isNaN(x) || Number.isNaN(y)) return NaN;
  if (x === 0 || !Number.isFinite(x) || !Number.isFinite(y)) return limitPower(x, y);
  if (y === 0.5) return Math.sqrt(x);
  if (y === -0.5) return 1 / Math.sqrt(x);
  let whole = Math.trunc(Math.abs(y));
  let part = Math.abs(y) - whole;
  if (part !== 0 && x < 0) return NaN;
  // Such a whole number is even, and its power too large or too small.
  if (whole >= 2 ** 63) return x === -1 ? 1 : Math.abs(x) < 1 === y > 0 ? 0 : Infinity;
  let result = 1;
  let power = 0;
  if (part !== 0) {
    if (part > 0.5) {
      part--;
      whole++;
    }
    result = Math.exp(part * log(x));
  }
  split(x);
  let [square, squarePower] = [fraction, exponent];
  for (; whole !== 0; whole = Math.floor(whole / 2)) {
    if (squarePower < -4096 || squarePower > 4096) {
      power += squarePower;
      break;
    }
    if (whole % 2 === 1) {
      result *= square;
      power += squarePower;
    }
    square *= square;
    squarePower *= 2;
    if (square < 0.5) {
      square += square;
      squarePower--;
    }
  }
  return y < 0 ? scale(1 / result, -power) : scale(result, power);
}

/** Of zeros and infinities JavaScript has the same; but -1 to an infinite power is 1 in Go. */
function limitPower(x: number, y: number): number {
  return x === -1 ? 1 : x ** y;
}
