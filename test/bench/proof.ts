import { Agent } from "undici";
import { systemClock } from "#lib/clock.ts";
import { createTurns } from "#lib/turns.ts";
import { toQueries, type Query } from "#prometheus/catalogue.ts";
import { createPrometheusClient } from "#prometheus/client.ts";

// What the proof of completeness costs a real Prometheus, as a share of the collection: CPU by its own process_cpu_seconds_total, and requests.
//   PROMETHEUS_URL=http://localhost:9090 node test/bench/proof.ts
// It should hold at least an hour of samples. MINUTES: the length of time that is read and counted (default: the last 60).

const MINUTE = 60_000;
const ROUND = 5 * MINUTE;
const QUERIES = 42;
const JOINT = 16;
/** Comparisons of each stretch. */
const COMPARISONS = 2;
const REPEATS = Number(process.env["REPEATS"] ?? 20);

const url = process.env["PROMETHEUS_URL"];
if (url === undefined) {
  process.stdout.write(
    "proof: skipped; it needs a Prometheus with an hour of samples: PROMETHEUS_URL=http://...\n",
  );
  process.exit(0);
}
const minutes = Number(process.env["MINUTES"] ?? 60);
const agent = new Agent();
const client = createPrometheusClient(
  { dispatcher: agent, clock: systemClock, turns: createTurns() },
  { origin: new URL(url).origin, pathPrefix: "", timeoutMs: 30_000 },
);
const { signal } = new AbortController();

async function cpuSeconds(): Promise<number> {
  const text = await (await fetch(`${url}/metrics`)).text();
  return Number(/^process_cpu_seconds_total (\S+)$/m.exec(text)?.[1]);
}

async function measure(what: () => Promise<number>): Promise<{ cpuMs: number; requests: number }> {
  const before = await cpuSeconds();
  let requests = 0;
  for (let i = 0; i < REPEATS; i++) requests += await what();
  const cpuMs = ((await cpuSeconds()) - before) * 1000;
  return { cpuMs: cpuMs / REPEATS, requests: requests / REPEATS };
}

const toMs = Math.floor(Date.now() / MINUTE) * MINUTE;
const fromMs = toMs - minutes * MINUTE;
const found = (await (await fetch(`${url}/api/v1/label/__name__/values`)).json()) as { data: string[] };
const specs = found.data.slice(0, QUERIES).map((name) => ({ name, promql: name, group: "bench" }));
const queries = toQueries(specs) as (Query & { kind: "selector" })[];

let samples = 0;
const collection = await measure(async () => {
  let requests = 0;
  samples = 0;
  for (const query of queries) {
    for (let at = fromMs; at < toMs; at += ROUND) {
      const hooks = { sink: { series: () => undefined }, pause: () => undefined };
      const result = await client.read(query, { fromMs: at, toMs: at + ROUND }, hooks, signal);
      samples += result.samples;
      requests++;
    }
  }
  return requests;
});
let counted = 0;
const proof = await measure(async () => {
  counted = 0;
  let requests = 0;
  for (let at = 0; at < queries.length; at += JOINT) {
    const selectors = queries.slice(at, at + JOINT).map(({ selector }) => selector);
    for (let i = 0; i < COMPARISONS; i++) {
      const counts = await client.countSamples(selectors, { fromMs, toMs }, signal);
      if (i === 0) counted += counts.reduce((sum, each) => sum + each, 0);
      requests++;
    }
  }
  return requests;
});
const share = (a: number, b: number): string => `${((100 * a) / b).toFixed(1)} %`;
process.stdout.write(
  [
    `proof: ${queries.length} queries, ${minutes} minutes, ${samples} samples read, ${counted} counted`,
    `collection: ${collection.requests} requests, ${collection.cpuMs.toFixed(1)} ms of Prometheus' CPU`,
    `proof:      ${proof.requests} requests (${share(proof.requests, collection.requests)}), ${proof.cpuMs.toFixed(1)} ms (${share(proof.cpuMs, collection.cpuMs)})`,
    "",
  ].join("\n"),
);
await agent.destroy();
