/** An hour of a cluster that has work. */
export interface BusyHour {
  cluster_id: string;
  /** Unix time of the hour's end, s. */
  hour_end: number;
  /** Samples to read, about. */
  rows: string;
}

/** The work of one statement: hours of a cluster, all those between `fromMs` and `toMs` that have work. */
export interface HourTask {
  cluster: string;
  fromMs: number;
  toMs: number;
  rows: number;
}

export const HOUR_MS = 3_600_000;
const TASK_HOURS_MAX = 24;

/** Puts hours of one cluster together while they are of one day and few rows. `hours` are sorted by cluster and time. */
export function planTasks(hours: readonly BusyHour[], rowsMax: number): HourTask[] {
  const tasks: HourTask[] = [];
  for (const hour of hours) {
    const toMs = hour.hour_end * 1000;
    const rows = Number(hour.rows);
    const last = tasks.at(-1);
    const joins =
      last !== undefined &&
      last.cluster === hour.cluster_id &&
      toMs - last.fromMs <= TASK_HOURS_MAX * HOUR_MS &&
      last.rows + rows <= rowsMax;
    if (joins) {
      last.toMs = toMs;
      last.rows += rows;
    } else tasks.push({ cluster: hour.cluster_id, fromMs: toMs - HOUR_MS, toMs, rows });
  }
  return tasks;
}
