/** Mixes `value` (any integer below 2^53) into a 32-bit hash; the finalizer is MurmurHash3's. */
export function mix(hash: number, value: number): number {
  let mixed = hash ^ (value | 0) ^ Math.imul(Math.floor(value / 4294967296), 0x9e3779b1);
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35);
  return (mixed ^ (mixed >>> 16)) >>> 0;
}

/** A 32-bit hash of a text (FNV-1a over UTF-16 units, mixed). */
export function hashText(text: string, seed = 0): number {
  let hash = (0x811c9dc5 ^ seed) >>> 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  return mix(hash >>> 0, text.length);
}

/** A hash as a fraction in [0, 1). */
export function fraction(hash: number): number {
  return hash / 4294967296;
}

/** A UUID (version 4 in form) that is a function of the hash. */
export function uuidOf(hash: number): string {
  const hex = [1, 2, 3, 4].map((part) => mix(hash, part).toString(16).padStart(8, "0")).join("");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}
