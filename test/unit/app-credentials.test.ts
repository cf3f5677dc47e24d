import { readdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, expect, test } from "vitest";
import { createSecret } from "#lib/secret.ts";
import { createLifecycle, type Lifecycle } from "#lib/lifecycle.ts";
import { createLogger } from "#telemetry/logger.ts";
import { startKeyring } from "#app/credentials.ts";
import { loadConfig } from "../../src/config.ts";
import { bridgeErrorOf } from "../helpers/bridge-error-of.ts";
import { createManualClock, type ManualClock } from "../helpers/manual-clock.ts";
import { createTemporaryFolder } from "../helpers/temporary-folder.ts";
import { kubeconfigOf } from "../helpers/keys.ts";

const root = createTemporaryFolder();
let made = 0;
let data: string;
let clock: ManualClock;
let lifecycle: Lifecycle;
let logs: Record<string, unknown>[];

beforeEach(() => {
  data = join(root, String(made++), "data");
  clock = createManualClock();
  lifecycle = createLifecycle(() => {});
  logs = [];
});

const start = (environment: Record<string, string>) =>
  startKeyring(loadConfig({ DATA_DIR: data, ...environment }), {
    clock,
    lifecycle,
    logger: createLogger({
      level: "info",
      destination: { write: (line) => void logs.push(JSON.parse(line) as never) },
    }),
  });

test("all-in-one makes a key of its own once, and says where", async () => {
  const keyring = await start({ ROLE: "all-in-one" });
  const jwe = await keyring!.seal("a", { kubeconfig: createSecret("x") });
  const directory = join(data, "keys");
  const [name] = readdirSync(directory);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  expect(statSync(join(directory, name!)).mode & 0o777).toBe(0o600);
  expect(logs).toEqual([expect.objectContaining({ level: "info", file: join(directory, name!) })]);

  logs.length = 0;
  const again = await start({ ROLE: "all-in-one" });
  expect(kubeconfigOf(await again!.open("a", jwe))).toBe("x");
  expect(readdirSync(directory)).toEqual([name]);
  expect(logs).toEqual([]);
  expect(clock.pending()).toBe(2);
  await lifecycle.stop();
  expect(clock.pending()).toBe(0);
});

test("a bridge has only the keys that it is given", async () => {
  expect(await start({ ROLE: "bridge" })).toBeUndefined();
  const error = await bridgeErrorOf(start({ ROLE: "bridge", CREDENTIALS_KEYS_DIR: join(data, "nowhere") }));
  expect(error.code).toBe("credentials_keys_invalid");
});

test("all-in-one makes no key where it was told to look for some, nor beside a damaged one", async () => {
  const given = join(data, "given");
  expect((await bridgeErrorOf(start({ CREDENTIALS_KEYS_DIR: given }))).code).toBe("credentials_keys_invalid");
  await start({});
  const directory = join(data, "keys");
  const [name] = readdirSync(directory);
  writeFileSync(join(directory, name!), "");
  expect((await bridgeErrorOf(start({}))).message).toContain(`${name} is not a PEM file`);
  expect(readdirSync(directory)).toEqual([name]);
});

test("a DATA_DIR that can't be written is reported as such", async () => {
  writeFileSync(join(root, "file"), "");
  data = join(root, "file");
  expect((await bridgeErrorOf(start({}))).code).toBe("state_unavailable");
});
