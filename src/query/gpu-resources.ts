/**
 * Resources that are GPUs or parts of GPUs, as Kubernetes names them. kube-state-metrics replaces all but letters and digits by "_". Shares of a GPU's memory or cores are no GPUs: HAMi's nvidia.com/gpumem, gpucores and
 * gpumem-percentage, aliyun.com/gpu-mem, volcano.sh/vgpu-memory, tencent.com/vcuda-core.
 */
const RESOURCES = [
  // NVIDIA's device plugin: whole, shared in time (renameByDefault), MIG profiles; HAMi counts its virtual GPUs by the first. KubeVirt's device plugin: pgpu, vgpu.
  "nvidia_com_(gpu|gpu_shared|pgpu|vgpu|mig_[0-9a-z_]+)",
  // AMD's device plugin: whole, partitions (cpx_nps4 ...).
  "amd_com_(gpu|[a-z]px_nps[0-9])",
  // Intel's device plugin: by driver. Its i915_monitoring, millicores and memory.max are none.
  "gpu_intel_com_(i915|xe)",
  "habana_ai_gaudi",
  // Volcano's and HAMi's other vendors: the number of virtual GPUs.
  "volcano_sh_(gpu|vgpu)_number",
  "metax_tech_com_s?gpu",
  "mthreads_com_v?gpu",
  "hygon_com_dcunum",
  "iluvatar_ai_([0-9A-Za-z_]+_)?v?gpu",
];

/** RE2, for SQL. */
export const GPU_RESOURCES = `^(${RESOURCES.join("|")})$`;
const IS_GPU = new RegExp(GPU_RESOURCES);

/** Is a resource, by its name in kube-state-metrics, a GPU or a part of one? */
export function isGpuResource(resource: string): boolean {
  return IS_GPU.test(resource);
}
