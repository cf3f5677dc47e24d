import type { Duplex } from "node:stream";
import { hashText, mix, uuidOf } from "./noise.ts";
import type { KubeUser, Right } from "./kube-rights.ts";

/** Takes one end of a byte stream that leads into a Pod's port. */
export type Listener = (stream: Duplex) => void;

export interface KubePod {
  namespace: string;
  name: string;
  uid: string;
  address: string;
  nodeName: string;
  labels: Record<string, string>;
  ready: boolean;
  terminating: boolean;
  ports: readonly { name: string; containerPort: number }[];
  /** The listener on a port of the Pod; a port without one refuses connections. */
  listeners: ReadonlyMap<number, Listener>;
}

export interface KubeServicePort {
  name?: string;
  port: number;
  /** A number, or the name of a container's port. Default: `port`. */
  targetPort?: number | string;
  protocol?: "TCP" | "UDP";
}

export interface KubeService {
  namespace: string;
  name: string;
  type?: "ClusterIP" | "NodePort" | "ExternalName";
  headless?: boolean;
  externalName?: string;
  /** null: a Service without a selector. */
  selector: Record<string, string> | null;
  ports: readonly KubeServicePort[];
  labels?: Record<string, string>;
}

export interface KubeNode {
  name: string;
  addresses: readonly { type: string; address: string }[];
}

/** The objects of a simulated cluster, for tests to change while it runs. */
export interface KubeState {
  readonly nodes: KubeNode[];
  readonly services: KubeService[];
  readonly pods: readonly KubePod[];
  readonly namespaces: Set<string>;
  readonly users: KubeUser[];
  /** Adds a Pod; uid and address are made up. */
  addPod(pod: Omit<KubePod, "uid" | "address" | "ready" | "terminating">): KubePod;
  /** Throws when there is no such Pod. */
  updatePod(name: string, change: { ready?: boolean; terminating?: boolean }): void;
  /** Removes the Pod and breaks its connections. */
  deletePod(name: string): void;
  /** The same Pod with another UID and address, as a StatefulSet's; its connections break. */
  restartPod(name: string): void;
  /** Adds a user, or replaces the one with this name. */
  setUser(user: KubeUser): void;
  setRights(userName: string, rights: readonly Right[]): void;
  /** Remembers how to break a connection into a Pod; the returned function forgets it. */
  onPodGone(uid: string, cut: () => void): () => void;
}

export function createKubeState(seed: string): KubeState {
  const pods: KubePod[] = [];
  const users: KubeUser[] = [];
  const cuts = new Map<string, Set<() => void>>();
  let made = 0;
  const identity = (): { uid: string; address: string } => {
    const hash = mix(hashText(seed), ++made);
    return { uid: uuidOf(hash), address: `10.200.${(made >> 8) & 255}.${made & 255}` };
  };
  const find = (name: string): KubePod => {
    const pod = pods.find((each) => each.name === name);
    if (!pod) throw new Error(`the simulated cluster has no Pod ${JSON.stringify(name)}`);
    return pod;
  };
  const breakConnections = (uid: string): void => {
    const all = [...(cuts.get(uid) ?? [])];
    cuts.delete(uid);
    for (const cut of all) cut();
  };
  return {
    nodes: [],
    services: [],
    namespaces: new Set(["default", "kube-system"]),
    pods,
    users,
    addPod: (pod) => {
      const added: KubePod = { ...pod, ...identity(), ready: true, terminating: false };
      pods.push(added);
      return added;
    },
    updatePod: (name, change) => void Object.assign(find(name), change),
    deletePod: (name) => {
      const pod = find(name);
      pods.splice(pods.indexOf(pod), 1);
      breakConnections(pod.uid);
    },
    restartPod: (name) => {
      const pod = find(name);
      const { uid } = pod;
      Object.assign(pod, identity());
      breakConnections(uid);
    },
    setUser: (user) => {
      const at = users.findIndex(({ name }) => name === user.name);
      users.splice(at < 0 ? users.length : at, at < 0 ? 0 : 1, user);
    },
    setRights: (userName, rights) => {
      const user = users.find(({ name }) => name === userName);
      if (!user) throw new Error(`the simulated cluster has no user ${JSON.stringify(userName)}`);
      user.rights = rights;
    },
    onPodGone: (uid, cut) => {
      const set = cuts.get(uid) ?? new Set();
      cuts.set(uid, set.add(cut));
      return () => {
        set.delete(cut);
        if (set.size === 0 && cuts.get(uid) === set) cuts.delete(uid);
      };
    },
  };
}

/** The Pods that a Service's selector chooses. */
export function podsOf(state: KubeState, service: KubeService): KubePod[] {
  const { selector } = service;
  if (!selector || Object.keys(selector).length === 0) return [];
  return state.pods.filter(
    (pod) =>
      pod.namespace === service.namespace &&
      Object.entries(selector).every(([name, value]) => pod.labels[name] === value),
  );
}

/** The number of a Service's target port in a Pod; undefined when the Pod has no port of that name. */
export function targetPortIn(pod: KubePod, { port, targetPort = port }: KubeServicePort): number | undefined {
  if (typeof targetPort === "number") return targetPort;
  return pod.ports.find(({ name }) => name === targetPort)?.containerPort;
}
