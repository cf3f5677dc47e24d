import { inspect } from "node:util";

/** A secret text that no log, JSON body, error message or template can show by accident; `expose` is the one way to it. */
export interface Secret {
  expose(): string;
  toString(): string;
  toJSON(): string;
}

const HIDDEN = "[secret]";

export function createSecret(value: string): Secret {
  return Object.freeze({
    expose: () => value,
    toString: () => HIDDEN,
    toJSON: () => HIDDEN,
    [inspect.custom]: () => HIDDEN,
  });
}

/** What a shorter text blanks out is more likely an ordinary word than a secret. */
const HIDEABLE_CHARS_MIN = 6;

/** The text of somebody who was given these secrets, without them: servers and proxies quote requests in their errors. */
export function hideSecrets(text: string, secrets: readonly string[]): string {
  // The longest first: one may be a part of another.
  const sorted = secrets.toSorted((a, b) => b.length - a.length);
  return sorted.reduce(
    (rest, secret) => (secret.length < HIDEABLE_CHARS_MIN ? rest : rest.replaceAll(secret, HIDDEN)),
    text,
  );
}

/** The secrets that a header's value may hold: itself, and what follows its scheme ("Bearer x"). */
export function secretsOfHeader(value: string): string[] {
  return [value, ...value.split(/\s+/).slice(1)];
}
