import { BridgeError } from "#errors/error.ts";
import { createJsonReader, JsonReadError, type JsonLimits, type Pick } from "#lib/json-reader.ts";
import { readJson } from "#lib/read-body.ts";
import type { Turns } from "#lib/turns.ts";
import { createRemarks, partialAnswer } from "./remarks.ts";
import { CONFIG_BYTES_MAX } from "./external-labels.ts";
import type { FamilyMetadata, Metadata } from "./metadata.ts";

const SCALAR: Pick = { kind: "scalar" };
const LISTS: Pick = { kind: "array", of: { kind: "array", of: SCALAR } };

function object(fields: Record<string, Pick>): Pick {
  return { kind: "object", fields: new Map(Object.entries(fields)) };
}

/** The wanted part of `data` in each of the small answers. */
export const WANTED = {
  /** [time, "value"] of a scalar, or a vector of one series with that in `value`. */
  number: object({ result: { kind: "array", of: object({ value: { kind: "array", of: SCALAR } }) } }),
  /** Series with their [time, "value"] in `values`. */
  matrix: object({ result: { kind: "array", of: object({ values: LISTS }) } }),
  configuration: object({ yaml: { kind: "scalar", cutAt: CONFIG_BYTES_MAX } }),
  version: object({ version: { kind: "scalar", cutAt: 100 } }),
  /** Series with their label `selector` and [time, "value"] in `value`. */
  counts: object({
    result: {
      kind: "array",
      of: object({ metric: object({ selector: SCALAR }), value: { kind: "array", of: SCALAR } }),
    },
  }),
} as const;

/** The text of a configuration is read to its end and cut. */
const CONFIGURATION_LIMITS = { bytesMax: 64 << 20, textBytesMax: CONFIG_BYTES_MAX };
const SMALL_LIMITS: JsonLimits = { bytesMax: 1 << 20, depthMax: 64, valuesMax: 10_000, textBytesMax: 1024 };
/** Values are counted for each family alone. */
const METADATA_LIMITS: JsonLimits = { ...SMALL_LIMITS, bytesMax: 64 << 20 };
const FAMILIES_MAX = 50_000;
/** Prometheus' own limit of help is none; a description is cut to 300 characters. */
const HELP_BYTES_MAX = 1200;
const TEXT_BYTES_MAX = 100;

type Body = AsyncIterable<Uint8Array>;

/** The beginning of the configuration's text in an answer of /api/v1/status/config; undefined: it has none. Throws BridgeError prometheus_*. */
export async function readConfiguration(body: Body, turns: Turns): Promise<string | undefined> {
  const limits = { ...SMALL_LIMITS, ...CONFIGURATION_LIMITS };
  const { yaml } = (await read(body, WANTED.configuration, limits, turns)) as { yaml?: unknown };
  return typeof yaml === "string" ? yaml : undefined;
}

/** Reads the `data` of a success of Prometheus' API, as far as it is wanted. Throws BridgeError prometheus_*. */
export async function readData(body: Body, wanted: Pick, turns: Turns): Promise<object> {
  return await read(body, wanted, SMALL_LIMITS, turns);
}

/**
 * Reads `data` of an answer that must be whole. Throws BridgeError prometheus_*, `prometheus_answer_partial` when the backend says that a
 * part of the data may be missing.
 */
export async function readWholeData(
  body: Body,
  wanted: Pick,
  hide: (words: string) => string,
  turns: Turns,
): Promise<{ result?: unknown }> {
  const texts: Pick = { kind: "array", of: { kind: "scalar", cutAt: TEXT_BYTES_MAX } };
  const members = { warnings: texts, infos: texts, isPartial: SCALAR };
  const answer = await readAnswer(body, { data: wanted, ...members }, SMALL_LIMITS, turns);
  const remarks = createRemarks(hide, "refused");
  for (const kind of ["warnings", "infos"] as const)
    for (const text of listOf(answer[kind])) remarks.add(kind, textOf(text, "(not a text)"));
  if (answer["isPartial"] === true) remarks.partial("isPartial");
  const { result } = answer.data as { result?: unknown };
  const { noStores } = remarks.end(listOf(result).length > 0);
  if (noStores) throw partialAnswer("no store has data of this time");
  return { result };
}

/**
 * Reads /api/v1/metadata as it arrives and keeps the entries of `families`; without `families`, those of all, up to 50,000.
 * Throws BridgeError prometheus_*.
 */
export async function readMetadata(
  body: Body,
  families: ReadonlySet<string> | undefined,
  turns: Turns,
): Promise<Metadata> {
  const metadata = new Map<string, FamilyMetadata>();
  const text = (cutAt: number): Pick => ({ kind: "scalar", cutAt });
  const fields = { type: text(TEXT_BYTES_MAX), help: text(HELP_BYTES_MAX), unit: text(TEXT_BYTES_MAX) };
  const each = (family: string, entries: unknown): void => {
    const entry = listOf(entries)[0] as { [name in keyof FamilyMetadata]?: unknown } | null | undefined;
    if (!entry) return;
    metadata.set(family, {
      type: textOf(entry.type, "unknown"),
      help: textOf(entry.help, ""),
      unit: textOf(entry.unit, ""),
    });
    if (metadata.size <= FAMILIES_MAX) return;
    throw new BridgeError(
      "prometheus_answer_too_large",
      `the metadata is of more than ${FAMILIES_MAX} families of metrics`,
    );
  };
  const entryList: Pick = { kind: "array", of: object(fields) };
  const wanted: Pick = { kind: "map", of: entryList, each, ...(families ? { names: families } : {}) };
  await read(body, wanted, METADATA_LIMITS, turns);
  return metadata;
}

async function read(body: Body, wanted: Pick, limits: JsonLimits, turns: Turns): Promise<object> {
  return (await readAnswer(body, { data: wanted }, limits, turns)).data;
}

async function readAnswer(
  body: Body,
  members: Record<string, Pick>,
  limits: JsonLimits,
  turns: Turns,
): Promise<{ data: object; [member: string]: unknown }> {
  const reader = createJsonReader(object({ status: SCALAR, ...members }), limits);
  let answer: { status?: unknown; data?: unknown } | null;
  try {
    answer = (await readJson(body, reader, turns)) as typeof answer;
  } catch (error) {
    throw error instanceof JsonReadError ? toAnswerError(error) : error;
  }
  if (answer?.status === "success" && typeof answer.data === "object" && answer.data !== null)
    return { ...answer, data: answer.data };
  throw new BridgeError("prometheus_unexpected_answer", "the answer is JSON, but not one of Prometheus' API");
}

function toAnswerError(error: JsonReadError): BridgeError {
  const code =
    error.problem === "truncated"
      ? "prometheus_answer_truncated"
      : error.problem === "invalid"
        ? "prometheus_unexpected_answer"
        : "prometheus_answer_too_large";
  return new BridgeError(code, `the answer ${error.message}`, { cause: error });
}

/** A proxy may answer with other types than Prometheus does: they count as absent. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

export function textOf(value: unknown, absent: string): string {
  return typeof value === "string" ? value : absent;
}
