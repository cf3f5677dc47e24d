/**
 * DCGM writes "no value" as a number, and exporters send it as a sample: DCGM_INT32_BLANK to _NOT_PERMISSIONED and the reserved ones behind (0x7ffffff0 ...), the same of
 * INT64 (0x7ffffffffffffff0 ...), and of FP64 (2^47 ...): dcgm_structs.h and dcgmvalue.h of NVIDIA/DCGM, its issues #199 and #202. Other drivers write all bits of
 * 32 (4294967295) or of 64.
 */
const BLANKS: readonly number[] = [
  ...Array.from({ length: 16 }, (_, i) => 2 ** 31 - 16 + i),
  2 ** 32 - 1,
  ...Array.from({ length: 16 }, (_, i) => 2 ** 47 + i),
];
const blanks = new Set(BLANKS);
/** Nothing that a GPU, a node or a Pod has is so large; the kubelet says 2^63 bytes of memory where it knows none (google/cadvisor#685). */
const LARGEST = 2 ** 62;

/** Is this number of a GPU's sample no value? It is stored as it came, and no answer uses it. */
export function isBlankNumber(value: number): boolean {
  return !(Math.abs(value) < LARGEST) || blanks.has(value);
}

/** SQL: the number of a sample of a node or a Pod is a value. GPUs have more numbers that are none (`isBlankNumber`). */
export function measuredNumberSql(value: string): string {
  return `abs(${value}) < ${LARGEST}`;
}

/** SQL of `isBlankNumber`: a list is planned faster than ranges. */
export function blankNumberSql(value: string): string {
  return `(NOT abs(${value}) < ${LARGEST} OR ${value} IN (${BLANKS.join(", ")}))`;
}
