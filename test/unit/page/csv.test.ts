import { expect, it } from "vitest";
import { csvOf } from "#page/csv.ts";

it("quotes by RFC 4180, and leaves what is not measured empty", () => {
  expect(
    csvOf([
      ["cluster_id", "gpu_hours"],
      ["edge-1", 1.5],
      ['a "b", c', null],
      ["two\nlines", 0],
    ]),
  ).toBe('cluster_id,gpu_hours\r\nedge-1,1.5\r\n"a ""b"", c",\r\n"two\nlines",0\r\n');
});

it.each(["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])(
  "keeps a spreadsheet from computing %j (OWASP, CSV injection)",
  (text) => {
    expect(csvOf([[text]])).toBe(`'${text}\r\n`);
  },
);

it("leaves negative numbers as they are", () => {
  expect(csvOf([[-1.5]])).toBe("-1.5\r\n");
});
