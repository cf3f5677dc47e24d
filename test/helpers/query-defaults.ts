import { toQuerySettings } from "#app/queries.ts";
import { loadConfig } from "#config.ts";

/** The settings of everything that queries ClickHouse, as the program has them when no variable is set. */
export const QUERY_DEFAULTS = toQuerySettings(loadConfig({}));
