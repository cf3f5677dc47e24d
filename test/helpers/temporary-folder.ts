import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";

/** A new folder that is removed after the test file. */
export function createTemporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "bridge-test-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
