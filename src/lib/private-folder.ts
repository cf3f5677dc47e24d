import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/**
 * Makes a temporary folder (mode 0700) for secrets of this process. It is removed when the process ends in whatever way but by SIGKILL: also by
 * process.exit in the middle of an orderly end. Throws a system error when the temporary directory can't be written.
 */
export function createPrivateFolder(prefix: string): string {
  const path = mkdtempSync(join(tmpdir(), prefix));
  process.on("exit", () => {
    try {
      // Other threads may still write into it at that moment.
      rmSync(path, { recursive: true, force: true, maxRetries: 5, retryDelay: 20 });
    } catch (error) {
      process.stderr.write(`The temporary folder ${path} can't be removed; delete it. ${String(error)}\n`);
    }
  });
  return path;
}
