import { expect, it } from "vitest";
import { z } from "zod";
import { mappingField } from "#clusters/cluster-fields.ts";

it("names unknown fields of a mapping, but no key that may be a secret", () => {
  const field = mappingField({ username: z.string() }, "username");
  const problemsOf = (value: unknown) => field.safeParse(value).error?.issues.map(({ message }) => message);
  expect(problemsOf({ username: "a", user_name: "b" })).toEqual([
    "must be a mapping with username; unknown: user_name",
  ]);
  expect(problemsOf({ username: "a", "s3cret=": 1 })).toEqual(["must be a mapping with username"]);
  expect(problemsOf("a")).toEqual(["must be a mapping with username"]);
});
