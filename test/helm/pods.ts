import type { KubeObject } from "./helm.ts";

interface Ref {
  name: string;
  key: string;
  optional?: boolean;
}

interface Container {
  name: string;
  image: string;
  args?: string[];
  env?: {
    name: string;
    value?: string;
    valueFrom?: { secretKeyRef?: Ref; configMapKeyRef?: Ref; fieldRef?: { fieldPath: string } };
  }[];
  ports?: { name?: string; containerPort: number }[];
  volumeMounts?: { name: string; mountPath: string; subPath?: string }[];
  securityContext?: Record<string, unknown>;
  resources?: { limits?: Record<string, string>; requests?: Record<string, string> };
  [probe: string]: unknown;
}

interface Volume {
  name: string;
  secret?: { secretName: string; items?: { key: string; path: string }[] };
  configMap?: { name: string; items?: { key: string; path: string }[] };
  persistentVolumeClaim?: { claimName: string };
  emptyDir?: object;
}

interface PodSpec {
  serviceAccountName: string;
  automountServiceAccountToken: boolean;
  enableServiceLinks: boolean;
  securityContext: Record<string, unknown>;
  containers: Container[];
  initContainers?: Container[];
  volumes?: Volume[];
}

/** A Pod, or what makes Pods. */
export interface Workload {
  kind: string;
  name: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  spec: PodSpec;
  containers: Container[];
}

/** The Pods that the objects make. */
export function workloadsOf(objects: readonly KubeObject[]): Workload[] {
  return objects.flatMap((object) => {
    const { template } = (object["spec"] ?? {}) as { template?: KubeObject };
    const pod = object.kind === "Pod" ? object : template;
    if (!["Pod", "Deployment", "StatefulSet", "Job"].includes(object.kind) || pod === undefined) return [];
    const spec = pod["spec"] as PodSpec;
    return [
      {
        kind: object.kind,
        name: object.metadata.name,
        labels: pod.metadata.labels ?? {},
        annotations: pod.metadata.annotations ?? {},
        spec,
        containers: [...(spec.initContainers ?? []), ...spec.containers],
      },
    ];
  });
}

/** The workload of this name. */
export function workload(objects: readonly KubeObject[], name: string): Workload {
  const found = workloadsOf(objects).find((one) => one.name === name);
  if (found === undefined) throw new Error(`there is no workload ${name}`);
  return found;
}

/** Environment of the workload's last container, the one that does the work; what comes from elsewhere as `<Secret/key>`. */
export function environmentOf(objects: readonly KubeObject[], name: string): Record<string, string> {
  const container = workload(objects, name).containers.at(-1);
  return Object.fromEntries(
    (container?.env ?? []).map(({ name: variable, value, valueFrom }) => {
      const ref = valueFrom?.secretKeyRef ?? valueFrom?.configMapKeyRef;
      if (ref) return [variable, `<${ref.name}/${ref.key}>`];
      return [variable, valueFrom?.fieldRef ? `<${valueFrom.fieldRef.fieldPath}>` : (value ?? "")];
    }),
  );
}

/** Does this selector match these labels? */
export function selects(matchLabels: Record<string, string>, labels: Record<string, string>): boolean {
  return Object.entries(matchLabels).every(([key, value]) => labels[key] === value);
}
