import type { FormTable } from "./form.ts";
import { node, pod } from "./series.ts";

const asking = (requests: Readonly<Record<string, number>>) => [
  ...node("a", "10.0.0.1"),
  ...pod("ml", "train", { node: "a", requests: { main: { cpu: 1, ...requests } } }),
];

/** Which requested resources are GPUs. */
export const REQUESTS: FormTable = {
  rule: "requests for GPUs",
  switches: {
    "names of NVIDIA's resources": [
      ["nvidia_com_(gpu|gpu_shared|pgpu|vgpu|mig_[0-9a-z_]+)", "nvidia_com_.*"],
    ],
    "GPUs shared in time": [["gpu|gpu_shared|", "gpu|"]],
    "MIG parts": [["|mig_[0-9a-z_]+", ""]],
    "AMD's GPUs": [['"amd_com_(gpu|[a-z]px_nps[0-9])",', ""]],
  },
  forms: [
    {
      name: "HAMi: half of a GPU's memory as a percentage",
      source: "https://github.com/Project-HAMi/HAMi/issues/1353",
      why: "gpumem-percentage is a share of the GPU that is asked for",
      needs: "names of NVIDIA's resources",
      series: asking({ nvidia_com_gpu: 1, nvidia_com_gpumem_percentage: 50 }),
      pods: { "ml/train": { gpu_request: 1 } },
    },
    {
      name: "HAMi: two GPUs, 3,000 MiB and 30 % of the cores of each",
      source: "https://github.com/Project-HAMi/HAMi/issues/446",
      why: "gpumem and gpucores are shares: two GPUs",
      needs: "names of NVIDIA's resources",
      series: asking({ nvidia_com_gpu: 2, nvidia_com_gpumem: 3000, nvidia_com_gpucores: 30 }),
      pods: { "ml/train": { gpu_request: 2 } },
    },
    {
      name: "HAMi: the task's priority as a resource",
      source: "https://github.com/Project-HAMi/HAMi/blob/master/docs/config.md",
      why: "nvidia.com/priority is a setting",
      needs: "names of NVIDIA's resources",
      series: asking({ nvidia_com_gpu: 1, nvidia_com_priority: 1, nvidia_com_gpumem: 100 }),
      pods: { "ml/train": { gpu_request: 1 } },
    },
    {
      name: "time slicing with renamed resources",
      source: "https://github.com/NVIDIA/dcgm-exporter/issues/151",
      why: "nvidia.com/gpu.shared is one replica of a GPU",
      needs: "GPUs shared in time",
      series: asking({ nvidia_com_gpu_shared: 1 }),
      pods: { "ml/train": { gpu_request: 1 } },
    },
    {
      name: "MIG parts, one of them with media engines",
      source: "https://github.com/NVIDIA/dcgm-exporter/pull/432",
      why: "each profile is a resource of its own: three parts",
      needs: "MIG parts",
      series: asking({ nvidia_com_mig_1g_10gb: 2, nvidia_com_mig_1g_10gb_me: 1 }),
      pods: { "ml/train": { gpu_request: 3 } },
    },
    {
      name: "AMD GPUs",
      source: "https://github.com/ROCm/device-metrics-exporter/issues/139",
      why: "amd.com/gpu is a GPU",
      needs: "AMD's GPUs",
      series: asking({ amd_com_gpu: 4 }),
      pods: { "ml/train": { gpu_request: 4 } },
    },
    {
      name: "a Pod without GPUs, with hugepages and a network card",
      source: "https://github.com/kubernetes/kube-state-metrics/issues/216",
      why: "extended resources are GPUs only by name",
      needs: "names of NVIDIA's resources",
      series: asking({ hugepages_2Mi: 1024, nvidia_com_mlnxnics: 1, ephemeral_storage: 1e9 }),
      pods: { "ml/train": { gpu_request: null } },
    },
  ],
};
