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
