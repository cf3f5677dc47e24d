import type { Transport } from "#otlp/transport.ts";
import { passed, type Walk } from "./walk.ts";

/**
 * Sends the Collector an OTLP request without any metric, which a receiver answers like any other. That it also stores is seen only with data.
 * Without a transport the step is left out.
 */
export function collectorStep(walk: Walk, transport: Transport | undefined): void {
  if (!transport) return;
  walk.step("collector", "The Collector accepts OTLP", [], async (signal) => {
    const result = await transport.send(await transport.encode(Buffer.alloc(0)), signal);
    if ("error" in result) throw result.error;
    return passed(undefined, "it accepts an empty request; whether it stores shows with data");
  });
}
