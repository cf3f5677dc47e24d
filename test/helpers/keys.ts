import { generateKeyPairSync } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Envelope } from "#clusters/envelope.ts";

/** A private RSA key as PKCS #8 PEM. */
export function rsaPem(bits = 3072): string {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: bits });
  return privateKey.export({ type: "pkcs8", format: "pem" }) as string;
}

/** A new directory with these files. */
export function writeFiles(directory: string, files: Readonly<Record<string, string>>): string {
  mkdirSync(directory, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(directory, name), text);
  return directory;
}

/** A kubeconfig (JSON) of one user with this token. */
export function tokenKubeconfig(token: string, server = "https://api.example.org:6443"): string {
  return JSON.stringify({
    clusters: [{ name: "c", cluster: { server } }],
    users: [{ name: "u", user: { token } }],
    contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
    "current-context": "x",
  });
}

/** The text of a sealed kubeconfig. */
export function kubeconfigOf(envelope: Envelope): string {
  if ("kubeconfig" in envelope) return envelope.kubeconfig.expose();
  throw new Error("the envelope has no kubeconfig");
}
