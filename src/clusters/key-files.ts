import {
  constants,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPair,
  privateDecrypt,
  publicEncrypt,
  randomBytes,
  type KeyObject,
} from "node:crypto";
import { mkdir, open, readdir, readFile, realpath, rename, stat, unlink } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { calculateJwkThumbprint } from "jose";
import { BridgeError } from "#errors/error.ts";

/** One private key of a directory. */
export interface KeyFile {
  /** File name in the directory. */
  name: string;
  /** RFC 7638 thumbprint (SHA-256, base64url): public, tells keys apart. */
  kid: string;
  /** Size of the modulus. */
  bits: number;
  /** SHA-256 of the file's bytes. */
  digest: string;
  privateKey: KeyObject;
  publicKey: KeyObject;
}

export interface KeyDirectory {
  /** In the order of their file names: the last one is the newest. */
  keys: KeyFile[];
  /** Problems, each with the file's name and the remedy; never text from a file. */
  problems: string[];
}

const EXTENSION = ".pem";
const FILES_MAX = 100;
const FILE_BYTES_MAX = 32 * 1024;
/** 128 bits of security, as AES-128 has (NIST SP 800-57 part 1, table 2). */
const RSA_BITS_MIN = 3072;
/** Larger ones make each opening slow and gain nothing. */
const RSA_BITS_MAX = 8192;

/**
 * The keys of a directory: regular files whose names end in .pem, other names and names that begin with a dot are left alone.
 *
 * **The newest key is the one whose file name is the last in the order of character codes.** Times of files don't count: a mounted Secret
 * has new ones at each start. `writeKeyFile` names files by their time.
 *
 * From a mounted Secret or ConfigMap it reads one state, the one that `..data` points at. Files whose digest is in `known` are not parsed again.
 * Throws BridgeError `credentials_keys_invalid` when the directory itself can't be read.
 */
export async function readKeyFiles(
  directory: string,
  known: ReadonlyMap<string, KeyFile> = new Map(),
): Promise<KeyDirectory> {
  try {
    return await readOnce(directory, known);
  } catch (error) {
    // A Secret that was replaced in the middle: its earlier state is gone.
    if (codeOf(error) === "ENOENT" && (await stat(directory).catch(() => undefined))) {
      return await readOnce(directory, known).catch((again: unknown) => {
        throw unreadable(directory, again);
      });
    }
    throw unreadable(directory, error);
  }
}

async function readOnce(directory: string, known: ReadonlyMap<string, KeyFile>): Promise<KeyDirectory> {
  const root = await realpath(join(directory, "..data")).catch(() => directory);
  const names = (await readdir(root)).filter((name) => name.endsWith(EXTENSION) && !name.startsWith("."));
  const keys: KeyFile[] = [];
  const problems: string[] = [];
  if (names.length > FILES_MAX) problems.push(`has more than ${FILES_MAX} keys: remove the oldest`);
  for (const name of names.sort().slice(-FILES_MAX)) {
    const read = await readKeyFile(join(root, name), name, known);
    if (typeof read === "string") problems.push(`${name} ${read}`);
    else keys.push(read);
  }
  return { keys, problems };
}

/** Throws what the file system throws. */
async function readKeyFile(
  path: string,
  name: string,
  known: ReadonlyMap<string, KeyFile>,
): Promise<KeyFile | string> {
  const facts = await stat(path);
  if (!facts.isFile()) return "is not a file: remove it";
  if (facts.size > FILE_BYTES_MAX) return `is larger than ${FILE_BYTES_MAX} bytes: it is no key`;
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch (error) {
    if (codeOf(error) === "ENOENT") throw error;
    return `can't be read (${codeOf(error)}): let this process' user read it`;
  }
  const digest = createHash("sha256").update(content).digest("hex");
  const before = known.get(digest);
  if (before) return { ...before, name };
  const parsed = parsePrivateKey(content.toString("latin1"));
  if (!parsed.ok) return parsed.reason;
  const { privateKey, publicKey, bits } = parsed;
  return { name, digest, bits, privateKey, publicKey, kid: await calculateJwkThumbprint(publicKey) };
}

type ParsedKey =
  | { ok: true; privateKey: KeyObject; publicKey: KeyObject; bits: number }
  | { ok: false; reason: string };

const MAKE_ONE = "make one with `npm run keys -- generate` or `rotate`";

function parsePrivateKey(text: string): ParsedKey {
  const labels = [...text.matchAll(/-----BEGIN ([A-Z0-9 ]{1,40})-----/g)].map(([, label]) => label ?? "");
  const [label] = labels;
  if (label === undefined) return refuse(`is not a PEM file: restore it from a copy, or ${MAKE_ONE}`);
  if (labels.length > 1) return refuse("has several PEM blocks: give each key a file of its own");
  if (label === "ENCRYPTED PRIVATE KEY" || /^Proc-Type:.*ENCRYPTED/m.test(text)) {
    return refuse("is encrypted: write it without a passphrase (openssl pkey -in FILE -out NEW.pem)");
  }
  if (/PUBLIC KEY$|CERTIFICATE$/.test(label)) {
    return refuse(`is only a ${label.toLowerCase()}: the private key is needed; ${MAKE_ONE}`);
  }
  if (label === "RSA PRIVATE KEY") {
    return refuse("is in the form of PKCS #1: convert it (openssl pkey -in FILE -out NEW.pem)");
  }
  if (label !== "PRIVATE KEY")
    return refuse(`is a ${label.toLowerCase()}, not a PKCS #8 RSA key: ${MAKE_ONE}`);
  let privateKey: KeyObject;
  try {
    privateKey = createPrivateKey({ key: text, format: "pem" });
  } catch {
    return refuse(`is damaged: restore it from a copy, or ${MAKE_ONE}`);
  }
  const type = privateKey.asymmetricKeyType;
  if (type !== "rsa") return refuse(`is a key of the kind ${type}, not RSA: ${MAKE_ONE}`);
  const bits = privateKey.asymmetricKeyDetails?.modulusLength ?? 0;
  if (bits < RSA_BITS_MIN) {
    return refuse(
      `has ${bits} bits, ${RSA_BITS_MIN} are needed: ${MAKE_ONE}, and seal everything anew with it`,
    );
  }
  if (bits > RSA_BITS_MAX)
    return refuse(`has ${bits} bits, at most ${RSA_BITS_MAX} are supported: ${MAKE_ONE}`);
  const publicKey = createPublicKey(privateKey);
  if (!opensItsOwn(privateKey, publicKey)) {
    return refuse(`does not open what it seals: restore it from a copy, or ${MAKE_ONE}`);
  }
  return { ok: true, privateKey, publicKey, bits };
}

function refuse(reason: string): ParsedKey {
  return { ok: false, reason };
}

/** A private key whose numbers don't belong together would seal credentials that no key can open again. */
function opensItsOwn(privateKey: KeyObject, publicKey: KeyObject): boolean {
  const padding = { padding: constants.RSA_PKCS1_OAEP_PADDING, oaepHash: "sha256" };
  const probe = randomBytes(32);
  try {
    return privateDecrypt(
      { key: privateKey, ...padding },
      publicEncrypt({ key: publicKey, ...padding }, probe),
    ).equals(probe);
  } catch {
    return false;
  }
}

/**
 * Makes an RSA key and writes it as a file of mode 0600 into the directory, which is made (mode 0700) when it is not there. Its name is
 * the time, in a form that a Secret takes as a key: 2026-11-22T10-30-00.000Z.pem. Never overwrites. Throws BridgeError
 * `credentials_keys_invalid`. Returns the name.
 */
export async function writeKeyFile(directory: string, nowMs: number): Promise<string> {
  const name = `${new Date(nowMs).toISOString().replaceAll(":", "-")}${EXTENSION}`;
  const path = join(directory, name);
  const { privateKey } = await promisify(generateKeyPair)("rsa", { modulusLength: RSA_BITS_MIN });
  const pem = privateKey.export({ type: "pkcs8", format: "pem" });
  // Under another name until it is whole: half a key would end the next start.
  const unfinished = join(directory, `.${name}.${randomBytes(6).toString("hex")}`);
  try {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    if (await stat(path).catch(() => undefined)) throw Object.assign(new Error("exists"), { code: "EEXIST" });
    const file = await open(unfinished, "wx", 0o600);
    try {
      await file.writeFile(pem);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(unfinished, path);
  } catch (error) {
    await unlink(unfinished).catch(() => {});
    throw new BridgeError("credentials_keys_invalid", `${path} can't be written (${codeOf(error)})`, {
      hint: isDiskFull(error)
        ? `Free space on the disk under ${directory}, then start again.`
        : "Give a directory that this user may write to.",
      cause: error,
    });
  }
  return name;
}

/** BridgeError `credentials_keys_invalid` about a directory, with every problem in `details.problems`. */
export function keysInvalid(directory: string, problems: readonly string[]): BridgeError {
  const named = problems.map((problem) => `CREDENTIALS_KEYS_DIR ${directory}: ${problem}`);
  return new BridgeError("credentials_keys_invalid", named.join("; "), { details: { problems: named } });
}

function unreadable(directory: string, error: unknown): BridgeError {
  return keysInvalid(directory, [`can't be read (${codeOf(error)})`]);
}

function isDiskFull(error: unknown): boolean {
  return ["ENOSPC", "EDQUOT"].includes(codeOf(error));
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "unknown error";
}
