import { useState } from "preact/hooks";
import type { Labels, StoredMetrics } from "./api-types.ts";
import { OPERATORS, toText, words, type Filter } from "./filters.ts";
import { number, plural } from "./format.ts";
import { setQuery } from "./route.ts";
import { Age, html, type Html } from "./ui.ts";

const AGGREGATIONS = [
  "avg",
  "min",
  "max",
  "sum",
  "count",
  "last",
  "rate",
  "increase",
  "p50",
  "p90",
  "p95",
  "p99",
];
/** Aggregations that the API refuses for gauges. */
const OF_COUNTERS = new Set(["rate", "increase"]);
const NEW: Filter = { label: "", op: "=", value: "" };

/** What is asked, as it is in the address. */
export interface Question {
  clusters: string[];
  metric: string;
  aggregation: string;
  by: string[];
  filters: Filter[];
  range: string;
  /** The end of the range, ms since 1970; null: now. */
  until: number | null;
}

type StoredMetric = StoredMetrics["metrics"][number];
type StoredLabel = Labels["labels"][number];

interface FormProps {
  question: Question;
  clusters: readonly string[];
  metrics: readonly StoredMetric[];
  labels: readonly StoredLabel[];
}

const inputOf = (event: Event): HTMLInputElement => event.target as HTMLInputElement;

function Options({ id, values }: { id: string; values: readonly string[] }): Html {
  return html`<datalist id=${id}>${values.map((value) => html`<option value=${value}></option>`)}</datalist>`;
}

/** The question; each change is in the address at once. */
export function ExploreForm({ question, clusters, metrics, labels }: FormProps): Html {
  const metric = metrics.find((each) => each.metric_name === question.metric);
  const names = labels.map((each) => each.label);
  return html`<form class="explore" onSubmit=${(event: Event) => event.preventDefault()}>
    <${Chips}
      name="Clusters"
      query="clusters"
      values=${question.clusters}
      options=${clusters}
      placeholder="edge-1"
    />
    <label
      >Metric
      <input
        list="metrics"
        value=${question.metric}
        onChange=${(event: Event) => setQuery({ metric: inputOf(event).value.trim() })}
        placeholder="node_load1"
        autocomplete="off"
        spellcheck=${false}
      />
      ${metric ? html`<${About} metric=${metric} />` : ""}</label
    >
    <${Options} id="metrics" values=${metrics.map((each) => each.metric_name)} />
    <label
      >Aggregation
      <select
        value=${question.aggregation}
        onChange=${(event: Event) => setQuery({ aggregation: inputOf(event).value })}
      >
        ${AGGREGATIONS.map((name) => html`<option value=${name} disabled=${metric?.type === "gauge" && OF_COUNTERS.has(name)}>${name}</option>`)}
      </select></label
    >
    <${Chips} name="Group by" query="by" values=${question.by} options=${names} placeholder="k8s.node.name" />
    <${Until} until=${question.until} />
    <${Filters} filters=${question.filters} labels=${labels} />
  </form>`;
}

function About({ metric }: { metric: StoredMetric }): Html {
  const text = `${metric.type}${metric.unit === "" ? "" : `, unit ${metric.unit}`}, ${plural(metric.series, "series", "series")}`;
  return html`<span class="quiet">${text}, newest sample <${Age} time=${metric.last_sample} /></span>`;
}

interface ChipsProps {
  name: string;
  /** The name in the address. */
  query: string;
  values: readonly string[];
  options: readonly string[];
  placeholder: string;
}

/** Several values: an input that completes and adds them, and a button that removes each. */
function Chips({ name, query, values, options, placeholder }: ChipsProps): Html {
  const set = (next: readonly string[]): void => setQuery({ [query]: next.join(",") });
  const add = (event: Event): void => {
    const input = inputOf(event);
    set([...new Set([...values, ...words(input.value)])]);
    input.value = "";
  };
  const remove = (event: Event, value: string): void => {
    set(values.filter((each) => each !== value));
    (event.currentTarget as Element).closest("div")?.querySelector("input")?.focus();
  };
  return html`<div>
    <label
      >${name}
      <input
        list=${query}
        onChange=${add}
        placeholder=${`add, like ${placeholder}`}
        autocomplete="off"
        spellcheck=${false}
    /></label>
    <${Options} id=${query} values=${options.filter((option) => !values.includes(option))} />
    <ul class="chips" aria-label="Chosen">
      ${values.map(
        (value) =>
          html`<li key=${value}>
            ${value}
            <button
              type="button"
              class="plain"
              aria-label=${`Remove ${value}`}
              onClick=${(event: Event) => remove(event, value)}
            >
              ✕
            </button>
          </li>`,
      )}
    </ul>
  </div>`;
}

/** ms since 1970 as the reader's own time, in the form of the input. */
function toLocal(time: number): string {
  return new Date(time - new Date(time).getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

function Until({ until }: { until: number | null }): Html {
  const set = (event: Event): void => {
    const time = Date.parse(inputOf(event).value);
    setQuery({ until: Number.isNaN(time) ? "" : new Date(time).toISOString() });
  };
  return html`<label
    >Until (empty: now)
    <input type="datetime-local" value=${until === null ? "" : toLocal(until)} onChange=${set}
  /></label>`;
}

/** Rows that can be changed and removed, and one for a new filter. */
function Filters({ filters, labels }: { filters: Filter[]; labels: readonly StoredLabel[] }): Html {
  const [fresh, setFresh] = useState(NEW);
  const set = (next: Filter[]): void => setQuery({ filters: toText(next) });
  const add = (event: Event): void => {
    event.preventDefault();
    if (fresh.label === "") return;
    set([...filters, fresh]);
    setFresh(NEW);
    (event.currentTarget as Element).closest("fieldset")?.querySelector<HTMLElement>(".new input")?.focus();
  };
  const onKey = (event: KeyboardEvent): void => {
    if (event.key === "Enter") add(event);
  };
  return html`<fieldset class="filters">
    <legend>Filters</legend>
    <${Options} id="labels" values=${labels.map((each) => each.label)} />
    ${filters.map(
      (filter, place) =>
        html`<div class="row" role="group" aria-label=${`Filter ${place + 1}`}>
          <${FilterFields}
            filter=${filter}
            id=${`values-${place}`}
            labels=${labels}
            set=${(next: Filter) => set(filters.with(place, next))}
          />
          <button
            type="button"
            class="plain"
            aria-label=${`Remove ${filter.label}${filter.op}${filter.value}`}
            onClick=${(event: Event) => {
              (event.currentTarget as Element)
                .closest("fieldset")
                ?.querySelector<HTMLElement>(".new input")
                ?.focus();
              set(filters.toSpliced(place, 1));
            }}
          >
            ✕
          </button>
        </div>`,
    )}
    <div class="row new" role="group" aria-label="A new filter" onKeyDown=${onKey}>
      <${FilterFields} filter=${fresh} id="values-new" labels=${labels} set=${setFresh} live=${true} />
      <button type="button" onClick=${add} disabled=${fresh.label === ""}>Add filter</button>
    </div>
  </fieldset>`;
}

interface FieldsProps {
  filter: Filter;
  /** Of the list of values. */
  id: string;
  labels: readonly StoredLabel[];
  set: (filter: Filter) => void;
  /** Whether each key counts, or the finished text. */
  live?: boolean;
}

function FilterFields({ filter, id, labels, set, live = false }: FieldsProps): Html {
  const known = labels.find((each) => each.label === filter.label);
  const event = live ? "onInput" : "onChange";
  const change = (name: keyof Filter) => ({
    [event]: (happened: Event) => set({ ...filter, [name]: inputOf(happened).value }),
  });
  const more = known ? known.values_total - known.values.length : 0;
  return html`<input
      list="labels"
      aria-label="Label"
      placeholder="label"
      value=${filter.label}
      ...${change("label")}
      autocomplete="off"
      spellcheck=${false}
    />
    <select aria-label="Operator" value=${filter.op} ...${change("op")}>
      ${OPERATORS.map((op) => html`<option value=${op}>${op}</option>`)}
    </select>
    <input
      list=${id}
      aria-label="Value"
      placeholder=${filter.op.endsWith("~") ? "regular expression" : "value"}
      value=${filter.value}
      ...${change("value")}
      autocomplete="off"
      spellcheck=${false}
    />
    <${Options} id=${id} values=${known?.values ?? []} />
    ${more > 0 ? html`<span class="quiet">${number(more)} more values are not listed</span>` : ""}`;
}
