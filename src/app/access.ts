import type { AccessSettings } from "#http/auth.ts";
import { refuseOpenBind } from "#http/loopback.ts";
import type { HttpServer } from "#http/server.ts";
import { startTokensReload } from "#http/tokens-reload.ts";
import { parseTokens, readTokensFile } from "#http/tokens.ts";
import type { Clock } from "#lib/clock.ts";
import type { Lifecycle } from "#lib/lifecycle.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Config } from "#config.ts";

const AUTH_OFF =
  "AUTH_ENABLED=false: everybody who reaches this server may read everything and change everything";

/** The callers that may use the HTTP API, as configured. */
export interface AppAccess {
  settings: AccessSettings;
  /** For the status and /readyz. */
  warnings(): readonly string[];
  /** From now on the server has the tokens of API_TOKENS_FILE as it is, until the program ends. */
  follow(server: Pick<HttpServer, "replaceTokens">): void;
}

/** Throws tokens_file_invalid, and config_invalid: the server would be open to the network though AUTH_ENABLED is not false. */
export async function loadAccess(
  config: Config,
  { clock, logger, lifecycle }: { clock: Clock; logger: Logger; lifecycle: Lifecycle },
): Promise<AppAccess> {
  const { AUTH_ENABLED: enabled, API_TOKENS_FILE: path, APP_API_TOKEN: daprToken } = config;
  if (!enabled) {
    logger.warn({ host: config.HOST }, AUTH_OFF);
    return { settings: { enabled, tokens: [] }, warnings: () => [AUTH_OFF], follow: () => {} };
  }
  const text = path === undefined ? undefined : await readTokensFile(path);
  const tokens = text === undefined ? [] : parseTokens(text);
  refuseOpenBind(config.HOST, tokens.length > 0 || daprToken !== undefined);
  let warnings = (): readonly string[] => [];
  return {
    settings: { tokens, ...(daprToken ? { daprToken } : {}) },
    warnings: () => warnings(),
    follow: (server) => {
      if (path === undefined || text === undefined) return;
      const reload = startTokensReload(
        { clock, logger },
        { path, text, onTokens: (changed) => server.replaceTokens(changed) },
      );
      warnings = () => reload.warnings();
      lifecycle.onStop("tokens file", () => reload.stop());
    },
  };
}
