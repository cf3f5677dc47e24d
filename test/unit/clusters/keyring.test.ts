import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { CompactEncrypt, decodeProtectedHeader } from "jose";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Envelope } from "#clusters/envelope.ts";
import { readKeyFiles, type KeyFile } from "#clusters/key-files.ts";
import { loadKeyring, resealed, watchKeyring, type DirectoryKeyring } from "#clusters/keyring.ts";
import { createSecret } from "#lib/secret.ts";
import { createLogger } from "#telemetry/logger.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { kubeconfigOf, rsaPem, writeFiles } from "../../helpers/keys.ts";
import { createManualClock, type ManualClock } from "../../helpers/manual-clock.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const SECRET = "s3cr3t-t0ken-abcdef";
const folder = createTemporaryFolder();
let pems: string[];
let directory: string;
let clock: ManualClock;
let logs: Record<string, unknown>[];
let made = 0;

beforeAll(() => {
  pems = [rsaPem(), rsaPem(), rsaPem()];
});

beforeEach(() => {
  directory = writeFiles(join(folder, String(made++)), { "1.pem": pems[0]! });
  clock = createManualClock();
  logs = [];
});

const write = (name: string, text: string): void => writeFileSync(join(directory, name), text);
const remove = (name: string): void => rmSync(join(directory, name));

async function load(): Promise<DirectoryKeyring> {
  const destination = { write: (line: string) => void logs.push(JSON.parse(line) as never) };
  return await loadKeyring(directory, { clock, logger: createLogger({ level: "info", destination }) });
}

const envelope = (rest: Pick<Envelope, "prometheus"> = {}): Envelope => ({
  kubeconfig: createSecret(`token: ${SECRET}`),
  ...rest,
});

/** The message with which Keyring.open refuses an envelope; checks that it has no secret. */
async function refusal(keyring: DirectoryKeyring, clusterId: string, jwe: string): Promise<string> {
  const error = await bridgeErrorOf(keyring.open(clusterId, jwe));
  expect(error.code).toBe("credentials_invalid");
  expect(inspect([error.message, error.details, error.cause], { depth: 9 })).not.toContain(SECRET);
  return error.message;
}

describe("an envelope", () => {
  test("comes out as it went in", async () => {
    const keyring = await load();
    const plain = await keyring.open("a", await keyring.seal("a", envelope()));
    expect(kubeconfigOf(plain)).toBe(`token: ${SECRET}`);
    expect(plain.prometheus).toBeUndefined();

    const token = createSecret("prom-token");
    const bearer = await keyring.open(
      "a",
      await keyring.seal("a", envelope({ prometheus: { kind: "bearer", token } })),
    );
    expect(bearer.prometheus?.kind === "bearer" && bearer.prometheus.token.expose()).toBe("prom-token");

    const password = createSecret("pässword: 🔑");
    const sealed = await keyring.seal(
      "a",
      envelope({ prometheus: { kind: "basic", username: "né", password } }),
    );
    const { prometheus } = await keyring.open("a", sealed);
    expect(prometheus).toMatchObject({ kind: "basic", username: "né" });
    expect(prometheus?.kind === "basic" && prometheus.password.expose()).toBe("pässword: 🔑");
  });

  test("has exactly the agreed header, and is another text each time", async () => {
    const keyring = await load();
    const [one, two] = [await keyring.seal("a", envelope()), await keyring.seal("a", envelope())];
    expect(decodeProtectedHeader(one)).toEqual({
      alg: "RSA-OAEP-256",
      enc: "A256GCM",
      kid: keyring.keys()[0]!.kid,
      typ: "kubeconfig+jwe",
      cid: "a",
    });
    expect(one.split(".").slice(1)).not.toEqual(two.split(".").slice(1));
    expect(Buffer.from(one.split(".")[3]!, "base64url").toString("latin1")).not.toContain(SECRET);
  });

  test("is refused when it is too large to be opened again", async () => {
    const keyring = await load();
    const kubeconfig = createSecret("x".repeat(700_000));
    expect((await bridgeErrorOf(keyring.seal("a", { kubeconfig }))).code).toBe("kubeconfig_invalid");
    // The largest kubeconfig that the parser accepts, with as many escapes as possible.
    const largest = createSecret('"'.repeat(256 * 1024));
    const opened = await keyring.open("a", await keyring.seal("a", { kubeconfig: largest }));
    expect(kubeconfigOf(opened)).toBe(largest.expose());
  });
});

describe("a JWE that is not ours or not whole is refused", () => {
  let keyring: DirectoryKeyring;
  let jwe: string;
  let key: KeyFile;
  beforeEach(async () => {
    keyring = await load();
    jwe = await keyring.seal("a", envelope());
    key = (await readKeyFiles(directory)).keys[0]!;
  });

  const withHeader = (change: Record<string, unknown>): string => {
    const header = JSON.stringify({ ...decodeProtectedHeader(jwe), ...change });
    return [Buffer.from(header).toString("base64url"), ...jwe.split(".").slice(1)].join(".");
  };
  /** Really encrypted like that, to our key. */
  const encrypt = async (change: Record<string, unknown>, text: string | Buffer = "{}"): Promise<string> =>
    await new CompactEncrypt(Buffer.from(text))
      .setProtectedHeader({ ...decodeProtectedHeader(jwe), ...change } as never)
      .encrypt(change["alg"] === "dir" ? Buffer.alloc(32) : key.publicKey);

  test("any changed character, in each of its five parts", async () => {
    const parts = jwe.split(".");
    for (const [index, part] of parts.entries()) {
      for (const at of [0, Math.floor(part.length / 2), part.length - 1]) {
        const other = part[at] === "A" ? "B" : "A";
        const changed = part.slice(0, at) + other + part.slice(at + 1);
        const { code } = await bridgeErrorOf(keyring.open("a", parts.with(index, changed).join(".")));
        // In the header it may be the key's name that changed.
        expect(code).toMatch(index === 0 ? /^credentials_(invalid|key_unknown)$/ : /^credentials_invalid$/);
      }
    }
    // It is whole itself.
    await keyring.open("a", jwe);
  });

  test("another cluster's", async () => {
    expect(await refusal(keyring, "b", jwe)).toMatch(/were sealed for another cluster/);
    // A cid that was changed to fit breaks the seal.
    expect(await refusal(keyring, "b", withHeader({ cid: "b" }))).toMatch(/were changed or cut/);
  });

  test("one cut at any place", async () => {
    for (const end of [0, 1, 50, jwe.length >> 1, jwe.length - 23, jwe.length - 1]) {
      await refusal(keyring, "a", jwe.slice(0, end));
    }
    expect(await refusal(keyring, "a", jwe.split(".").slice(0, 4).join("."))).toMatch(
      /not a whole compact JWE/,
    );
    expect(await refusal(keyring, "a", `${jwe}.`)).toMatch(/not a whole compact JWE/);
    expect(await refusal(keyring, "a", `${jwe}=`)).toMatch(/not a whole compact JWE/);
    expect(await refusal(keyring, "a", `${jwe}\n`)).toMatch(/not a whole compact JWE/);
  });

  test("parts of two put together", async () => {
    const [one, two] = [jwe.split("."), (await keyring.seal("a", envelope())).split(".")];
    for (const index of [1, 2, 3, 4]) {
      expect(await refusal(keyring, "a", one.with(index, two[index]!).join("."))).toMatch(/changed or cut/);
    }
  });

  test("other algorithms, also when they are really used", async () => {
    const good = JSON.stringify({ kubeconfig: "x" });
    for (const change of [
      { alg: "dir" },
      { alg: "RSA-OAEP" },
      { enc: "A128GCM" },
      { enc: "A256CBC-HS512" },
    ]) {
      const message = await refusal(keyring, "a", await encrypt(change, good));
      expect(message).toContain(`header is not one of ours: ${Object.keys(change)[0]}`);
    }
    for (const alg of ["RSA1_5", "none", "ECDH-ES", "PBES2-HS256+A128KW", "", 5, null]) {
      expect(await refusal(keyring, "a", withHeader({ alg }))).toMatch(/not one of ours: alg/);
    }
  });

  test("a compressed one is never unpacked", async () => {
    const bomb = await encrypt({ zip: "DEF" }, Buffer.alloc(20 << 20));
    expect(bomb.length).toBeLessThan(100_000);
    expect(await refusal(keyring, "a", bomb)).toMatch(/not one of ours: zip/);
  });

  test("other members of the header", async () => {
    for (const change of [
      { typ: "JWT" },
      { crit: ["x"] },
      { jku: "https://evil" },
      { p2c: 1e9 },
      { cid: 5 },
    ]) {
      const message = await refusal(keyring, "a", withHeader(change));
      expect(message).toContain(`not one of ours: ${Object.keys(change)[0]}`);
    }
    expect(await refusal(keyring, "a", withHeader({ kid: "../../etc/passwd" }))).toMatch(/ours: kid/);
    const list = Buffer.from("[1]").toString("base64url");
    expect(await refusal(keyring, "a", [list, ...jwe.split(".").slice(1)].join("."))).toMatch(/no object/);
  });

  test("a huge one", async () => {
    expect(await refusal(keyring, "a", "A".repeat(2 << 20))).toMatch(/more than 1048576 characters/);
    expect(await refusal(keyring, "a", ".".repeat(1 << 20))).toMatch(/not a whole compact JWE/);
    expect(await refusal(keyring, "a", withHeader({ cid: "x".repeat(2000) }))).toMatch(
      /not a whole compact JWE/,
    );
    const large = await encrypt({}, JSON.stringify({ kubeconfig: "x".repeat(700_000) }));
    expect(await refusal(keyring, "a", large)).toMatch(/too large/);
  });

  test.each([
    "",
    "token: s3cr3t-t0ken-abcdef",
    "null",
    "{}",
    '{"kubeconfig":""}',
    '{"kubeconfig":5}',
    '{"kubeconfig":"s3cr3t-t0ken-abcdef","more":1}',
    '{"kubeconfig":"x","prometheus":{"bearer_token":"a b"}}',
    '{"kubeconfig":"x","prometheus":{"bearer_token":"a\\r\\nX-Evil: 1"}}',
    '{"kubeconfig":"x","prometheus":{"basic_auth":{"username":"a:b","password":"c"}}}',
    '{"kubeconfig":"x","prometheus":{"bearer_token":"a","basic_auth":{"username":"a","password":"b"}}}',
  ])("one that holds %j", async (text) => {
    expect(await refusal(keyring, "a", await encrypt({}, text))).toMatch(/what was sealed is not/);
  });

  test("bytes that are no text", async () => {
    const bytes = Buffer.concat([
      Buffer.from('{"kubeconfig":"'),
      Buffer.from([0xff, 0xfe]),
      Buffer.from('"}'),
    ]);
    expect(await refusal(keyring, "a", await encrypt({}, bytes))).toMatch(/what was sealed is not/);
  });
});

describe("the directory at start", () => {
  test("every wrong file is named", async () => {
    write("2.pem", "junk");
    write("3.pem", rsaPem(2048));
    const error = await bridgeErrorOf(load());
    expect(error.code).toBe("credentials_keys_invalid");
    const problems = error.details!["problems"] as string[];
    expect(problems).toEqual([
      expect.stringMatching(/2\.pem is not a PEM file/),
      expect.stringMatching(/3\.pem has 2048 bits/),
    ]);
    expect(error.message).toContain(problems[1]);
  });

  test("it must have a key", async () => {
    remove("1.pem");
    write("key.txt", pems[0]!);
    expect((await bridgeErrorOf(load())).message).toMatch(
      /has no key, which is a file whose name ends in \.pem/,
    );
  });
});

describe("rotation while serving", () => {
  test("the newest seals, all open, and what an older one sealed is sealed anew", async () => {
    const keyring = await load();
    const prometheus = { kind: "bearer", token: createSecret("prom-token") } as const;
    const old = await keyring.seal("a", envelope({ prometheus }));
    expect(keyring.isNewest(old)).toBe(true);
    expect(await resealed(keyring, "a", old)).toBeUndefined();

    write("2.pem", pems[1]!);
    expect(await keyring.reload()).toBe(true);
    expect(await keyring.reload()).toBe(false);
    expect(keyring.keys().map(({ name }) => name)).toEqual(["1.pem", "2.pem"]);
    expect(keyring.isNewest(old)).toBe(false);
    expect(kubeconfigOf(await keyring.open("a", old))).toContain(SECRET);

    const anew = await resealed(keyring, "a", old);
    expect(keyring.isNewest(anew!)).toBe(true);
    remove("1.pem");
    expect(await keyring.reload()).toBe(true);
    const opened = await keyring.open("a", anew!);
    expect(kubeconfigOf(opened)).toContain(SECRET);
    expect(opened.prometheus?.kind === "bearer" && opened.prometheus.token.expose()).toBe("prom-token");

    const error = await bridgeErrorOf(keyring.open("a", old));
    expect(error.code).toBe("credentials_key_unknown");
    expect(error.details).toEqual({ kid: decodeProtectedHeader(old)["kid"] });
  });

  test("a damaged one is not sealed anew", async () => {
    const keyring = await load();
    expect(keyring.isNewest("junk")).toBe(false);
    expect((await bridgeErrorOf(resealed(keyring, "a", "junk"))).code).toBe("credentials_invalid");
    const ofB = await keyring.seal("b", envelope());
    write("2.pem", pems[1]!);
    await keyring.reload();
    expect((await bridgeErrorOf(resealed(keyring, "a", ofB))).code).toBe("credentials_invalid");
  });

  test("many at once, while keys come and go, lose nothing", async () => {
    const keyring = await load();
    const stored = new Map<string, string>();
    for (let i = 0; i < 20; i++) stored.set(`c${i}`, await keyring.seal(`c${i}`, envelope()));
    const openAll = (): Promise<unknown> =>
      Promise.all([...stored].map(async ([id, jwe]) => await keyring.open(id, jwe)));
    for (const [name, pem] of [
      ["2.pem", pems[1]!],
      ["3.pem", pems[2]!],
    ] as const) {
      write(name, pem);
      const reading = openAll();
      await Promise.all([keyring.reload(), keyring.reload()]);
      await reading;
      const work = [...stored].map(async ([id, jwe]) => stored.set(id, (await resealed(keyring, id, jwe))!));
      await Promise.all([openAll(), ...work]);
      await openAll();
    }
    remove("1.pem");
    remove("2.pem");
    await keyring.reload();
    await openAll();
    expect([...stored.values()].every((jwe) => keyring.isNewest(jwe))).toBe(true);
  });

  test("a wrong new state keeps the keys and is warned of once; a right one is taken", async () => {
    const keyring = await load();
    const jwe = await keyring.seal("a", envelope());
    const warnings = (): unknown[] => logs.filter(({ level }) => level === "warn");
    write("2.pem", "half a key");
    expect(await keyring.reload()).toBe(false);
    expect(await keyring.reload()).toBe(false);
    await keyring.open("a", jwe);
    expect(keyring.isNewest(jwe)).toBe(true);
    expect(warnings()).toEqual([
      expect.objectContaining({
        code: "credentials_keys_invalid",
        msg: "the keys changed and are wrong: the old ones stay in use",
      }),
    ]);
    expect(JSON.stringify(warnings())).toContain("2.pem is not a PEM file");

    // All of them gone, or the directory itself: a mistake, too.
    for (const name of readdirSync(directory)) remove(name);
    expect(await keyring.reload()).toBe(false);
    rmSync(directory, { recursive: true });
    expect(await keyring.reload()).toBe(false);
    await keyring.open("a", jwe);
    expect(warnings()).toHaveLength(3);

    writeFiles(directory, { "1.pem": pems[0]!, "2.pem": pems[1]! });
    expect(await keyring.reload()).toBe(true);
    expect(keyring.isNewest(jwe)).toBe(false);
    write("3.pem", "half a key");
    await keyring.reload();
    expect(warnings()).toHaveLength(4);
  });

  test("an unknown key makes it look again, but not for each stranger", async () => {
    const [ours, theirs] = [await load(), await load()];
    write("2.pem", pems[1]!);
    await theirs.reload();
    const jwe = await theirs.seal("a", envelope());
    expect((await bridgeErrorOf(ours.open("a", jwe))).code).toBe("credentials_key_unknown");
    clock.advance(5000);
    expect(kubeconfigOf(await ours.open("a", jwe))).toContain(SECRET);
    expect(ours.isNewest(jwe)).toBe(true);
  });

  test("it is watched until that is ended", async () => {
    let reads = 0;
    let done = (): void => {};
    const reload = (): Promise<boolean> => {
      reads++;
      return new Promise((resolve) => {
        done = () => resolve(false);
      });
    };
    const end = watchKeyring({ reload }, clock, 60_000);
    clock.advance(59_999);
    expect(reads).toBe(0);
    clock.advance(1);
    expect(reads).toBe(1);
    // One at a time.
    clock.advance(600_000);
    expect(reads).toBe(1);
    done();
    await new Promise(setImmediate);
    clock.advance(60_000);
    expect(reads).toBe(2);
    end();
    done();
    await new Promise(setImmediate);
    expect(clock.pending()).toBe(0);
  });
});
