import { join } from "node:path";
import { BridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import type { Lifecycle } from "#lib/lifecycle.ts";
import { createDaprStore } from "#state/dapr-store.ts";
import { createSqliteStore } from "#state/sqlite-store.ts";
import type { StateStore } from "#state/store.ts";
import { waitForStore } from "#state/wait-for-store.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Config } from "#config.ts";

/** Dapr's sidecar starts beside the program, and after it where the program's address is the sidecar's as well. */
const WAIT = { timeoutMs: 30_000, pauseMs: 500 };

/** The records that nothing can make again: the registered clusters and, as sealed envelopes, their credentials; since when each was collected. */
const REGISTRY = ["cluster:", "clusters:"];
const BEGINS = ["collected:"];

/** Opens the state store that the configuration names: Dapr's, or a file in DATA_DIR. */
export async function startStateStore(
  config: Config,
  base: { clock: Clock; logger: Logger; lifecycle: Lifecycle },
): Promise<StateStore> {
  const { clock, logger, lifecycle } = base;
  if (config.DAPR_STATE_STORE === undefined) {
    const path = join(config.DATA_DIR, "state.sqlite");
    const copy = {
      path: join(config.DATA_DIR, "registry-copy.sqlite"),
      prefixes: [...REGISTRY, ...BEGINS],
      merged: BEGINS,
    };
    const store = createSqliteStore({ path, copy, logger });
    lifecycle.onStop("state store", () => store.close());
    return store;
  }
  const store = await createDaprStore(
    { clock },
    {
      storeName: config.DAPR_STATE_STORE,
      port: config.DAPR_HTTP_PORT,
      ...(config.DAPR_API_TOKEN ? { apiToken: config.DAPR_API_TOKEN } : {}),
    },
  );
  const stopped = new AbortController();
  lifecycle.onStop("state store", () => {
    stopped.abort(new BridgeError("shutting_down", "stopped while waiting for the state store"));
    return store.close();
  });
  await waitForStore(store, { clock, logger }, WAIT, stopped.signal);
  return store;
}
