import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { createLogger } from "#telemetry/logger.ts";
import { createApp } from "#app/app.ts";
import { loadConfig } from "../../src/config.ts";
import { createManualClock } from "../helpers/manual-clock.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";

// The program itself in the role query, whose ClickHouse is not there: nothing here asks it.

const TOKENS = { first: "first-token-0123456789", second: "second-token-0123456789" };
const file = join(createTemporaryFolder(), "tokens.yaml");

const ends: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

function writeTokens(...names: (keyof typeof TOKENS)[]): void {
  const tokens = names.map((name) => ({
    name,
    sha256: createHash("sha256").update(TOKENS[name]).digest("hex"),
    scopes: ["read"],
  }));
  writeFileSync(file, JSON.stringify(tokens));
}

async function start(environment: Record<string, string>) {
  const lines: { level: string; msg: string }[] = [];
  const waiting: { text: string; resolve: () => void }[] = [];
  const logger = createLogger({
    level: "info",
    destination: {
      write: (text) => {
        const line = JSON.parse(text) as (typeof lines)[number];
        lines.push(line);
        for (const each of waiting) if (line.msg.includes(each.text)) each.resolve();
      },
    },
  });
  const clock = createManualClock();
  const config = loadConfig({
    ROLE: "query",
    PORT: "0",
    CLICKHOUSE_URL: "http://127.0.0.1:1",
    OWN_METRICS_INTERVAL: "0",
    ...environment,
  });
  const app = createApp(config, logger, { clock, work: "local" });
  ends.push(() => app.stop());
  const { url } = await app.start();
  const status = async (token: string): Promise<number> =>
    (await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${token}` } })).status;
  const warnings = async (): Promise<unknown> =>
    ((await (await fetch(`${url}/readyz`)).json()) as { warnings?: string[] }).warnings;
  const logged = (text: string): Promise<void> =>
    new Promise((resolve) => void waiting.push({ text, resolve }));
  return { lines, clock, status, warnings, logged };
}

describe("API_TOKENS_FILE of a running program", () => {
  it("is followed: a removed token stops working, a broken file changes nothing and is warned of", async () => {
    writeTokens("first");
    const { clock, status, warnings, logged } = await start({ API_TOKENS_FILE: file });
    expect([await status(TOKENS.first), await status(TOKENS.second)]).toEqual([200, 401]);

    writeTokens("second");
    const changed = logged("API_TOKENS_FILE has changed");
    clock.advance(10_000);
    await changed;
    expect([await status(TOKENS.first), await status(TOKENS.second)]).toEqual([401, 200]);
    expect(await warnings()).toBeUndefined();

    writeFileSync(file, "[]");
    const broken = logged("stay in force");
    clock.advance(10_000);
    await broken;
    expect([await status(TOKENS.first), await status(TOKENS.second)]).toEqual([401, 200]);
    expect(await warnings()).toEqual([expect.stringContaining("API_TOKENS_FILE")]);
  });
});

describe("AUTH_ENABLED=false", () => {
  it("serves any address, and says so in the log and in /readyz", async () => {
    const { lines, status, warnings } = await start({ AUTH_ENABLED: "false", HOST: "0.0.0.0" });
    expect(await status("any")).toBe(200);
    expect(await warnings()).toEqual([expect.stringMatching(/^AUTH_ENABLED=false: everybody/)]);
    expect(lines).toContainEqual(
      expect.objectContaining({ level: "warn", msg: expect.stringContaining("AUTH_ENABLED=false") }),
    );
  });
});

describe("the start", () => {
  it("is refused where the network could call without a token, or the tokens can't be read", async () => {
    await expect(start({ HOST: "0.0.0.0" })).rejects.toMatchObject({
      code: "config_invalid",
      hint: expect.stringContaining("AUTH_ENABLED=false"),
    });
    await expect(start({ API_TOKENS_FILE: `${file}.absent` })).rejects.toMatchObject({
      code: "tokens_file_invalid",
    });
  });
});
