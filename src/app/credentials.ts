import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Cluster } from "#clusters/cluster.ts";
import { readKeyFiles, writeKeyFile } from "#clusters/key-files.ts";
import { loadKeyring, watchKeyring, type DirectoryKeyring } from "#clusters/keyring.ts";
import { holdsPlaintext, plaintextWarning } from "#collect/cluster-state.ts";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Lifecycle } from "#lib/lifecycle.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Config } from "#config.ts";

/** Secrets in a Pod follow their object about a minute later. */
const WATCH_INTERVAL_MS = 60_000;
const NAMED_MAX = 20;

/**
 * The keys that seal and open clusters' credentials: those of CREDENTIALS_KEYS_DIR; without it the role all-in-one makes a key of its own
 * in DATA_DIR/keys, and a bridge has none. The directory is watched until the program ends.
 */
export async function startKeyring(
  config: Config,
  base: { clock: Clock; logger: Logger; lifecycle: Lifecycle },
): Promise<DirectoryKeyring | undefined> {
  const { clock, logger, lifecycle } = base;
  const given = config.CREDENTIALS_KEYS_DIR;
  if (given === undefined && config.ROLE !== "all-in-one") return undefined;
  const directory = given ?? (await ownKeys(config.DATA_DIR, base));
  const keyring = await loadKeyring(directory, { clock, logger });
  const stopWatching = watchKeyring(keyring, clock, WATCH_INTERVAL_MS);
  lifecycle.onStop("keyring", () => Promise.resolve(stopWatching()));
  return keyring;
}

async function ownKeys(
  dataDirectory: string,
  { clock, logger }: { clock: Clock; logger: Logger },
): Promise<string> {
  const directory = join(dataDirectory, "keys");
  try {
    await mkdir(dataDirectory, { recursive: true });
    await mkdir(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    const code = error instanceof Error && "code" in error ? ` (${String(error.code)})` : "";
    throw new BridgeError("state_unavailable", `${directory} can't be made${code}`, { cause: error });
  }
  const { keys, problems } = await readKeyFiles(directory);
  if (keys.length > 0 || problems.length > 0) return directory;
  const file = join(directory, await writeKeyFile(directory, clock.now()));
  logger.info(
    { file },
    "made the key that seals clusters' credentials; what it sealed can't be opened without it",
  );
  return directory;
}

/** Says once which clusters' credentials lie in clear text in CLUSTERS_FILE. */
export function warnOfPlaintext(clusters: readonly Cluster[], logger: Logger): void {
  const ids = clusters.filter(holdsPlaintext).map(({ id }) => id);
  if (ids.length === 0) return;
  logger.warn({ clusters: ids.slice(0, NAMED_MAX), count: ids.length }, plaintextWarning);
}
