import type { Transport } from "#otlp/transport.ts";
import { passed, type StepRunner } from "./step-runner.ts";

/**
 * Sends the Collector an OTLP request without any metric, which a receiver answers like any other. That it also stores is seen only with data.
 * Without a transport the step is left out.
 */
export function collectorStep(runner: StepRunner, transport: Transport | undefined): void {
  if (!transport) return;
  runner.step("collector", "The Collector accepts OTLP", [], async (signal) => {
    const result = await transport.send(await transport.encode(Buffer.alloc(0)), signal);
    if ("error" in result) throw result.error;
    return passed(undefined, "it accepts an empty request; whether it stores shows with data");
  });
}
