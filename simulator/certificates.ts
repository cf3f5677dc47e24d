import { generate } from "selfsigned";

/** A certificate and its key, PEM. */
interface Identity {
  cert: string;
  key: string;
}

/** One CA and the server certificates that an API server can show. */
export interface Certificates {
  ca: string;
  /** Trusted by `ca`, for 127.0.0.1, localhost and the given host name. */
  trusted: Identity;
  /** Made on demand: signed by an unknown authority, no longer valid, or for another host. */
  bad(problem: "untrusted" | "expired" | "wrong-name"): Promise<Identity>;
}

const DAY_MS = 86_400_000;

/** Each call makes a CA of its own. Validity follows real time, since TLS libraries know no other. */
export async function createCertificates(name: string, hostName = "localhost"): Promise<Certificates> {
  const authority = await makeAuthority(`${name} CA`);
  return {
    ca: authority.cert,
    trusted: await issue(authority, name, { names: ["localhost", hostName] }),
    bad: async (problem) => {
      if (problem === "untrusted") return issue(await makeAuthority("somebody else"), name, {});
      return issue(
        authority,
        name,
        problem === "expired" ? { expired: true } : { host: "elsewhere.example.com" },
      );
    },
  };
}

async function makeAuthority(name: string): Promise<Identity> {
  const made = await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: new Date(Date.now() - 3 * DAY_MS),
    notAfterDate: new Date(Date.now() + 3650 * DAY_MS),
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, cRLSign: true, digitalSignature: true, critical: true },
    ],
  });
  return { cert: made.cert, key: made.private };
}

async function issue(
  authority: Identity,
  name: string,
  { host, names = ["localhost"], expired = false }: { host?: string; names?: string[]; expired?: boolean },
): Promise<Identity> {
  const made = await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: new Date(Date.now() - 2 * DAY_MS),
    notAfterDate: new Date(Date.now() + (expired ? -DAY_MS : 3650 * DAY_MS)),
    extensions: [
      { name: "basicConstraints", cA: false, critical: true },
      { name: "keyUsage", digitalSignature: true, critical: true },
      { name: "extKeyUsage", serverAuth: true },
      {
        name: "subjectAltName",
        altNames:
          host === undefined
            ? [
                ...[...new Set(names)].map((value) => ({ type: 2 as const, value })),
                { type: 7, ip: "127.0.0.1" },
              ]
            : [{ type: 2, value: host }],
      },
    ],
    ca: authority,
  });
  return { cert: made.cert, key: made.private };
}
