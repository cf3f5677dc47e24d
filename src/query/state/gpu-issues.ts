import { xidAdvice } from "#query/xid-catalogue.ts";
import { alarmingReasons } from "./gpu-events.ts";
import type { GpuState } from "./gpus.ts";
import type { HealthIssue } from "./health-judgement.ts";

export const GPU_ISSUE_METRICS = [
  "gpu_temperature_celsius",
  "gpu_throttled",
  "gpu_xid_error",
  "gpu_ecc_errors",
  "gpu_remapped_rows",
  "gpu_row_remap_failure",
] as const;
type GpuIssueMetric = (typeof GPU_ISSUE_METRICS)[number];

export const GPU_ADVICE: Record<GpuIssueMetric, string> = {
  gpu_temperature_celsius: "Check the cooling of the node; the GPU lowers its clock when it is too hot.",
  gpu_throttled:
    "Check cooling and power supply: the GPU runs below its clock because of its temperature or of a lack of power.",
  gpu_xid_error:
    "Follow NVIDIA's action for the XID (docs.nvidia.com/deploy/xid-errors); drain the node before a reset or a restart.",
  gpu_ecc_errors: "Drain the node and reset the GPU; if errors come back, run NVIDIA's field diagnostic.",
  gpu_remapped_rows: "Reset the GPU when its Pods are done: only then it uses the replaced row of memory.",
  gpu_row_remap_failure:
    "Drain the node: the GPU's memory has no spare rows left. NVIDIA replaces such GPUs.",
};

interface Threshold {
  warning: number;
  critical: number;
}

interface GpuThresholds {
  gpuTemperatureCelsius: Threshold;
}

/** What is wrong with the GPUs. The parts of a partitioned GPU repeat what its sensors say: each issue of a device counts once. */
export function allGpuIssues(gpus: readonly GpuState[], thresholds: GpuThresholds): HealthIssue[] {
  const issues = gpus.flatMap((gpu) => gpuIssues(gpu, thresholds));
  return [
    ...new Map(issues.map((issue) => [`${issue.metric}/${issue.node}/${issue.object}`, issue])).values(),
  ];
}

function gpuIssues(gpu: GpuState, thresholds: GpuThresholds): HealthIssue[] {
  const { gpuTemperatureCelsius } = thresholds;
  const issues = [
    temperatureIssue(gpu, gpuTemperatureCelsius),
    throttleIssue(gpu),
    xidIssue(gpu),
    growthIssue(gpu, "gpu_ecc_errors", gpu.ecc_uncorrected_errors_new, "uncorrected ECC errors"),
    growthIssue(gpu, "gpu_remapped_rows", gpu.remapped_rows_new, "rows of memory replaced"),
    remapFailureIssue(gpu),
  ];
  return issues.flatMap((issue) =>
    issue === undefined ? [] : [{ ...issue, node: gpu.node, object: gpu.uuid }],
  );
}

type Issue = Omit<HealthIssue, "node" | "object">;

/** Hot is the temperature at which it lowers its clock, where that is known, else the thresholds. */
function temperatureIssue(gpu: GpuState, limits: Threshold): Issue | undefined {
  const { temperature_celsius: value, slowdown_temperature_celsius: slowdown } = gpu;
  if (value === null) return undefined;
  const critical = slowdown ?? limits.critical;
  const warning = Math.min(limits.warning, critical);
  const threshold = value > critical ? critical : value > warning ? warning : undefined;
  if (threshold === undefined) return undefined;
  const severity = value > critical ? "critical" : "warning";
  const message = `GPU ${gpu.gpu} has ${value} °C, above ${threshold} °C`;
  return { severity, metric: "gpu_temperature_celsius", value, threshold, message };
}

function throttleIssue(gpu: GpuState): Issue | undefined {
  const reasons = alarmingReasons(gpu.clock_reasons);
  if (reasons.length === 0 && gpu.thermal_violation !== true) return undefined;
  const because = reasons.length > 0 ? reasons.join(", ") : "its temperature";
  const message = `GPU ${gpu.gpu} lowers its clock because of ${because}`;
  return { severity: "warning", metric: "gpu_throttled", value: 1, threshold: 0, message };
}

/** An error from before the window is history: one step less severe, and no issue where the GPU goes on by itself. */
function xidIssue({ gpu, xid }: GpuState): Issue | undefined {
  if (xid === null) return undefined;
  const { isHarmless } = xidAdvice(xid.code);
  if (isHarmless && !xid.is_new) return undefined;
  const severity = isHarmless || !xid.is_new ? "warning" : "critical";
  const what = xid.description === null ? "" : ` (${xid.description})`;
  const when = xid.is_new ? `at ${xid.since}` : `before ${xid.since}, and none since`;
  const message = `GPU ${gpu} reported XID ${xid.code}${what} ${when}; NVIDIA's action: ${xid.action}`;
  return { severity, metric: "gpu_xid_error", value: xid.code, threshold: 0, message };
}

function growthIssue(
  gpu: GpuState,
  metric: GpuIssueMetric,
  value: number | null,
  what: string,
): Issue | undefined {
  if (value === null || value <= 0) return undefined;
  return {
    severity: metric === "gpu_ecc_errors" ? "critical" : "warning",
    metric,
    value,
    threshold: 0,
    message: `GPU ${gpu.gpu} has ${value} new ${what} in the window`,
  };
}

function remapFailureIssue(gpu: GpuState): Issue | undefined {
  if (gpu.row_remap_failure !== true) return undefined;
  const message = `GPU ${gpu.gpu} could not replace a row of its memory`;
  return { severity: "critical", metric: "gpu_row_remap_failure", value: 1, threshold: 0, message };
}
