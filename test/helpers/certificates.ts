import { generate } from "selfsigned";

export interface Certificate {
  certPem: string;
  keyPem: string;
}

/** A self-signed server certificate, which is its own CA. `names` are DNS names; 127.0.0.1 is always among the addresses. */
export async function createCertificate(...names: string[]): Promise<Certificate> {
  const made = await generate([{ name: "commonName", value: names[0] ?? "test" }], {
    keyType: "ec",
    algorithm: "sha256",
    extensions: [
      {
        name: "subjectAltName",
        altNames: [
          ...names.map((value) => ({ type: 2 as const, value })),
          { type: 7 as const, ip: "127.0.0.1" },
        ],
      },
    ],
  });
  return { certPem: made.cert, keyPem: made.private };
}
