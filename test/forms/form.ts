import type { FormSeries } from "./series.ts";

/** The part of an answer that a form is about: numbers within rounding, lists and rows exactly, fields that are not named are not compared. */
export type Expected = { readonly [field: string]: ExpectedValue };
export type ExpectedValue = string | number | boolean | null | readonly ExpectedValue[] | Expected;

/** A cluster as somebody met it: a few series, and what the answers about them are. */
export interface Form {
  /** What is odd about it: the test's title. */
  name: string;
  /** Where it was met, or what says how the labels look. */
  source: string;
  /** Why these answers are right. */
  why: string;
  series: readonly FormSeries[];
  /** Nodes of the Kubernetes API by their addresses: what the collection lists beside the samples. Default: it lists none. */
  addresses?: Readonly<Record<string, string>>;
  /** Key of `switches` of the rule's table: without it this form gets wrong answers. */
  needs: string;
  summary?: Expected;
  /** By node; no other node is in the answer. */
  nodes?: Readonly<Record<string, Expected>>;
  /** By "namespace/pod"; no other Pod is in the answer. */
  pods?: Readonly<Record<string, Expected>>;
  /** By UUID, or "UUID/part"; no other GPU is in the answer. */
  gpus?: Readonly<Record<string, Expected>>;
  /** Every issue as "severity metric node object", where - stands for null. */
  health?: readonly string[];
}

/** A rule of the state answers, the forms that it is for, and how it is switched off. */
export interface FormTable {
  rule: string;
  /** Each is a list of [text, replacement]: wherever the text stands in the sources, the rule (or a part of it) is gone with the replacement. */
  switches: Readonly<Record<string, readonly (readonly [text: string, replacement: string])[]>>;
  forms: readonly Form[];
}
