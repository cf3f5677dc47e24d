import { describe, expect, test } from "vitest";
import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { loadConfig } from "../../src/config.ts";
import { CHART, find, GIVEN_KEYS, HELM, overlay, render, run, type KubeObject, type Values } from "./helm.ts";
import { environmentOf } from "./pods.ts";

const WITH_DAPR = overlay(GIVEN_KEYS, { scheduler: "dapr" });

function scheduleOf(component: KubeObject): string | undefined {
  const { metadata } = component["spec"] as { metadata: { name: string; value: string }[] };
  return metadata.find(({ name }) => name === "schedule")?.value;
}

async function notesOf(values: Values): Promise<string> {
  const args = ["--dry-run=client", "--namespace", "bud-system", "--values=-", "-o", "json"];
  const { ok, stdout, stderr } = await run(
    HELM,
    ["install", "bud", CHART, ...args],
    JSON.stringify(overlay(WITH_DAPR, values)),
  );
  if (!ok) throw new Error(stderr);
  return (JSON.parse(stdout) as { info: { notes: string } }).info.notes;
}

describe("Dapr's cron schedule follows collection.interval", () => {
  test.each([
    [300, "0 */5 * * * *"],
    ["5m", "0 */5 * * * *"],
    [60, "0 */1 * * * *"],
    ["15", "*/15 * * * * *"],
    ["1.5m", "@every 90s"],
    [7, "@every 7s"],
    [420, "@every 420s"],
    ["1h", "0 0 */1 * * *"],
    [7200, "0 0 */2 * * *"],
    ["5h", "@every 18000s"],
    ["1d", "0 0 0 * * *"],
    ["120000ms", "0 */2 * * * *"],
  ])("%s: %s", async (interval, schedule) => {
    const objects = await render(overlay(WITH_DAPR, { collection: { interval } }));
    expect(scheduleOf(find(objects, "Component", "metrics-collection-cron"))).toBe(schedule);
    expect(environmentOf(objects, "budcluster")["COLLECTION_INTERVAL"]).toBe(String(interval));
  });

  test("a given schedule is used as it is", async () => {
    const objects = await render(overlay(WITH_DAPR, { collection: { schedule: "15 */5 * * * *" } }));
    expect(scheduleOf(find(objects, "Component", "metrics-collection-cron"))).toBe("15 */5 * * * *");
  });
});

describe("a schedule that disagrees with collection.interval is a warning of the installation", () => {
  test.each([
    ["0 */10 * * * *", 300, 600],
    ["@every 1m30s", 60, 90],
    ["@every 2h", "1h", 7200],
    ["30 * * * * *", 300, 60],
    ["0 0 * * * *", "5m", 3600],
    ["0 15 */6 * * *", "1h", 21600],
    ["0 30 4 * * *", "1h", 86400],
    ["*/30 * * * * *", "1m", 30],
    ["* * * * * *", 300, 1],
  ])("%s and %s", async (schedule, interval, seconds) => {
    expect(await notesOf({ collection: { schedule, interval } })).toContain(
      `WARNING: collection.schedule (${schedule}) calls every ${seconds} s`,
    );
  });

  test.each([
    ["0 */5 * * * *", 300],
    ["30 2/5 * * * *", "5m"],
    ["@every 1m30s", "1.5m"],
    ["0 0 * * * *", 3600],
    ["0 0 0 * * *", "24h"],
    // The chart does not parse this form's interval: the bridge measures it.
    ["0 1,6,31 * * * *", 300],
    ["", 420],
  ])("%s and %s agree", async (schedule, interval) => {
    expect(await notesOf({ collection: { schedule, interval } })).not.toContain(
      "WARNING: collection.schedule",
    );
  });
});

describe("the shipped files agree with the interval that goes with them", () => {
  const component = (folder: string): KubeObject =>
    parse(readFileSync(`${folder}/components/metrics-collection-cron.yaml`, "utf8")) as KubeObject;

  test("dapr/: the program's default", () => {
    expect(scheduleOf(component("dapr"))).toBe("0 */5 * * * *");
    expect(loadConfig({}).COLLECTION_INTERVAL).toBe(300_000);
    expect(readFileSync("dapr/dapr.yaml", "utf8")).not.toContain("COLLECTION_INTERVAL");
  });

  test("compose.yaml: a minute", () => {
    const { services } = parse(readFileSync("compose.yaml", "utf8"), { merge: true }) as {
      services: Record<string, { environment?: Record<string, string> }>;
    };
    const intervals = Object.values(services).map((each) => each.environment?.["COLLECTION_INTERVAL"]);
    expect(intervals.filter((each) => each !== undefined)).toEqual(["60", "60"]);
    expect(scheduleOf(component("compose"))).toBe("0 * * * * *");
  });
});
