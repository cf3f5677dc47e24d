import { CompactEncrypt, compactDecrypt } from "jose";
import { z } from "zod";
import { BridgeError, toBridgeError } from "#errors/error.ts";
import type { Clock } from "#lib/clock.ts";
import { createSecret } from "#lib/secret.ts";
import type { Logger } from "#telemetry/logger.ts";
import type { Envelope, Keyring } from "./envelope.ts";
import { keysInvalid, readKeyFiles, type KeyFile } from "./key-files.ts";
import {
  prometheusCredentialFields,
  refuseContradiction,
  toCredentialFields,
  toPrometheusCredentials,
} from "./prometheus-credentials.ts";

/** The keys of a directory that may change while they are used. */
export interface DirectoryKeyring extends Keyring {
  /** In the order of their age: the last one seals. */
  keys(): readonly Pick<KeyFile, "name" | "kid" | "bits">[];
  /**
   * Reads the directory again. A state with problems, or without any key, changes nothing and is warned of once. Never throws; resolves
   * with whether the keys are others now.
   */
  reload(): Promise<boolean>;
  /** That the directory is wrong now, and older keys are in use; for the status, without names of files. */
  warnings(): readonly string[];
}

const ALG = "RSA-OAEP-256";
const ENC = "A256GCM";
const TYP = "kubeconfig+jwe";
/** A kubeconfig has at most 256 KiB; JSON's escapes may double it. */
const ENVELOPE_BYTES_MAX = 640 * 1024;
const JWE_CHARS_MAX = 1024 * 1024;
const HEADER_CHARS_MAX = 1024;
const STALE = "the keys changed and are wrong: the old ones stay in use";
/** How often unknown keys may make us look into the directory. */
const LOOK_AGAIN_MS = 5000;

const headerSchema = z.strictObject({
  alg: z.literal(ALG),
  enc: z.literal(ENC),
  kid: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  typ: z.literal(TYP),
  cid: z.string().max(64),
});

const prometheusSchema = z
  .strictObject(prometheusCredentialFields)
  .superRefine(refuseContradiction)
  .optional();
const envelopeSchema = z.union([
  z.strictObject({ kubeconfig: z.string().min(1), prometheus: prometheusSchema }),
  z.strictObject({ origin: z.string().min(1), prometheus: prometheusSchema }),
]);

/**
 * The keyring of CREDENTIALS_KEYS_DIR (see readKeyFiles for what may be in it and which key is the newest). Envelopes become compact JWEs
 * (RFC 7516), RSA-OAEP-256 and A256GCM, whose protected header is exactly {alg, enc, kid, typ: "kubeconfig+jwe", cid: the cluster's id}.
 *
 * Throws BridgeError `credentials_keys_invalid` that names each wrong file with its remedy; a directory without a key is wrong, too.
 */
export async function loadKeyring(
  directory: string,
  deps: { clock: Clock; logger: Logger },
): Promise<DirectoryKeyring> {
  const { clock, logger } = deps;
  let keys = await readAll(directory, []);
  let complaint: string | undefined;
  let readAtMs = clock.monotonic();
  let reading: Promise<boolean> | undefined;

  const readAgain = async (): Promise<boolean> => {
    readAtMs = clock.monotonic();
    let found: readonly KeyFile[];
    try {
      found = await readAll(directory, keys);
    } catch (thrown) {
      const error = toBridgeError(thrown, "credentials_keys_invalid");
      if (error.message !== complaint) logger.warn({ err: error, code: error.code }, STALE);
      complaint = error.message;
      return false;
    }
    complaint = undefined;
    const isSame = found.map(({ kid }) => kid).join() === keys.map(({ kid }) => kid).join();
    keys = found;
    if (isSame) return false;
    const newest = newestOf(keys);
    logger.info({ keys: keys.length, newest: newest.name, kid: newest.kid }, "the keys changed");
    return true;
  };
  const reload = (): Promise<boolean> =>
    (reading ??= readAgain().finally(() => {
      reading = undefined;
    }));

  const keyOf = async (kid: string): Promise<KeyFile> => {
    const find = (): KeyFile | undefined => keys.find((key) => key.kid === kid);
    const known = find();
    if (known) return known;
    // Sealed by another instance with a key that came after our last look?
    if (reading || clock.monotonic() - readAtMs >= LOOK_AGAIN_MS) await reload();
    const found = find();
    if (found) return found;
    throw new BridgeError(
      "credentials_key_unknown",
      `the credentials were sealed with the key ${kid}, which is not in CREDENTIALS_KEYS_DIR`,
      { details: { kid } },
    );
  };

  return {
    keys: () => keys.map(({ name, kid, bits }) => ({ name, kid, bits })),
    reload,
    warnings: () =>
      complaint === undefined ? [] : [`CREDENTIALS_KEYS_DIR: ${STALE}; the log says what is wrong`],
    isNewest: (jwe) => {
      try {
        return readHeader(jwe).kid === newestOf(keys).kid;
      } catch {
        return false;
      }
    },
    seal: (clusterId, envelope) => seal(newestOf(keys), clusterId, envelope),
    open: async (clusterId, jwe) => {
      const { kid } = readHeader(jwe);
      return await open(await keyOf(kid), clusterId, jwe);
    },
  };
}

/**
 * Re-seals credentials with the newest key; undefined when they already are. Throws as `Keyring.open` does. The caller stores the result
 * only where the JWE that it gave is still the stored one.
 */
export async function resealed(
  keyring: Keyring,
  clusterId: string,
  jwe: string,
): Promise<string | undefined> {
  if (keyring.isNewest(jwe)) return undefined;
  return await keyring.seal(clusterId, await keyring.open(clusterId, jwe));
}

/** Reloads the keyring every `intervalMs` until the returned function is called: a Secret is updated in place. */
export function watchKeyring(
  keyring: Pick<DirectoryKeyring, "reload">,
  clock: Clock,
  intervalMs: number,
): () => void {
  let stopped = false;
  let cancel = (): void => {};
  const wait = (): void => {
    if (!stopped) cancel = clock.after(intervalMs, () => void keyring.reload().finally(wait));
  };
  wait();
  return () => {
    stopped = true;
    cancel();
  };
}

async function readAll(directory: string, before: readonly KeyFile[]): Promise<readonly KeyFile[]> {
  const known = new Map(before.map((key) => [key.digest, key]));
  const { keys, problems } = await readKeyFiles(directory, known);
  if (problems.length > 0) throw keysInvalid(directory, problems);
  if (keys.length === 0)
    throw keysInvalid(directory, ["has no key, which is a file whose name ends in .pem"]);
  return keys;
}

function newestOf(keys: readonly KeyFile[]): KeyFile {
  return keys.at(-1)!;
}

async function seal(key: KeyFile, clusterId: string, envelope: Envelope): Promise<string> {
  const { prometheus } = envelope;
  const text = JSON.stringify({
    ...("origin" in envelope ? { origin: envelope.origin } : { kubeconfig: envelope.kubeconfig.expose() }),
    ...(prometheus ? { prometheus: toCredentialFields(prometheus) } : {}),
  });
  const clear = Buffer.from(text, "utf8");
  if (clear.length > ENVELOPE_BYTES_MAX) {
    throw new BridgeError("kubeconfig_invalid", `the kubeconfig is larger than ${ENVELOPE_BYTES_MAX} bytes`);
  }
  try {
    return await new CompactEncrypt(clear)
      .setProtectedHeader({ alg: ALG, enc: ENC, kid: key.kid, typ: TYP, cid: clusterId })
      .encrypt(key.publicKey);
  } finally {
    clear.fill(0);
  }
}

async function open(key: KeyFile, clusterId: string, jwe: string): Promise<Envelope> {
  const options = {
    keyManagementAlgorithms: [ALG],
    contentEncryptionAlgorithms: [ENC],
    maxDecompressedLength: 0,
  };
  const { plaintext, protectedHeader } = await compactDecrypt(jwe, key.privateKey, options).catch(() => {
    throw damaged("they were changed or cut since they were sealed");
  });
  try {
    // Only now is the header known to be the sealer's own.
    if (protectedHeader["cid"] !== clusterId) throw damaged("they were sealed for another cluster");
    if (plaintext.length > ENVELOPE_BYTES_MAX) throw damaged("they are too large");
    return toEnvelope(plaintext);
  } finally {
    plaintext.fill(0);
  }
}

function toEnvelope(clear: Uint8Array): Envelope {
  let content: unknown;
  try {
    content = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(clear));
  } catch {
    // The parser's own words would quote the text.
    throw damaged("what was sealed is not JSON");
  }
  const parsed = envelopeSchema.safeParse(content);
  if (!parsed.success) throw damaged("what was sealed is not a kubeconfig or credentials for a URL");
  const { data } = parsed;
  const prometheus = data.prometheus ? toPrometheusCredentials(data.prometheus) : undefined;
  const rest = prometheus ? { prometheus } : {};
  return "origin" in data
    ? { origin: data.origin, ...rest }
    : { kubeconfig: createSecret(data.kubeconfig), ...rest };
}

/** The protected header, not authenticated yet: nothing but these members and algorithms gets to a key. */
function readHeader(jwe: string): z.infer<typeof headerSchema> {
  if (jwe.length > JWE_CHARS_MAX) throw damaged(`they have more than ${JWE_CHARS_MAX} characters`);
  const parts = jwe.split(".", 6);
  const [header = ""] = parts;
  const isCompact = parts.length === 5 && parts.every(isBase64Url) && header.length <= HEADER_CHARS_MAX;
  if (!isCompact) throw damaged("they are not a whole compact JWE");
  let content: unknown;
  try {
    content = JSON.parse(Buffer.from(header, "base64url").toString("utf8"));
  } catch {
    throw damaged("they are not a whole compact JWE");
  }
  const parsed = headerSchema.safeParse(content);
  if (!parsed.success) {
    throw damaged(
      `their header is not one of ours: ${headerProblems(parsed.error)} (alg ${ALG}, enc ${ENC}, typ ${TYP}, kid and cid are wanted)`,
    );
  }
  return parsed.data;
}

function headerProblems(error: z.ZodError): string {
  const names = error.issues.flatMap((issue) =>
    issue.code === "unrecognized_keys" ? issue.keys : issue.path.map(String),
  );
  const shown = names.filter((name) => /^[a-z0-9]{1,16}$/.test(name)).slice(0, 8);
  return shown.length === 0 ? "it is no object" : shown.join(", ");
}

/** In the one form that its bytes have: no padding, no other characters, no bits to spare. */
function isBase64Url(part: string): boolean {
  return Buffer.from(part, "base64url").toString("base64url") === part;
}

function damaged(why: string): BridgeError {
  return new BridgeError("credentials_invalid", `the sealed credentials can't be opened: ${why}`);
}
