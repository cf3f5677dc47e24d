import { mkdtempSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { Simulator } from "#simulator/simulator.ts";
import { startBridgeChild, type BridgeChild } from "./bridge-child.ts";
import type { OtlpCollector } from "./otlp-collector.ts";
import { bridgeEnvironment } from "./test-bridge.ts";

/** What the main process' loop and memory were like at worst. */
interface Watched {
  heldMs: number;
  rssBytes: number;
}

export interface WatchedBridge extends BridgeChild {
  /** What was worst since the last `watch`, or since the start. */
  watched(): Watched;
  /** From now on. */
  watch(): void;
}

/** A bridge as a process of its own with the chart's heap, in a new folder of `folder`, whose loop and memory are watched. Its times are short: for hostile sources. */
export function startWatchedBridge(
  folder: string,
  parts: { simulator: Simulator; collector: OtlpCollector },
  environment: Readonly<Record<string, string>> = {},
): WatchedBridge {
  const directory = mkdtempSync(join(folder, "watched-"));
  const file = join(directory, "watched.json");
  const child = startBridgeChild({
    ...bridgeEnvironment(directory, parts),
    NODE_OPTIONS: `--max-old-space-size=752 --import=${resolve("test/helpers/watch-loop.ts")}`,
    WATCHED_FILE: file,
    METRICS_COLLECTION_TIMEOUT: "20",
    EXPORT_TIMEOUT: "20",
    CLUSTER_DEADLINE: "30",
    LOG_LEVEL: "info",
    ...environment,
  });
  return {
    ...child,
    watched: () => JSON.parse(readFileSync(file, "utf8")) as Watched,
    watch: () => void process.kill(child.pid, "SIGUSR2"),
  };
}
