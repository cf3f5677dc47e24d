import { afterAll, beforeAll, expect, it } from "vitest";
import type { Collection, RoundTrigger } from "#collect/status.ts";
import { ACCESS, type Harness, startHarness, STATUS, TOKENS } from "./http-harness.ts";

let open: Harness;
let guarded: Harness;
let triggers: RoundTrigger[];
beforeAll(async () => {
  const collection: Collection = {
    start: async (trigger) => {
      triggers.push(trigger);
      const round = { ...STATUS.last_round!, trigger };
      return { round, busy: [], done: Promise.resolve(round) };
    },
    status: async () => STATUS,
  };
  open = await startHarness({ deps: { collection } });
  guarded = await startHarness({ access: ACCESS, deps: { collection } });
});
afterAll(async () => {
  await open.server.stop();
  await guarded.server.stop();
});

async function triggerOf(harness: Harness, headers: Record<string, string>): Promise<string> {
  triggers = [];
  const answer = await fetch(`${harness.url}/metrics/collect-all`, { method: "POST", headers });
  expect(answer.status).toBe(200);
  const { round } = (await answer.json()) as { round: { trigger: string } };
  expect(triggers).toEqual([round.trigger]);
  return round.trigger;
}

// The request that daprd 1.18 sends for its cron binding: the binding's metadata as headers, the body's type, and the token if it has one.
const CRON = { "content-type": "application/json", readtimeutc: "2025-06-01 12:00:00", timezone: "Local" };

it.each<[string, string, Record<string, string>]>([
  ["request", "curl", {}],
  ["request", "a program that sends JSON", { "content-type": "application/json" }],
  [
    "request",
    "a program that traces",
    { traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
  ],
  ["dapr", "the cron binding", CRON],
  ["dapr", "the cron binding with a token that nobody asks for", { ...CRON, "dapr-api-token": "x" }],
  ["dapr", "another application through its sidecar", { "dapr-caller-app-id": "scheduler" }],
])("without tokens the trigger is %s for %s", async (trigger, _name, headers) => {
  expect(await triggerOf(open, headers)).toBe(trigger);
});

it.each<[string, string, Record<string, string>]>([
  ["request", "a caller with a token", { authorization: `Bearer ${TOKENS.collect}` }],
  ["request", "a caller who only looks like Dapr", { ...CRON, authorization: `Bearer ${TOKENS.collect}` }],
  [
    "request",
    "a caller with a wrong token of Dapr",
    { authorization: `Bearer ${TOKENS.collect}`, "dapr-api-token": "guess" },
  ],
  ["dapr", "the cron binding", { ...CRON, "dapr-api-token": TOKENS.dapr }],
  ["dapr", "the token alone", { "dapr-api-token": TOKENS.dapr }],
  [
    "dapr",
    "Dapr with a caller's token",
    { authorization: `Bearer ${TOKENS.collect}`, "dapr-api-token": TOKENS.dapr },
  ],
])("with tokens the trigger is %s for %s", async (trigger, _name, headers) => {
  expect(await triggerOf(guarded, headers)).toBe(trigger);
});
