import { isMap, type KubeObject } from "./helm.ts";
import { selects, workloadsOf, type Workload } from "./pods.ts";

/** Names and keys that the user has made: of Secrets, ConfigMaps, claims and accounts. */
export type Given = Readonly<Record<string, readonly string[]>>;

interface Selector {
  matchLabels: Record<string, string>;
}

/** References to missing objects, as "where: what". */
export function danglingReferences(objects: readonly KubeObject[], given: Given = {}): string[] {
  const workloads = workloadsOf(objects);
  return [
    ...workloads.flatMap((one) => ofPod(one, objects, given)),
    ...objects.flatMap((object) => ofObject(object, objects, workloads, given)),
  ];
}

/** Keys of a Secret or ConfigMap; undefined when there is none of this name. */
function keysOf(objects: readonly KubeObject[], given: Given, kind: string, name: string) {
  const object = objects.find((one) => one.kind === kind && one.metadata.name === name);
  if (object === undefined) return given[name];
  return [...Object.keys(object["data"] ?? {}), ...Object.keys(object["stringData"] ?? {})];
}

function ofPod(
  { name: pod, spec, containers, annotations }: Workload,
  objects: readonly KubeObject[],
  given: Given,
) {
  const problems: string[] = [];
  const expectKey = (where: string, kind: string, name: string, key: string | undefined): void => {
    const keys = keysOf(objects, given, kind, name);
    if (keys === undefined) problems.push(`${pod} ${where}: no ${kind} ${name}`);
    else if (key !== undefined && !keys.includes(key))
      problems.push(`${pod} ${where}: ${kind} ${name} has no ${key}`);
  };
  const expectObject = (kind: string, name: string): void => {
    if (!objects.some((one) => one.kind === kind && one.metadata.name === name) && !(name in given))
      problems.push(`${pod}: no ${kind} ${name}`);
  };
  expectObject("ServiceAccount", spec.serviceAccountName);
  for (const volume of spec.volumes ?? []) {
    const source = volume.secret ?? volume.configMap;
    const kind = volume.secret ? "Secret" : "ConfigMap";
    const name = volume.secret?.secretName ?? volume.configMap?.name;
    if (name !== undefined) {
      for (const key of source?.items?.map((item) => item.key) ?? [undefined])
        expectKey(`volume ${volume.name}`, kind, name, key);
    }
    if (volume.persistentVolumeClaim)
      expectObject("PersistentVolumeClaim", volume.persistentVolumeClaim.claimName);
    if (!containers.some((one) => one.volumeMounts?.some((mount) => mount.name === volume.name)))
      problems.push(`${pod}: volume ${volume.name} is mounted nowhere`);
  }
  for (const container of containers) {
    for (const { name, valueFrom } of container.env ?? []) {
      const secret = valueFrom?.secretKeyRef;
      if (secret) expectKey(name, "Secret", secret.name, secret.key);
    }
    for (const { name } of container.volumeMounts ?? []) {
      if (!spec.volumes?.some((volume) => volume.name === name)) problems.push(`${pod}: no volume ${name}`);
    }
    for (const probe of ["startupProbe", "livenessProbe", "readinessProbe"]) {
      const port = (container[probe] as { httpGet?: { port: string } } | undefined)?.httpGet?.port;
      if (port !== undefined && !container.ports?.some((one) => one.name === port))
        problems.push(`${pod} ${probe}: no port ${port}`);
    }
  }
  for (const annotation of ["dapr.io/app-token-secret", "dapr.io/api-token-secret"]) {
    const name = annotations[annotation];
    if (name !== undefined) expectKey(annotation, "Secret", name, "token");
  }
  return problems;
}

function ofObject(
  object: KubeObject,
  objects: readonly KubeObject[],
  workloads: readonly Workload[],
  given: Given,
) {
  const { kind, metadata } = object;
  const where = `${kind} ${metadata.name}`;
  const spec = (object["spec"] ?? {}) as Record<string, unknown>;
  const problems: string[] = [];
  const pods = (matchLabels: Record<string, string>): Workload[] => {
    const found = workloads.filter((one) => selects(matchLabels, one.labels));
    if (found.length === 0) problems.push(`${where}: selects no Pod`);
    return found;
  };
  if (kind === "Service") {
    for (const pod of pods(spec["selector"] as Record<string, string>)) {
      for (const { targetPort } of spec["ports"] as { targetPort: string }[]) {
        if (!pod.containers.some((one) => one.ports?.some((port) => port.name === targetPort)))
          problems.push(`${where}: ${pod.name} has no port ${targetPort}`);
      }
    }
  }
  if (["Deployment", "StatefulSet"].includes(kind) || kind === "PodDisruptionBudget") {
    const found = pods((spec["selector"] as Selector).matchLabels);
    if (found.length > 1) problems.push(`${where}: selects ${found.map((one) => one.name).join(" and ")}`);
  }
  if (kind === "StatefulSet") expectService(spec["serviceName"] as string);
  if (kind === "NetworkPolicy") {
    pods((spec["podSelector"] as Selector).matchLabels);
    for (const peer of [...rulesOf(spec, "ingress", "from"), ...rulesOf(spec, "egress", "to")]) {
      const found = pods(peer.matchLabels);
      const open = found.flatMap((pod) => pod.containers.flatMap((one) => one.ports ?? []));
      if (
        peer.direction === "egress" &&
        !peer.ports.every((port) => open.some((one) => one.containerPort === port))
      )
        problems.push(
          `${where}: ${found.map((pod) => pod.name).join()} has not all of the ports ${peer.ports.join()}`,
        );
    }
  }
  if (kind === "HorizontalPodAutoscaler") {
    const target = spec["scaleTargetRef"] as { kind: string; name: string };
    const found = objects.find((one) => one.kind === target.kind && one.metadata.name === target.name);
    if (found === undefined) problems.push(`${where}: no ${target.kind} ${target.name}`);
    else if ("replicas" in (found["spec"] as object))
      problems.push(`${where}: ${target.name} also fixes replicas`);
  }
  if (kind === "Ingress" || kind === "HTTPRoute") {
    for (const { name, port } of backendsOf(spec)) expectService(name, port);
  }
  if (kind === "ServiceMonitor") {
    const { matchLabels } = spec["selector"] as Selector;
    const found = objects.filter(
      (one) => one.kind === "Service" && selects(matchLabels, one.metadata.labels ?? {}),
    );
    if (found.length !== 1) problems.push(`${where}: selects ${found.length} Services`);
    for (const endpoint of spec["endpoints"] as Endpoint[]) {
      expectService(found[0]?.metadata.name ?? "", endpoint.port);
      const token = endpoint.authorization?.credentials;
      if (token && !keysOf(objects, given, "Secret", token.name)?.includes(token.key))
        problems.push(`${where}: no Secret ${token.name} with ${token.key}`);
    }
  }
  return problems;

  function expectService(name: string, port?: string | number): void {
    const service = objects.find((one) => one.kind === "Service" && one.metadata.name === name);
    const ports = (service?.["spec"] as { ports: { name: string; port: number }[] } | undefined)?.ports;
    if (ports === undefined) problems.push(`${where}: no Service ${name}`);
    else if (port !== undefined && !ports.some((one) => one.name === port || one.port === port))
      problems.push(`${where}: Service ${name} has no port ${port}`);
  }
}

interface Endpoint {
  port: string;
  authorization?: { credentials: { name: string; key: string } };
}

interface Peer {
  direction: "ingress" | "egress";
  matchLabels: Record<string, string>;
  ports: number[];
}

/** The rules' peers that are Pods of this namespace. */
function rulesOf(spec: Record<string, unknown>, direction: Peer["direction"], side: "from" | "to"): Peer[] {
  const rules = (spec[direction] ?? []) as Record<string, unknown>[];
  return rules.flatMap((rule) => {
    const ports = ((rule["ports"] ?? []) as { port: number }[]).map(({ port }) => port);
    return ((rule[side] ?? []) as { podSelector?: Selector }[]).flatMap(({ podSelector }) =>
      podSelector ? [{ direction, ports, matchLabels: podSelector.matchLabels }] : [],
    );
  });
}

/** Every {name, port} under a `service` or in `backendRefs`. */
function backendsOf(node: unknown): { name: string; port: string | number }[] {
  if (Array.isArray(node)) return node.flatMap(backendsOf);
  if (!isMap(node)) return [];
  return Object.entries(node).flatMap(([key, value]) => {
    if (key === "service" && isMap(value)) {
      const port = value["port"] as { name?: string; number?: number };
      return [{ name: String(value["name"]), port: port.name ?? port.number ?? "" }];
    }
    if (key === "backendRefs") return value as { name: string; port: number }[];
    return backendsOf(value);
  });
}
