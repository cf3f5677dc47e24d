import type { FormTable } from "./form.ts";
import { ONE_VALUE } from "./rule-1-one-value.ts";
import { OWN_LABELS } from "./rule-2-own-labels.ts";
import { WHICH_NODE } from "./rule-3-which-node.ts";
import { NO_VALUES } from "./rule-4-no-values.ts";
import { OLD_IS_NOT_NOW } from "./rule-5-old-is-not-now.ts";
import { TROUBLE } from "./rule-6-trouble.ts";
import { VENDORS } from "./rule-8-vendors.ts";
import { UTILIZATION } from "./rule-9-utilization.ts";
import { WHO_HOLDS_WHAT } from "./rule-10-who-holds-what.ts";
import { REQUESTS } from "./rule-11-requests.ts";

/** The forms of each rule of docs/querying.md. */
export const FORM_TABLES: readonly FormTable[] = [
  ONE_VALUE,
  OWN_LABELS,
  WHICH_NODE,
  NO_VALUES,
  OLD_IS_NOT_NOW,
  TROUBLE,
  VENDORS,
  UTILIZATION,
  WHO_HOLDS_WHAT,
  REQUESTS,
];
