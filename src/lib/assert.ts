/** States an invariant that the code around it relies on and no input can break. A false one is a defect of the program. */
export function assert(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${invariant}`);
}
