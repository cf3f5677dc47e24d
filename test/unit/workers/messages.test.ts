import { inspect } from "node:util";
import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { createSecret, type Secret } from "#lib/secret.ts";
import { fromWireError, pack, toWireError, unpack } from "#workers/messages.ts";

const overTheWire = (value: unknown): unknown => unpack(JSON.parse(JSON.stringify(pack(value))) as unknown);

test("a value with secrets comes out of the channel as it went in, and its secrets stay hidden", () => {
  const value = { id: "a", list: [1, { token: createSecret("s3cret") }], none: null, flag: true };
  const copy = overTheWire(value) as typeof value;
  expect((copy.list[1] as { token: Secret }).token.expose()).toBe("s3cret");
  expect(inspect(copy, { depth: 5 }) + JSON.stringify(copy)).not.toContain("s3cret");
  expect({ ...copy, list: [1] }).toEqual({ ...value, list: [1] });
});

test("an object that only looks like a packed secret among other fields stays as it is", () => {
  expect(overTheWire({ $secret: "x", other: 1 })).toEqual({ $secret: "x", other: 1 });
  expect(overTheWire({ $secret: 5 })).toEqual({ $secret: 5 });
});

test("errors keep their code, message, remedy, details and status", () => {
  const error = new BridgeError("tunnel_closed", "closed", { hint: "h", details: { a: 1 }, httpStatus: 418 });
  const copy = fromWireError(JSON.parse(JSON.stringify(toWireError(error))));
  expect(copy).toBeInstanceOf(BridgeError);
  expect(copy).toMatchObject({
    code: "tunnel_closed",
    message: "closed",
    hint: "h",
    details: { a: 1 },
    httpStatus: 418,
  });
  expect(fromWireError(toWireError(new TypeError("odd")))).not.toBeInstanceOf(BridgeError);
  expect(fromWireError(toWireError("text")).message).toBe("text");
});
