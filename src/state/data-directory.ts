import { chmodSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { BridgeError } from "#errors/error.ts";
import type { Logger } from "#telemetry/logger.ts";
import { toStateError } from "./state-errors.ts";

const OTHERS = 0o007;
const GROUP = 0o070;
const SET_GID = 0o2000;
/** Files that the program and file systems put into DATA_DIR. */
const OWN = /^(state\.sqlite.*|registry-copy\.sqlite.*|keys|clickhouse(\.damaged)?|lost\+found)$/;

/**
 * Makes DATA_DIR with mode 0700. An existing folder that other users may enter is closed to them when it is this user's and holds only what the
 * program puts there: DATA_DIR=/tmp, or a home folder, must not be closed to everybody else. The group keeps its rights in a folder with the
 * set-group-ID bit, as Kubernetes makes volumes with an fsGroup (2770). When nothing can be changed, the program logs a warning and starts.
 *
 * Throws `state_unavailable` when there is no such folder and none can be made.
 */
export function prepareDataDirectory(path: string, logger: Pick<Logger, "info" | "warn">): void {
  let stats;
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
    stats = statSync(path);
  } catch (error) {
    throw toDirectoryError(error, path);
  }
  const mode = stats.mode & 0o7777;
  const wanted = mode & ~(OTHERS | ((mode & SET_GID) === 0 ? GROUP : 0));
  if (wanted === mode) return;
  const shown = { path, mode: mode.toString(8) };
  const problem = whyNot(path, stats.uid) ?? tryChange(path, wanted);
  if (problem === undefined)
    logger.info({ ...shown, now: wanted.toString(8) }, "closed DATA_DIR to other users");
  else if ((mode & OTHERS) !== 0) {
    logger.warn(
      { ...shown, problem },
      "other users of this machine may enter DATA_DIR; its files are for their owner only. Give the program a folder of its own (mode 0700)",
    );
  }
}

function whyNot(path: string, owner: number): string | undefined {
  if (process.geteuid?.() !== owner) return `the folder belongs to the user ${owner}`;
  try {
    const other = readdirSync(path).find((name) => !OWN.test(name));
    return other === undefined ? undefined : `the folder also holds ${JSON.stringify(other.slice(0, 80))}`;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function tryChange(path: string, mode: number): string | undefined {
  try {
    chmodSync(path, mode);
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function toDirectoryError(error: unknown, path: string): BridgeError {
  const known = toStateError(error, `${path}/state.sqlite`, () => "");
  const text = error instanceof Error ? error.message : String(error);
  return new BridgeError(known.code, `DATA_DIR ${path} can't be made: ${text}`, {
    cause: error,
    hint: "Set DATA_DIR to a folder that the user of this program can make or write to.",
  });
}
