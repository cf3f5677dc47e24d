import { gunzipSync } from "node:zlib";

// Compares plain and gzip answers of a real Prometheus: bytes, time and CPU of the source. Its data decide the ratio.
//   node test/bench/compression.ts http://127.0.0.1:9090 '{__name__=~".+"}[2m]' [REPEATS]
// The link at which gzip begins to pay is where sending the saved bytes takes longer than the source's additional CPU time.

const [, , base = "http://127.0.0.1:9090", query = '{__name__=~".+"}[2m]', repeats = "10"] = process.argv;

/** process_cpu_seconds_total has steps of 10 ms: several requests are measured together. */
async function cpuSeconds(): Promise<number> {
  const text = await (await fetch(`${base}/metrics`)).text();
  return Number(/^process_cpu_seconds_total (\S+)$/m.exec(text)?.[1]);
}

async function measure(
  encoding: string,
): Promise<{ wire: number; plain: number; seconds: number; cpu: number }> {
  const { request } = await import("undici");
  const before = await cpuSeconds();
  const started = performance.now();
  let wire = 0;
  let plain = 0;
  for (let i = 0; i < Number(repeats); i++) {
    const answer = await request(`${base}/api/v1/query`, {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", "accept-encoding": encoding },
      body: new URLSearchParams({ query }).toString(),
    });
    const bytes = Buffer.from(await answer.body.arrayBuffer());
    wire += bytes.length;
    plain += answer.headers["content-encoding"] === "gzip" ? gunzipSync(bytes).length : bytes.length;
  }
  const seconds = (performance.now() - started) / 1000;
  return { wire, plain, seconds, cpu: (await cpuSeconds()) - before };
}

const MIB = 1 << 20;
await measure("identity");
const plain = await measure("identity");
const gzip = await measure("gzip");
for (const [name, { wire, plain: size, seconds, cpu }] of Object.entries({ plain, gzip })) {
  const perMib = (value: number): string => ((value * 1000) / (size / MIB)).toFixed(1);
  console.log(
    `${name.padEnd(6)} ${(wire / MIB).toFixed(1)} MiB for ${(size / MIB).toFixed(1)} MiB of JSON; per MiB of JSON: ${perMib(cpu)} ms CPU of the source, ${perMib(seconds)} ms`,
  );
}
const border = (plain.wire - gzip.wire) / Math.max(gzip.cpu - plain.cpu, 0.001) / MIB;
console.log(
  `gzip is ${(plain.wire / gzip.wire).toFixed(1)} times smaller; it pays below ${border.toFixed(0)} MiB/s`,
);
