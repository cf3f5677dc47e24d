import { pino } from "pino";
import type { Logger } from "#telemetry/logger.ts";

export function createSilentLogger(): Logger {
  return pino({ level: "silent" });
}
