// As api-types.ts: the answers of routes that are on the way to a registered cluster, or change one.

interface Refusal {
  code: string;
  message: string;
  hint: string;
}

export interface InspectedContext {
  context: string;
  server: string | null;
  authentication: string | null;
  namespace: string | null;
  certificate_expires_at: string | null;
  token_expires_at: string | null;
  warnings: string[];
  accepted: boolean;
  problem: Refusal | null;
}

export interface Inspection {
  contexts: InspectedContext[];
  problem: Refusal | null;
}

export interface FoundService {
  namespace: string;
  service: string;
  port: number;
  pod_port: number | null;
  scheme: "http" | "https";
  reasons: string[];
}

export interface FoundServices {
  services_read: number;
  complete: boolean;
  note: string | null;
  services: FoundService[];
}

export interface RegisteredCluster {
  id: string;
  name: string;
  platform: string;
  enabled: boolean;
  validate_certs: boolean;
  source: "file" | "api" | "command-line";
  labels: Record<string, string>;
  prometheus: { url: string | null; namespace: string | null; service: string | null; port: number | null };
}

export type CollectAnswer =
  | { status: "started" | "finished"; round: { total: number }; busy: unknown[] }
  | { status: "disabled"; message: string; hint: string };
