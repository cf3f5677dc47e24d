import { once } from "node:events";
import { spawn } from "node:child_process";
import { expect, onTestFinished, test } from "vitest";
import type { CollectionStatus } from "#collect/status.ts";
import { demoConfig } from "../../simulator/demo.ts";

// The README's first command, as users run it.
test("the demo shows a round's table, its URLs answer, and Ctrl-C ends it", async () => {
  const { PATH = "" } = process.env;
  const child = spawn(process.execPath, ["src/main.ts", "demo"], { env: { PATH, PORT: "0" } });
  const ended = once(child, "close");
  onTestFinished(async () => {
    child.kill("SIGKILL");
    await ended;
  });
  let output = "";
  const shown = new Promise<void>((resolve, reject) => {
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (output.includes("Ctrl-C ends")) resolve();
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => (output += text));
    void ended.then(() => reject(new Error(`it ended: ${output}`)));
  });
  await shown;
  expect(output).toMatch(/^sim-1 +frankfurt +healthy +\d+ +\d+ /m);
  expect(output).toMatch(/^sim-3 +mumbai +healthy .* node,pod /m);
  const printed = /curl -s '(http:\/\/127\.0\.0\.1:\d+\/metrics\/status)'/.exec(output)?.[1] ?? "";
  const status = (await (await fetch(printed)).json()) as CollectionStatus;
  expect(status.clusters.map((cluster) => cluster.state)).toEqual(["healthy", "healthy", "healthy"]);
  const body = /-d '(\{.*\})'/.exec(output)?.[1] ?? "";
  const answer = await fetch(new URL("/cluster-metrics/query", printed), {
    method: "POST",
    headers: { "content-type": "application/json" },
    body,
  });
  expect(answer.status).toBe(200);
  expect(((await answer.json()) as { series: unknown[] }).series).toHaveLength(1);
  child.kill("SIGINT");
  await ended;
  expect(child.exitCode).toBe(0);
});

test("the demo's first round may take longer than its short interval, on a busy machine", async () => {
  const config = await demoConfig("/nowhere", { PORT: "0" });
  expect(config.CLUSTER_DEADLINE).toBeGreaterThanOrEqual(120_000);
  expect(config.CLUSTER_DEADLINE).toBeGreaterThan(config.COLLECTION_INTERVAL);
});
