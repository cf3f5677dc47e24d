import * as client from "@kubernetes/client-node";
import { Deployment } from "kubernetes-models/apps/v1/Deployment";
import { StatefulSet } from "kubernetes-models/apps/v1/StatefulSet";
import { HorizontalPodAutoscaler } from "kubernetes-models/autoscaling/v2/HorizontalPodAutoscaler";
import { Job } from "kubernetes-models/batch/v1/Job";
import { Ingress } from "kubernetes-models/networking.k8s.io/v1/Ingress";
import { NetworkPolicy } from "kubernetes-models/networking.k8s.io/v1/NetworkPolicy";
import { PodDisruptionBudget } from "kubernetes-models/policy/v1/PodDisruptionBudget";
import { Role } from "kubernetes-models/rbac.authorization.k8s.io/v1/Role";
import { RoleBinding } from "kubernetes-models/rbac.authorization.k8s.io/v1/RoleBinding";
import { ConfigMap } from "kubernetes-models/v1/ConfigMap";
import { PersistentVolumeClaim } from "kubernetes-models/v1/PersistentVolumeClaim";
import { Pod } from "kubernetes-models/v1/Pod";
import { Secret } from "kubernetes-models/v1/Secret";
import { Service } from "kubernetes-models/v1/Service";
import { ServiceAccount } from "kubernetes-models/v1/ServiceAccount";
import { isMap, type KubeObject } from "./helm.ts";

interface Model {
  validate(): void;
}

const models: Record<string, new (data: never) => Model> = {
  "apps/v1/Deployment": Deployment,
  "apps/v1/StatefulSet": StatefulSet,
  "autoscaling/v2/HorizontalPodAutoscaler": HorizontalPodAutoscaler,
  "batch/v1/Job": Job,
  "networking.k8s.io/v1/Ingress": Ingress,
  "networking.k8s.io/v1/NetworkPolicy": NetworkPolicy,
  "policy/v1/PodDisruptionBudget": PodDisruptionBudget,
  "rbac.authorization.k8s.io/v1/Role": Role,
  "rbac.authorization.k8s.io/v1/RoleBinding": RoleBinding,
  "v1/ConfigMap": ConfigMap,
  "v1/PersistentVolumeClaim": PersistentVolumeClaim,
  "v1/Pod": Pod,
  "v1/Secret": Secret,
  "v1/Service": Service,
  "v1/ServiceAccount": ServiceAccount,
};

/** Kinds that are not Kubernetes' own; their schemas come with who defines them. */
const FOREIGN = new Set([
  "dapr.io/v1alpha1/Component",
  "monitoring.coreos.com/v1/ServiceMonitor",
  "monitoring.coreos.com/v1/PrometheusRule",
  "gateway.networking.k8s.io/v1/HTTPRoute",
]);

/** Kubernetes' objections to an object: invalid, missing and unknown fields. */
export function schemaProblems(object: KubeObject): string[] {
  const type = `${object.apiVersion}/${object.kind}`;
  if (FOREIGN.has(type)) return [];
  const where = `${object.kind} ${object.metadata.name}`;
  const Model = models[type];
  if (Model === undefined) return [`${where}: ${type} is not known`];
  const problems = unknownFields(object, modelName(object)).map(
    (field) => `${where}: unknown field ${field}`,
  );
  try {
    new Model(object as never).validate();
  } catch (error) {
    problems.push(`${where}: ${String(error)}`);
  }
  return problems;
}

interface Attribute {
  baseName: string;
  type: string;
}

/** V1Deployment, V2HorizontalPodAutoscaler. */
function modelName({ apiVersion, kind }: KubeObject): string {
  const version = apiVersion.split("/").at(-1) ?? "";
  return `${version.charAt(0).toUpperCase()}${version.slice(1)}${kind}`;
}

/** Paths of the fields that the client's model of the type does not have; texts, numbers and free maps have none. */
function unknownFields(value: unknown, type: string): string[] {
  const list = /^Array<(.+)>$/.exec(type)?.[1];
  if (list !== undefined && Array.isArray(value)) {
    return value.flatMap((item, index) => unknownFields(item, list).map((path) => `[${index}].${path}`));
  }
  const map = /^{ \[key: string\]: (.+); }$/.exec(type)?.[1];
  if (map !== undefined && isMap(value)) {
    return Object.entries(value).flatMap(([key, item]) =>
      unknownFields(item, map).map((path) => `${key}.${path}`),
    );
  }
  const model: unknown = (client as Record<string, unknown>)[type];
  if (!isMap(value) || typeof model !== "function" || !("getAttributeTypeMap" in model)) return [];
  const attributes = (model.getAttributeTypeMap as () => Attribute[])();
  return Object.entries(value).flatMap(([key, item]) => {
    const attribute = attributes.find((one) => one.baseName === key);
    if (attribute === undefined) return [key];
    return unknownFields(item, attribute.type).map((path) => `${key}.${path}`);
  });
}
