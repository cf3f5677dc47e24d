import { BridgeError } from "#errors/error.ts";
import type { Database } from "./database.ts";

/** The oldest ClickHouse on which every migration and query has run. 25.5 has not got the timeSeries*ToGrid functions under today's setting. */
export const VERSION_MIN = "25.8";

/** The server's version, `25.8.2.1`. */
export async function readServerVersion(database: Database, signal: AbortSignal): Promise<string> {
  const rows = await database.query<{ version: string }>("SELECT version() AS version", {}, signal);
  return rows[0]?.version ?? "";
}

export function isSupported(version: string): boolean {
  const [year = 0, month = 0] = version.split(".").map(Number);
  const [yearMin = 0, monthMin = 0] = VERSION_MIN.split(".").map(Number);
  return year > yearMin || (year === yearMin && month >= monthMin);
}

/** Throws `storage_version_unsupported` when the server is older than `VERSION_MIN`, and what a Database throws. */
export async function requireServerVersion(database: Database, signal: AbortSignal): Promise<string> {
  const version = await readServerVersion(database, signal);
  if (isSupported(version)) return version;
  throw new BridgeError(
    "storage_version_unsupported",
    `ClickHouse ${version} is too old: ${VERSION_MIN} or newer is needed`,
    { details: { version, version_min: VERSION_MIN } },
  );
}
