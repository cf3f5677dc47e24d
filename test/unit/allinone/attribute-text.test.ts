import { expect, test } from "vitest";
import { toAttributeText } from "#allinone/attribute-text.ts";
import { createOtlpCodec } from "#allinone/otlp-proto.ts";
import { toOtlpAnyValue, type TestValue } from "../../helpers/otlp-request.ts";

const codec = createOtlpCodec();

// Results of the Collector's pcommon.Value.AsString for the same values.
const VALUES: [TestValue | undefined, string][] = [
  [undefined, ""],
  [{ string: "" }, ""],
  [{ string: "ü\u0000" }, "ü\u0000"],
  [{ bool: true }, "true"],
  [{ bool: false }, "false"],
  [{ int: -9223372036854775808n }, "-9223372036854775808"],
  [{ double: 1.5 }, "1.5"],
  [{ double: Number.NaN }, "NaN"],
  [{ bytes: [0, 255] }, "AP8="],
  [
    { array: [{ string: '"' }, { int: 9223372036854775807n }, { bool: true }, undefined] },
    '["\\"",9223372036854775807,true,null]',
  ],
  [
    {
      map: [
        ["k", { array: [] }],
        ["é", { bytes: [1] }],
      ],
    },
    '{"k":[],"é":"AQ=="}',
  ],
];

test.each(VALUES.map(([value, text]) => ({ kind: Object.keys(value ?? {}).join(), value, text })))(
  "$kind becomes $text",
  ({ value, text }) => {
    const request = codec.decodeRequest(toOtlpAnyValue(value));
    const [attribute] = request.resourceMetrics[0]?.resource?.attributes ?? [];
    expect(toAttributeText(attribute?.value ?? null)).toBe(text);
  },
);
