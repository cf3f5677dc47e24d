import { expect, test } from "vitest";
import { BridgeError } from "#errors/error.ts";
import { toStartError } from "#app/start-error.ts";

const system = (code: string, call: string): Error =>
  Object.assign(new Error(`${call} ${code}: too many open files`), { code });

test.each([
  [
    "listening",
    new BridgeError("config_invalid", "can't listen on HOST=127.0.0.1 PORT=9081: EMFILE", {
      cause: system("EMFILE", "listen"),
      hint: "Set PORT to a free port and HOST to an address of this machine.",
    }),
  ],
  ["reading a file", system("EMFILE", "open")],
  ["the whole machine", system("ENFILE", "open")],
  [
    "loading a package",
    new BridgeError("engine_unavailable", "the package can't be loaded", {
      cause: new Error("import failed", { cause: system("EMFILE", "open") }),
    }),
  ],
  [
    "the engine",
    new BridgeError("storage_failed", "ClickHouse refused the statement: code 573 EPOLL_ERROR", {
      cause: new Error(
        "Code: 573. DB::ErrnoException: Cannot open epoll descriptor: , errno: 24, strerror: Too many open files.",
      ),
    }),
  ],
])("out of file descriptors while %s: the limit is named, not PORT", (_what, thrown) => {
  const error = toStartError(thrown);
  expect([error.code, error.message]).toEqual([
    "file_descriptors_exhausted",
    expect.stringMatching(/^the limit of open files \(ulimit -n\) is used up/),
  ]);
  expect(error.hint).toContain("ulimit -n 65536");
  expect(error.hint).not.toContain("PORT");
});

test("other failures stay what they are", () => {
  const taken = new BridgeError("config_invalid", "can't listen on HOST=127.0.0.1 PORT=9081: EADDRINUSE");
  expect(toStartError(taken)).toBe(taken);
  expect(toStartError(new Error("a defect")).code).toBe("internal");
});
