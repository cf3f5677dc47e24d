import { AsyncLocalStorage } from "node:async_hooks";
import { randomUUID } from "node:crypto";
import type * as Dapr from "@dapr/dapr";
import { BridgeError } from "#errors/error.ts";
import { abortable, deadline, type Clock } from "#lib/clock.ts";
import type { Secret } from "#lib/secret.ts";
import { toDaprError } from "./dapr-error.ts";
import { toRecordText } from "./record-text.ts";
import type { StateRecord, StateStore } from "./store.ts";

export interface DaprStoreSettings {
  /** `metadata.name` of the state store component. */
  storeName: string;
  /** Where the sidecar's HTTP API listens, on loopback. */
  port: number;
  apiToken?: Secret;
  /** Time for one request; default 10 s. */
  requestTimeoutMs?: number;
}

/** The parts of the Dapr package that are used. */
export type DaprPackage = Pick<
  typeof Dapr,
  "DaprClient" | "StateConcurrencyEnum" | "StateConsistencyEnum" | "CommunicationProtocolEnum" | "LogLevel"
>;

export interface DaprStoreDeps {
  clock: Clock;
  /** Default: imports `@dapr/dapr`. */
  loadDapr?: () => Promise<DaprPackage>;
  /** For the one request that does without the package. */
  fetch?: typeof fetch;
}

/**
 * The stored record: the value, and the id of the write that put it there. The value is text, since Dapr takes JSON apart: its Redis store keeps
 * six digits of a number (1.5e-300 came back as 0).
 */
interface Envelope {
  json: string;
  write: string;
}

interface StoredRecord extends Envelope {
  /** The store's own ETag. */
  storeEtag: string;
}

const HOST = "127.0.0.1";
const REQUEST_TIMEOUT_MS = 10_000;
/** Keys that the sidecar reads at once where the store behind it has no bulk read of its own (Redis). */
const BULK_PARALLELISM = 20;
/** Of an answer. Go's JSON writes some characters of a record in six. */
const ANSWER_BYTES_MAX = 8 << 20;
/** Dapr's sidecar takes bodies of 4 MiB (dapr.io/max-body-size) by default; 4 KiB are for the envelope around the value. */
const VALUE_BYTES_MAX = 4 * 1024 * 1024 - 4096;

/**
 * The state records in a state store of Dapr (https://docs.dapr.io/reference/api/state_api/), through the sidecar's HTTP API.
 *
 * ETags are ids that each write makes up, kept beside the value; a `put` reads the record, compares, and saves with the store's own ETag as
 * first-write. So a write whose answer was lost is recognized by reading again, whatever the store answers to a conflict (409, or 500 on
 * Redis and PostgreSQL), and a record that was deleted and made again never has an earlier ETag, although Redis counts from 1 again.
 * The store must support ETags.
 *
 * `@dapr/dapr` is loaded here and not before: it costs 60 MB of memory.
 */
export async function createDaprStore(deps: DaprStoreDeps, settings: DaprStoreSettings): Promise<StateStore> {
  const { storeName } = settings;
  const { loadDapr = () => import("@dapr/dapr") } = deps;
  const dapr = await loadDapr();
  const sidecar = createSidecar(deps, settings, newClient(dapr, settings));
  const firstWrite = {
    concurrency: dapr.StateConcurrencyEnum.CONCURRENCY_FIRST_WRITE,
    consistency: dapr.StateConsistencyEnum.CONSISTENCY_STRONG,
  };

  const read = (key: string): Promise<StoredRecord | undefined> =>
    sidecar.call(async ({ state }) => {
      const storedKey = toStoredKey(key);
      const rows: unknown = await state.getBulk(storeName, [storedKey]);
      return parseRecord(key, storedKey, rows);
    });

  const readMany: StateStore["getMany"] = (keys) =>
    sidecar.call(async ({ state }) => {
      const storedKeys = new Map(keys.map((key) => [key, toStoredKey(key)]));
      const rows: unknown = await state.getBulk(storeName, [...storedKeys.values()], {
        parallelism: BULK_PARALLELISM,
      });
      return new Map(
        [...storedKeys].flatMap(([key, storedKey]) => {
          const record = parseSoundRecord(key, storedKey, rows);
          return record ? [[key, record] as const] : [];
        }),
      );
    });

  const save = (key: string, envelope: Envelope, storeEtag: string | undefined): Promise<void> =>
    sidecar.call(async ({ state }) => {
      const item = { key: toStoredKey(key), value: envelope, options: firstWrite };
      const { error } = await state.save(storeName, [
        storeEtag === undefined ? item : { ...item, etag: storeEtag },
      ]);
      if (error) throw error;
    });

  const put = async (key: string, value: unknown, etag: string | undefined): Promise<string> => {
    const json = toRecordText(key, value, VALUE_BYTES_MAX);
    // The size on the wire: the quotes of the text are escaped, and in Dapr's answer these characters as well.
    toRecordText(key, json, VALUE_BYTES_MAX);
    toRecordText(key, json.replaceAll(/[<>&\u2028\u2029]/g, "\\u003c"), ANSWER_BYTES_MAX - 4096);
    const before = await read(key);
    if (before?.write !== etag) throw conflict(key, etag);
    const envelope = { json, write: randomUUID() };
    try {
      await save(key, envelope, before?.storeEtag);
    } catch (error) {
      const after = await read(key);
      if (after?.write === envelope.write) return envelope.write;
      throw after?.write === etag ? error : conflict(key, etag);
    }
    return envelope.write;
  };

  return {
    get: async (key) => {
      const record = await read(key);
      // The caller knows what it has put under the key: `never` fits whatever it asks for.
      return record && { value: parseValue(key, record.json) as never, etag: record.write };
    },
    getMany: async (keys) => (keys.length === 0 ? new Map() : await readMany(keys)),
    put,
    delete: (key) =>
      sidecar.call(async ({ state }) => {
        // The client puts the key into the URL as it is.
        const result = await state.delete(storeName, encodeURIComponent(toStoredKey(key)));
        if (result?.error) throw result.error;
      }),
    check: async () => void (await read("ready")),
    close: () => sidecar.close(),
  };
}

/** Its log is off: at its debug level it prints the token. */
function newClient(dapr: DaprPackage, settings: DaprStoreSettings): Dapr.DaprClient {
  const quiet = (): void => {};
  return new dapr.DaprClient({
    daprHost: HOST,
    daprPort: String(settings.port),
    communicationProtocol: dapr.CommunicationProtocolEnum.HTTP,
    logger: {
      level: dapr.LogLevel.Error,
      service: { error: quiet, warn: quiet, info: quiet, verbose: quiet, debug: quiet },
    },
    ...(settings.apiToken ? { daprApiToken: settings.apiToken.expose() } : {}),
  });
}

/**
 * Gives each request the signal of the call that sends it, and limits the answer: it may not have more than ANSWER_BYTES_MAX, lead elsewhere (the token
 * would go there as well), or be compressed. The client takes no signal, and all its requests share one connection pool:
 * to stop the client would end every other request too. The `fetch` that it asks itself for before each request is the only way in.
 */
function limitRequests({ daprClient }: Dapr.DaprClient, signals: AsyncLocalStorage<AbortSignal>): void {
  const getClient = daprClient.getClient.bind(daprClient);
  daprClient.getClient = async (...options) => {
    const send = (await getClient(...options)) as (url: string, init: object) => Promise<unknown>;
    const signal = signals.getStore();
    const limits = {
      size: ANSWER_BYTES_MAX,
      redirect: "error",
      compress: false,
      ...(signal ? { signal } : {}),
    };
    return (url: string, init: object) => send(url, { ...init, ...limits });
  };
}

interface Sidecar {
  /** Runs requests of the client within the time limit; whatever goes wrong is a BridgeError. */
  call<T>(run: (client: Dapr.DaprClient) => Promise<T>): Promise<T>;
  close(): Promise<void>;
}

function createSidecar(
  { clock, fetch: send = fetch }: DaprStoreDeps,
  settings: DaprStoreSettings,
  client: Dapr.DaprClient,
): Sidecar {
  const timeoutMs = settings.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
  const place = { storeName: settings.storeName, port: settings.port };
  const signals = new AsyncLocalStorage<AbortSignal>();
  let isStarted = false;
  let isClosed = false;
  limitRequests(client, signals);

  /** Asks the sidecar once. The client's own start waits half a minute for one that is not there, and hides the reason. */
  const start = async (signal: AbortSignal): Promise<void> => {
    if (isStarted) return;
    const token = settings.apiToken?.expose();
    const answer = await send(`http://${HOST}:${settings.port}/v1.0/metadata`, {
      signal,
      redirect: "error",
      headers: token === undefined ? {} : { "dapr-api-token": token },
    });
    await answer.body?.cancel();
    if (!answer.ok) throw new Error(JSON.stringify({ error_msg: "", status: answer.status }));
    client.daprClient.setIsInitialized(true);
    isStarted = true;
  };

  const call = async <T>(run: (client: Dapr.DaprClient) => Promise<T>): Promise<T> => {
    if (isClosed) throw new BridgeError("state_unavailable", "the state store is closed");
    const limit = deadline(
      clock,
      timeoutMs,
      () =>
        new BridgeError(
          "state_unavailable",
          `Dapr's sidecar on port ${settings.port} did not answer in ${timeoutMs / 1000} s`,
          { hint: "Look at the sidecar's log: it, or the state store behind it, hangs or is overloaded." },
        ),
    );
    try {
      await start(limit.signal);
      return await abortable(
        signals.run(limit.signal, () => run(client)),
        limit.signal,
      );
    } catch (error) {
      throw limit.signal.aborted ? limit.signal.reason : toDaprError(error, place);
    } finally {
      limit.dispose();
    }
  };

  return {
    call,
    close: async () => {
      isClosed = true;
      await client.stop();
    },
  };
}

/** Dapr refuses `||` in keys and joins them into URLs and the store's own keys: everything but plain characters is percent-encoded. */
function toStoredKey(key: string): string {
  return encodeURIComponent(key.toWellFormed()).replaceAll("%3A", ":");
}

function parseRecord(key: string, storedKey: string, rows: unknown): StoredRecord | undefined {
  const row: unknown = Array.isArray(rows)
    ? rows.find((each: unknown) => isObject(each) && each["key"] === storedKey)
    : undefined;
  if (!isObject(row)) throw new Error("the answer is not one of Dapr's state API");
  // Dapr answers 200 although the store behind it failed.
  if (typeof row["error"] === "string" && row["error"] !== "") throw new Error(row["error"]);
  const { data, etag } = row;
  if (data === undefined || data === null || data === "") return undefined;
  if (!isObject(data) || typeof data["write"] !== "string" || typeof data["json"] !== "string") {
    throw foreign(key);
  }
  if (typeof etag !== "string" || etag === "") {
    throw new BridgeError("state_unavailable", "the state store gives no ETags", {
      hint: "Take a state store with ETags, for example state.redis or state.postgresql.",
    });
  }
  return { json: data["json"], write: data["write"], storeEtag: etag };
}

/** As `parseRecord`, with the value; undefined of a record that another program wrote. */
function parseSoundRecord(key: string, storedKey: string, rows: unknown): StateRecord<unknown> | undefined {
  try {
    const record = parseRecord(key, storedKey, rows);
    return record && { value: parseValue(key, record.json), etag: record.write };
  } catch (error) {
    if (!(error instanceof BridgeError) || error.code !== "state_record_damaged") throw error;
    return { value: undefined, etag: "" };
  }
}

function parseValue(key: string, json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw foreign(key);
  }
}

function foreign(key: string): BridgeError {
  return new BridgeError("state_record_damaged", `the record ${key} was not written by this program`, {
    hint: "Another program writes the same keys: give each its own app id, or its own state store component. Delete the record if it is of no use.",
  });
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function conflict(key: string, etag: string | undefined): BridgeError {
  const what = etag === undefined ? "exists already" : "was changed by another process";
  return new BridgeError("state_conflict", `the record ${key} ${what}`);
}
