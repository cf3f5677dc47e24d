import { statfs } from "node:fs/promises";
import { BridgeError } from "#errors/error.ts";

/** Below it, the engine's own small files (a table's definition, say) might be left empty. */
const FREE_BYTES_MIN = 4 << 20;

/** Throws `storage_unavailable` when the disk under the folder is as good as full. */
export async function requireFreeSpace(path: string): Promise<void> {
  const { bavail, bsize } = await statfs(path);
  if (bavail * bsize < FREE_BYTES_MIN) throw diskFull(path, undefined);
}

/** Is it a failure of the operating system because the disk, or the quota, is used up? */
export function isDiskFull(error: unknown): boolean {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOSPC" || code === "EDQUOT";
}

export function diskFull(path: string, cause: unknown): BridgeError {
  return new BridgeError("storage_unavailable", `the disk under ${path} is full`, {
    ...(cause === undefined ? {} : { cause }),
    hint: "Free space on the disk of DATA_DIR. Nothing is lost: what could not be stored is read from Prometheus again, back to MAX_BACKFILL.",
  });
}
