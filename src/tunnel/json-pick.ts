import { z } from "zod";
import type { Pick } from "#lib/json-reader.ts";

/**
 * The part of an answer that a schema describes, for the reader that skips everything else. Knows the forms of schema that describe
 * Kubernetes' answers: objects, arrays, records, strings, numbers, booleans, optional or nullable. `items`: the member `items` is a list that is
 * handed over piece by piece.
 */
export function toPick(
  schema: z.ZodType,
  items?: { schema: z.ZodType; each: (item: unknown) => void },
): Pick {
  const pick = pickOf(schema);
  if (!items) return pick;
  if (pick.kind !== "object") throw new Error("only an object has items");
  const list: Pick = { kind: "array", of: pickOf(items.schema), each: items.each };
  return { kind: "object", fields: new Map([...pick.fields, ["items", list]]) };
}

function pickOf(schema: z.ZodType): Pick {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodNullable)
    return pickOf(schema.unwrap() as z.ZodType);
  if (schema instanceof z.ZodObject) {
    const fields = Object.entries(schema.shape);
    return { kind: "object", fields: new Map(fields.map(([name, field]) => [name, pickOf(field)])) };
  }
  if (schema instanceof z.ZodArray) return { kind: "array", of: pickOf(schema.element as z.ZodType) };
  if (schema instanceof z.ZodRecord) return { kind: "map", of: pickOf(schema.valueType as z.ZodType) };
  return { kind: "scalar" };
}
