/**
 * XID errors by the immediate action that NVIDIA recommends, with NVIDIA's description: the "Resolution Bucket (Immediate Action)" of the Xid catalogue, for Ampere
 * and newer GPUs (docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html). Codes that it calls unused are left out.
 */
const BY_ACTION: Readonly<Record<string, Readonly<Record<number, string>>>> = {
  RESTART_APP: {
    8: "GPU stopped processing",
    11: "Invalid or corrupted push buffer stream",
    13: "Graphics Engine Exception",
    25: "Invalid or illegal push buffer stream",
    31: "GPU memory page fault",
    32: "Invalid or corrupted push buffer stream",
    39: "Copy Engine Exception",
    40: "Copy Engine Exception",
    41: "Copy Engine Exception",
    60: "Video processor exception",
    68: "NVDEC0 Exception",
    69: "Graphics Engine class error",
    70: "CE3: Unknown Error",
    71: "CE4: Unknown Error",
    72: "CE5: Unknown Error",
    75: "CE6: Unknown Error",
    76: "CE7: Unknown Error",
    77: "CE8: Unknown Error",
    80: "Corrupted data sent to GPU",
    82: "NVJPG0 Error",
    83: "NVDEC1 Error",
    84: "NVDEC2 Error",
    85: "CE9: Unknown Error",
    86: "OFA Exception",
    88: "NVDEC3 Error",
    89: "NVDEC4 Error",
    94: "Contained memory error",
    96: "NVDEC5 Error",
    97: "NVDEC6 Error",
    98: "NVDEC7 Error",
    99: "NVJPG1 Error",
    100: "NVJPG2 Error",
    101: "NVJPG3 Error",
    102: "NVJPG4 Error",
    103: "NVJPG5 Error",
    104: "NVJPG6 Error",
    105: "NVJPG7 Error",
    126: "CE10: Unknown Error",
    127: "CE11: Unknown Error",
    128: "CE12: Unknown Error",
    129: "CE13: Unknown Error",
    130: "CE14: Unknown Error",
    131: "CE15: Unknown Error",
    132: "CE16: Unknown Error",
    133: "CE17: Unknown Error",
    134: "CE18: Unknown Error",
    135: "CE19: Unknown Error",
    139: "OFA1 Error",
  },
  IGNORE: {
    37: "Driver firmware error",
    38: "Driver firmware error",
    43: "GPU stopped processing",
    44: "Graphics Engine fault during context switch",
    63: "GPU memory remapping event",
    66: "Illegal access by driver",
    67: "Illegal access by driver",
    92: "High single-bit ECC error rate",
    93: "Non-fatal violation of provisioned InfoROM wear limit",
    106: "SMBPBI Test Message",
    107: "SMBPBI Test Message Silent",
    121: "C2C Error",
    137: "NVLink Privilege Error",
    141: "CUDA Fast Path Error",
    152: "DLA SMMU Error",
    153: "DLA timeout Error",
    157: "Resource Retirement Failure",
    160: "Channel Retirement Event",
    161: "Channel Retirement Failure",
  },
  RESET_GPU: {
    46: "GPU stopped processing",
    62: "Internal micro-controller halt",
    64: "GPU memory remapping failure",
    95: "Uncontained memory error",
    109: "Context Switch Timeout Error",
    110: "Security Fault Error",
    119: "GSP RPC Timeout",
    120: "GSP Error",
    136: "Link Training Failed",
    140: "ECC Unrecovered Error",
    143: "GPU Initialization Error",
    155: "NVLINK: SW Defined Error",
    156: "Resource Retirement Event",
    158: "GPU Fatal Timeout",
  },
  WORKFLOW_XID_45: { 45: "Preemptive cleanup, due to previous errors" },
  WORKFLOW_XID_48: { 48: "Double Bit ECC Error" },
  WORKFLOW_NVLINK_ERR: { 74: "NVLINK Error" },
  WORKFLOW_NVLINK5_ERR: {
    144: "NVLINK: SAW Error",
    145: "NVLINK: RLW Error",
    146: "NVLINK: TLW Error",
    147: "NVLINK: TREX Error",
    148: "NVLINK: NVLPW_CTRL Error",
    149: "NVLINK: NETIR Error",
    150: "NVLINK: MSE Error",
  },
  RESTART_BM: { 79: "GPU has fallen off the bus" },
  RESTART_VM: { 151: "Key rotation Error" },
  CHECK_MECHANICALS: { 54: "Auxiliary power is not connected to the GPU board" },
  CHECK_UVM: { 159: "CHI Non-Data Error" },
  UPDATE_SWFW: { 78: "vGPU Start Error" },
  XID_154: { 154: "GPU Recovery Action Changed" },
};

/** Of codes that the catalogue does not describe. */
const OTHER = { action: "CONTACT_SUPPORT", description: null };
/** The error ends with the program that caused it, or needs nothing: the GPU goes on. */
const HARMLESS = new Set(["RESTART_APP", "IGNORE", "WORKFLOW_XID_45"]);
/** The catalogue says to ignore these at once and to call support later, because memory or its spare parts are failing. */
const SERIOUS = new Set([157]);

interface XidAdvice {
  /** NVIDIA's name of the immediate action, as RESTART_APP or RESET_GPU. */
  action: string;
  description: string | null;
  /** Does the GPU go on working by itself or with another program? */
  isHarmless: boolean;
}

const CATALOGUE = new Map(
  Object.entries(BY_ACTION).flatMap(([action, codes]) =>
    Object.entries(codes).map(([code, description]) => [Number(code), { action, description }] as const),
  ),
);

export function xidAdvice(code: number): XidAdvice {
  const { action, description } = CATALOGUE.get(code) ?? OTHER;
  return { action, description, isHarmless: HARMLESS.has(action) && !SERIOUS.has(code) };
}
