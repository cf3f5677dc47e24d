import type { ClusterStatus, Health, ListedCluster } from "./api-types.ts";
import { duration, plural } from "./format.ts";
import type { Tone } from "./ui.ts";

/** The state of a cluster for the fleet: a word, why, and its place among the others (0 is the worst). */
export interface Trouble {
  rank: number;
  tone: Tone;
  word: string;
  reason: string;
  remedy: string;
}

const RANKS: Record<string, number> = {
  failing: 0,
  critical: 1,
  stale: 2,
  partial: 3,
  warning: 4,
  unknown: 5,
  pending: 6,
  healthy: 7,
  disabled: 8,
};

type Words = Pick<Trouble, "tone" | "word"> & { reason?: string; remedy?: string };

/** What is said of each state; reason and remedy where nothing better is known. */
const COLLECTION: Record<ClusterStatus["state"], Words> = {
  failing: { tone: "bad", word: "not collected", reason: "the last collection failed" },
  partial: { tone: "warn", word: "partly collected" },
  stale: { tone: "old", word: "stale", remedy: "Check that rounds are started." },
  pending: {
    tone: "wait",
    word: "waiting",
    reason: "it was not collected yet",
    remedy: "The next round collects it.",
  },
  disabled: { tone: "off", word: "disabled", reason: "collection is off for this cluster" },
  healthy: { tone: "good", word: "healthy" },
};

const HEALTH: Record<Health["status"], Words> = {
  critical: { tone: "bad", word: "critical" },
  warning: { tone: "warn", word: "warning" },
  stale: { tone: "old", word: "stale", reason: "the stored data is old" },
  unknown: { tone: "unknown", word: "unknown", reason: "no state of a node is stored" },
  healthy: { tone: "good", word: "healthy" },
};

function toTrouble(state: string, words: Words, reason: string, remedy: string): Trouble {
  return {
    rank: RANKS[state] ?? RANKS["unknown"] ?? 0,
    tone: words.tone,
    word: words.word,
    reason: reason === "" ? (words.reason ?? "") : reason,
    remedy: remedy === "" ? (words.remedy ?? "") : remedy,
  };
}

/** Of the collection, by GET /metrics/status. */
export function troubleOfStatus({
  state,
  last_error: error,
  lag_seconds: lag,
  gaps,
  warnings,
}: ClusterStatus): Trouble {
  const open = gaps.filter((gap) => gap.state === "open").length;
  const known = {
    stale: lag === null ? "nothing was collected yet" : `nothing newer for ${duration(lag)}`,
    partial: open > 0 ? plural(open, "open gap") : "",
    healthy: warnings[0] ?? "",
  };
  const isQuiet = state === "healthy" || state === "disabled" || state === "pending";
  const reason = isQuiet ? "" : (error?.message ?? "");
  const other = state in known ? known[state as keyof typeof known] : "";
  return toTrouble(
    state,
    COLLECTION[state],
    reason === "" ? other : reason,
    isQuiet ? "" : (error?.hint ?? ""),
  );
}

function fromHealth({ status, issues, issue_count: count, recommendations }: Health): Trouble {
  const [first] = issues;
  const where = first?.node ? `${first.node}: ` : "";
  const more = count > 1 ? ` (and ${count - 1} more)` : "";
  const reason = first && status !== "stale" ? `${where}${first.message}${more}` : "";
  return toTrouble(status, HEALTH[status], reason, recommendations[0] ?? "");
}

/** Of a cluster that is collected well and whose health was not read yet: "healthy" would be a guess. */
const NOT_JUDGED: Trouble = {
  rank: RANKS["healthy"] ?? 0,
  tone: "wait",
  word: "collected",
  reason: "its health is not loaded yet",
  remedy: "",
};

/** Of the collection, by what the bridge reported to ClickHouse. */
export function troubleOfListed(
  { as_of: asOf, up }: ListedCluster,
  error: { cause: string; hint: string } | null,
): Trouble {
  if (up === false) return toTrouble("failing", COLLECTION.failing, error?.cause ?? "", error?.hint ?? "");
  if (asOf === null) {
    const reason = "the bridge reported nothing in the last two hours";
    return toTrouble("stale", COLLECTION.stale, reason, "Check that the bridge and its Collector run.");
  }
  if (error) return toTrouble("partial", COLLECTION.partial, error.cause, error.hint);
  return toTrouble("healthy", COLLECTION.healthy, "", "");
}

/** The worse of the collection's state and the health of what it collected. `judges`: the role can tell the health. */
export function troubleOf(collection: Trouble | null, health: Health | null, judges: boolean): Trouble {
  const both = [collection, health && fromHealth(health)].filter((each) => each !== null);
  const [worst] = both.toSorted((a, b) => a.rank - b.rank);
  if (judges && health === null && worst?.word === "healthy") return NOT_JUDGED;
  return worst ?? { ...NOT_JUDGED, rank: RANKS["unknown"] ?? 0, word: "not loaded yet", reason: "" };
}
