import { createClusterWork } from "#app/cluster-work.ts";
import type { WorkSettings } from "#app/work-settings.ts";
import { systemClock } from "#lib/clock.ts";
import { collectGarbage } from "#lib/collect-garbage.ts";
import { createLogger } from "#telemetry/logger.ts";
import type { FromWorker, ToWorker } from "#workers/messages.ts";
import { serve } from "#workers/serve.ts";

/**
 * A collection worker: a process of its own that the program starts and talks to over the channel of child_process.fork. It keeps nothing: its
 * records are in the main process, and the credentials of a cluster come when its collection begins.
 */
const ALIVE_MS = 1000;

// The main process decides when a worker ends; a terminal sends its signals to both.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
process.on("disconnect", () => process.exit(0));

const send = (message: FromWorker): void => {
  if (process.connected) process.send!(message);
};
const beat = (): void => {
  send({ type: "alive", rssBytes: process.memoryUsage.rss() });
  systemClock.after(ALIVE_MS, beat);
};
beat();
serve(
  { send, onMessage: (receive) => void process.on("message", (message) => receive(message as ToWorker)) },
  async (given, ports) => {
    const settings = given as WorkSettings;
    const { collector, config } = settings;
    const secrets = Object.values(collector.headers ?? {});
    const logger = createLogger({ level: config.LOG_LEVEL, secrets });
    const work = await createClusterWork(settings, {
      clock: systemClock,
      random: Math.random,
      logger,
      ports,
    });
    collectGarbage();
    return work;
  },
);
