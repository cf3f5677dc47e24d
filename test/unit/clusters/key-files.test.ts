import { generateKeyPairSync, type KeyPairKeyObjectResult } from "node:crypto";
import {
  chmodSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { calculateJwkThumbprint } from "jose";
import { beforeAll, describe, expect, test } from "vitest";
import { readKeyFiles, writeKeyFile } from "#clusters/key-files.ts";
import { createCertificate } from "../../helpers/certificates.ts";
import { bridgeErrorOf } from "../../helpers/bridge-error-of.ts";
import { rsaPem, writeFiles } from "../../helpers/keys.ts";
import { createTemporaryFolder } from "../../helpers/temporary-folder.ts";

const NOW = Date.parse("2026-11-22T10:30:00.000Z");
const folder = createTemporaryFolder();
let made = 0;
const newFolder = (files: Record<string, string> = {}): string =>
  writeFiles(join(folder, String(made++)), files);

let first: string;
let second: string;
beforeAll(() => {
  first = rsaPem();
  second = rsaPem();
});

const pkcs8 = ({ privateKey }: KeyPairKeyObjectResult): string =>
  privateKey.export({ type: "pkcs8", format: "pem" }) as string;

describe("which keys count", () => {
  test("the last file name is the newest key, whatever the files' times", async () => {
    const directory = newFolder({ "2026-02.pem": second, "2026-01.pem": first });
    utimesSync(join(directory, "2026-01.pem"), 2e9, 2e9);
    const { keys, problems } = await readKeyFiles(directory);
    expect(problems).toEqual([]);
    expect(keys.map(({ name, bits }) => [name, bits])).toEqual([
      ["2026-01.pem", 3072],
      ["2026-02.pem", 3072],
    ]);
    const thumbprints = await Promise.all(keys.map(({ publicKey }) => calculateJwkThumbprint(publicKey)));
    expect(keys.map(({ kid }) => kid)).toEqual(thumbprints);
  });

  test("other names and hidden files are left alone", async () => {
    const directory = newFolder({ "a.pem": first, README: "x", ".b.pem.123": "half", ".c.pem": "half" });
    expect(await readKeyFiles(directory)).toMatchObject({ keys: [{ name: "a.pem" }], problems: [] });
  });

  test("a mounted Secret is read as one state, through its links", async () => {
    const directory = newFolder();
    writeFiles(join(directory, "..2026_01"), { "a.pem": first });
    writeFiles(join(directory, "..2026_02"), { "b.pem": second });
    symlinkSync("..2026_01", join(directory, "..data"));
    symlinkSync("..data/a.pem", join(directory, "a.pem"));
    expect((await readKeyFiles(directory)).keys.map(({ name }) => name)).toEqual(["a.pem"]);
    // As the kubelet does: the link is replaced first, then the names beside it.
    symlinkSync("..2026_02", join(directory, "..data_tmp"));
    renameSync(join(directory, "..data_tmp"), join(directory, "..data"));
    const { keys, problems } = await readKeyFiles(directory);
    expect([keys.map(({ name }) => name), problems]).toEqual([["b.pem"], []]);
  });

  test("a key that is known is not parsed again, and may have a new name", async () => {
    const directory = newFolder({ "a.pem": first });
    const before = await readKeyFiles(directory);
    renameSync(join(directory, "a.pem"), join(directory, "z.pem"));
    const after = await readKeyFiles(directory, new Map(before.keys.map((key) => [key.digest, key])));
    expect(after.keys[0]?.name).toBe("z.pem");
    expect(after.keys[0]?.privateKey).toBe(before.keys[0]?.privateKey);
  });
});

describe("what is refused by name", () => {
  /** The one problem of a directory with this file and a good key. */
  async function problemOf(text: string): Promise<string> {
    const { keys, problems } = await readKeyFiles(newFolder({ "bad.pem": text, "good.pem": first }));
    expect(keys.map(({ name }) => name)).toEqual(["good.pem"]);
    expect(problems).toHaveLength(1);
    expect(problems[0]).toMatch(/^bad\.pem /);
    return problems[0]!;
  }

  test("short and long keys", async () => {
    expect(await problemOf(rsaPem(2048))).toMatch(/has 2048 bits, 3072 are needed: .*npm run keys/);
    expect(await problemOf(rsaPem(3064))).toMatch(/has 3064 bits/);
  });

  test("other kinds of keys", async () => {
    const ec = generateKeyPairSync("ec", { namedCurve: "P-384" });
    expect(await problemOf(pkcs8(ec))).toMatch(/kind ec, not RSA/);
    expect(await problemOf(ec.privateKey.export({ type: "sec1", format: "pem" }) as string)).toMatch(
      /is a ec private key, not a PKCS #8 RSA key/,
    );
    expect(await problemOf(pkcs8(generateKeyPairSync("ed25519")))).toMatch(/kind ed25519, not RSA/);
    expect(await problemOf(pkcs8(generateKeyPairSync("rsa-pss", { modulusLength: 3072 })))).toMatch(
      /kind rsa-pss, not RSA/,
    );
  });

  test("public keys and certificates", async () => {
    const { publicKey, privateKey } = generateKeyPairSync("rsa", { modulusLength: 3072 });
    const spki = publicKey.export({ type: "spki", format: "pem" }) as string;
    expect(await problemOf(spki)).toMatch(/is only a public key: the private key is needed/);
    const { certPem } = await createCertificate("x");
    expect(await problemOf(certPem)).toMatch(/is only a certificate/);
    const pkcs1 = privateKey.export({ type: "pkcs1", format: "pem" }) as string;
    expect(await problemOf(pkcs1)).toMatch(/PKCS #1: convert it/);
    const cipher = { type: "pkcs8", format: "pem", cipher: "aes-256-cbc", passphrase: "x" } as const;
    expect(await problemOf(privateKey.export(cipher) as string)).toMatch(/is encrypted/);
    const old = { ...cipher, type: "pkcs1" } as const;
    expect(await problemOf(privateKey.export(old) as string)).toMatch(/is encrypted/);
  });

  test("garbage", async () => {
    expect(await problemOf("")).toMatch(/not a PEM file/);
    expect(await problemOf("hunter2")).toMatch(/not a PEM file/);
    expect(await problemOf(first + second)).toMatch(/several PEM blocks/);
    expect(await problemOf(first.slice(0, 900))).toMatch(/is damaged/);
    expect(await problemOf("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")).toMatch(
      /is damaged/,
    );
    expect(await problemOf(`${"x".repeat(40_000)}\n${first}`)).toMatch(/is larger than 32768 bytes/);
  });

  test("a key whose numbers don't belong together", async () => {
    const lines = first.split("\n");
    // Inside of the modulus: still an RSA key by its form.
    lines[3] = lines[3]!.split("").toReversed().join("");
    expect(await problemOf(lines.join("\n"))).toMatch(/damaged|does not open what it seals/);
  });

  test("what is no file, and too many files", async () => {
    const directory = newFolder({ "a.pem": first });
    mkdirSync(join(directory, "d.pem"));
    expect((await readKeyFiles(directory)).problems).toEqual(["d.pem is not a file: remove it"]);
    const many = newFolder(
      Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`${1000 + i}.pem`, first])),
    );
    expect((await readKeyFiles(many)).problems).toEqual(["has more than 100 keys: remove the oldest"]);
  });

  test("a device without an end does not hold up the start", async () => {
    const directory = newFolder({ "a.pem": first });
    symlinkSync("/dev/zero", join(directory, "z.pem"));
    expect((await readKeyFiles(directory)).problems).toEqual(["z.pem is not a file: remove it"]);
  });

  test("a directory that is not there", async () => {
    const error = await bridgeErrorOf(readKeyFiles(join(folder, "nowhere")));
    expect(error.code).toBe("credentials_keys_invalid");
    expect(error.message).toMatch(/nowhere: can't be read \(ENOENT\)/);
    expect(error.hint).toMatch(/npm run keys -- generate/);
  });
});

describe("writeKeyFile", () => {
  test("makes a directory for its owner alone, and a key in it", async () => {
    const directory = join(folder, "new", "keys");
    const name = await writeKeyFile(directory, NOW);
    expect(name).toBe("2026-11-22T10-30-00.000Z.pem");
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
    expect(readdirSync(directory)).toEqual([name]);
    expect(await readKeyFiles(directory)).toMatchObject({ keys: [{ name, bits: 3072 }], problems: [] });
  });

  test("never overwrites, and leaves nothing behind when it fails", async () => {
    const directory = newFolder({ "2026-11-22T10-30-00.000Z.pem": "mine" });
    const error = await bridgeErrorOf(writeKeyFile(directory, NOW));
    expect(error.code).toBe("credentials_keys_invalid");
    expect(error.message).toMatch(/EEXIST/);
    expect(readdirSync(directory)).toEqual(["2026-11-22T10-30-00.000Z.pem"]);
    expect(readFileSync(join(directory, "2026-11-22T10-30-00.000Z.pem"), "utf8")).toBe("mine");
    const file = join(directory, "file");
    writeFileSync(file, "");
    expect((await bridgeErrorOf(writeKeyFile(join(file, "keys"), NOW))).message).toMatch(/ENOTDIR|EEXIST/);
    chmodSync(file, 0o600);
    rmSync(file);
  });
});
