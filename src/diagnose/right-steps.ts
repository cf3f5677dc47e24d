import type { Cluster } from "#clusters/cluster.ts";
import { NEEDED_RIGHTS, nameOfRight, ruleOfRight, type NeededRight } from "#clusters/needed-rights.ts";
import { BridgeError } from "#errors/error.ts";
import { isGranted, type Right } from "#tunnel/access.ts";
import type { OpenedCluster } from "./api-server-steps.ts";
import { passed, warning, type Step, type StepRunner } from "./step-runner.ts";

/** From this version on a port-forward over WebSocket asks for `create` besides `get`. */
const CREATE_NEEDED_FROM = [1, 35] as const;

/** A step for each right of a collection, by its name: "get services". */
export function rightSteps(
  runner: StepRunner,
  cluster: Cluster,
  steps: { credentials: Step<OpenedCluster>; authentication: Step<string> },
): ReadonlyMap<string, Step<undefined>> {
  const { namespace } = cluster.prometheus;
  const declare = (right: NeededRight): Step<undefined> => {
    const name = nameOfRight(right);
    const where = right.where === "namespace" ? ` in namespace ${namespace}` : "";
    const wanted = toRight(right, namespace);
    const title = `Right to ${name}`;
    return runner.step(stepName(right), title, [steps.authentication], async (signal) => {
      const isAllowed = await ask(steps.credentials.value(), wanted, signal);
      if (isAllowed) return passed(undefined, `may ${name}${where}`);
      if (isAllowed === undefined) {
        return warning(undefined, "the API server does not let this user ask what it may do", {
          hint: "Bind the ClusterRole system:basic-user to system:authenticated, as Kubernetes does by itself.",
        });
      }
      const details = { ...wanted };
      const message = `may not ${name}${where}`;
      const hint = remedy(right, namespace);
      const version = steps.authentication.value();
      const loss =
        right.optional ?? (isNeededLater(right, version) ? "Kubernetes 1.35 will need it" : undefined);
      if (loss === undefined) throw new BridgeError("cluster_forbidden", message, { hint, details });
      return warning(undefined, `${message}: ${loss}`, { code: "cluster_forbidden", hint, details });
    });
  };
  return new Map(NEEDED_RIGHTS.map((right) => [nameOfRight(right), declare(right)]));
}

/** Undefined when that may not be asked. */
async function ask({ kube }: OpenedCluster, right: Right, signal: AbortSignal): Promise<boolean | undefined> {
  try {
    return await isGranted(kube, right, signal);
  } catch (error) {
    if (error instanceof BridgeError && error.code === "cluster_forbidden") return undefined;
    throw error;
  }
}

/** "right_create_pods_portforward" */
function stepName(right: NeededRight): string {
  return `right_${nameOfRight(right).replaceAll(/[^a-z]+/g, "_")}`;
}

function toRight({ verb, group, resource, subresource, where }: NeededRight, namespace: string): Right {
  return {
    verb,
    group,
    resource,
    ...(subresource === undefined ? {} : { subresource }),
    ...(where === "namespace" ? { namespace } : {}),
  };
}

function remedy(right: NeededRight, namespace: string): string {
  const role = right.where === "namespace" ? `a Role in namespace ${namespace}` : "a ClusterRole";
  return `Grant it by the rule ${ruleOfRight(right)} of ${role} (docs/rbac/managed-cluster.yaml has all).`;
}

function isNeededLater(right: NeededRight, version: string): boolean {
  if (nameOfRight(right) !== "create pods/portforward") return false;
  const [, major, minor] = /^v?(\d+)\.(\d+)/.exec(version) ?? [];
  if (major === undefined || minor === undefined) return false;
  const [majorNeeded, minorNeeded] = CREATE_NEEDED_FROM;
  return Number(major) < majorNeeded || (Number(major) === majorNeeded && Number(minor) < minorNeeded);
}
