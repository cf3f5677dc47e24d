import type { Clock } from "#lib/clock.ts";
import { toBridgeError } from "#errors/error.ts";
import type { Logger } from "#telemetry/logger.ts";
import { type ApiToken, parseTokens, readTokensFile } from "./tokens.ts";

/** How often the file is read again. */
const INTERVAL_MS = 10_000;

const PROBLEM =
  "API_TOKENS_FILE can't be used as it is now (the log says why): the tokens that were read before stay in force";

export interface TokensReload {
  /** Warnings for the status: at most one, while the file can't be used. */
  warnings(): readonly string[];
  stop(): void;
}

/**
 * Reads API_TOKENS_FILE every 10 s and reports its tokens when it has changed. It compares the text instead of listening for events:
 * Kubernetes swaps a link far above a Secret's file, network file systems have no events, and a copy may keep the old time. A file that
 * can't be read or used changes nothing: one log line, and a warning in the status until it is usable again.
 */
export function startTokensReload(
  deps: { clock: Clock; logger: Logger },
  settings: { path: string; text: string; onTokens: (tokens: ApiToken[]) => void },
): TokensReload {
  let text = settings.text;
  let names = namesOf(parseTokens(text));
  let problem: string | undefined;
  let cancel: (() => void) | undefined;
  let stopped = false;

  const look = async (): Promise<void> => {
    try {
      const now = await readTokensFile(settings.path);
      if (stopped || (now === text && problem === undefined)) return;
      const tokens = parseTokens(now);
      if (now !== text) {
        settings.onTokens(tokens);
        deps.logger.info(
          changes(names, namesOf(tokens)),
          "API_TOKENS_FILE has changed: its tokens are in force",
        );
      } else deps.logger.info("API_TOKENS_FILE is again as it was before");
      text = now;
      names = namesOf(tokens);
      problem = undefined;
    } catch (thrown) {
      const error = toBridgeError(thrown, "tokens_file_invalid");
      if (stopped || error.message === problem) return;
      problem = error.message;
      deps.logger.error({ err: error }, PROBLEM);
    }
  };
  const wait = (): void => {
    cancel = deps.clock.after(INTERVAL_MS, () => {
      void look().then(() => {
        if (!stopped) wait();
      });
    });
  };
  wait();
  return {
    warnings: () => (problem === undefined ? [] : [PROBLEM]),
    stop: () => {
      stopped = true;
      cancel?.();
    },
  };
}

function namesOf(tokens: readonly ApiToken[]): string[] {
  return tokens.map((token) => token.name);
}

function changes(before: readonly string[], after: readonly string[]): Record<string, unknown> {
  return {
    names: after.length,
    added: after.filter((name) => !before.includes(name)),
    removed: before.filter((name) => !after.includes(name)),
  };
}
