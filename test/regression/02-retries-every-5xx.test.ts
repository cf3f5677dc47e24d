import { expect, it } from "vitest";
import { ACCEPT, isOwn, refusal } from "../helpers/otlp-collector.ts";
import { setScene } from "../helpers/scene.ts";

// The OTLP specification allows to try again after 429, 502, 503 and 504 alone, and asks to heed Retry-After and to use jitter.

const environment = { EXPORT_RETRY_MAX_ELAPSED: "60" };

it.each([
  [400, 0],
  [408, 0],
  [500, 0],
  [501, 0],
  [505, 0],
  [429, 1],
  [502, 1],
  [503, 1],
  [504, 1],
])("after %d: %d retries", async (status, retries) => {
  const { bridge, clock, collector } = await setScene({ environment });
  let refused = 0;
  collector.onRequest = ({ points }) => (points.every(isOwn) || refused++ > 0 ? ACCEPT : refusal(status));
  await bridge.collect();
  expect(clock.naps).toHaveLength(retries);
});

it("heeds Retry-After, and waits a share of the time that chance decides otherwise", async () => {
  const { bridge, clock, collector } = await setScene({ environment });
  let refused = 0;
  collector.onRequest = ({ points }) => {
    if (points.every(isOwn) || refused > 1) return ACCEPT;
    return refusal(503, "busy", refused++ === 0 ? { "retry-after": "12" } : {});
  };
  expect(await bridge.collect()).toMatchObject({ successful: 1 });
  // The bridge's chance is fixed at one half here: 2 s of backoff become 1.5 s.
  expect(clock.naps).toEqual([12_000, 1500]);
});

it("a partial success is no whole one", async () => {
  const { bridge, collector } = await setScene();
  const refuses = ({ metric }: { metric: string }): boolean => metric === "up";
  collector.onRequest = ({ points }) =>
    points.some(refuses) ? { kind: "partial", refuses, message: "no" } : ACCEPT;
  const refused = (await bridge.collect()).clusters[0]!;
  expect(refused.outcome).toBe("partial");
  const { gaps } = await bridge.statusOf("sim-1");
  expect(gaps.map(({ state }) => state)).toContain("refused");
});
