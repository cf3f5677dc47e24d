import { BridgeError } from "#errors/error.ts";

/** Whether an answer counts that says that a part of the data may be missing. */
export type PartialAnswers = "refused" | "accepted";

/** Warnings and infos of one answer. */
export interface Remarks {
  add(kind: "warnings" | "infos", text: string): void;
  /** The backend says outright that the answer is partial. Throws `prometheus_answer_partial`, unless that is accepted. */
  partial(words: string): void;
  /**
   * The first of them. `noStores`: Thanos has no store with data of the time, and the answer is empty. Throws `prometheus_answer_partial`
   * when a part of the data may be missing, unless that is accepted.
   */
  end(hasSeries: boolean): { warnings: string[]; noStores?: true };
}

const REMARKS_MAX = 5;
const REMARK_CHARS_MAX = 300;
/** Thanos (pkg/store/proxy.go) where the time ranges or external labels of its stores exclude all of them. */
const NO_STORES = "No StoreAPIs matched for this query";

/** Prometheus' own remarks on a query begin with "PromQL"; any other is a storage that could not be read (remote read, Thanos). */
export function createRemarks(hide: (words: string) => string, answers: PartialAnswers): Remarks {
  const kept = { warnings: [] as string[], infos: [] as string[] };
  let partial: string | undefined;
  let noStores = false;
  // Hidden before it is cut: the beginning of a secret would not be recognised.
  const shown = (text: string): string => hide(text).slice(0, REMARK_CHARS_MAX);
  return {
    add: (kind, text) => {
      if (kind === "infos" || text.startsWith("PromQL ")) {
        if (kept[kind].length < REMARKS_MAX) kept[kind].push(shown(text));
      } else if (text === NO_STORES) noStores = true;
      else partial ??= shown(text);
    },
    partial: (words) => {
      if (answers === "refused") throw partialAnswer(words);
      partial ??= words;
    },
    end: (hasSeries) => {
      // Beside samples, it is one querier of several that has lost its stores.
      const missing = partial ?? (noStores && hasSeries ? NO_STORES : undefined);
      if (missing !== undefined && answers === "refused") throw partialAnswer(missing);
      const accepted = missing === undefined ? [] : [`a part of the data may be missing: ${missing}`];
      const warnings = [...accepted, ...kept.warnings, ...kept.infos].slice(0, REMARKS_MAX);
      return {
        warnings,
        ...(noStores && !hasSeries && answers === "refused" ? { noStores: true as const } : {}),
      };
    },
  };
}

/** The backend says that a part of the data may be missing. */
export function partialAnswer(words: string): BridgeError {
  return new BridgeError(
    "prometheus_answer_partial",
    `a part of the data may be missing, says the backend: ${words}`,
  );
}
