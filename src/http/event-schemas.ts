import { z } from "zod";

/** Of every event stream. */
export const EVENT_NOTES =
  "A comment is sent every 15 s. A stream that the server ends has `end` as its last event, with the error as its data. Browsers: EventSource can't send a token; read the answer of `fetch` instead.";

/**
 * The schema of an answer of type text/event-stream. OpenAPI 3.1 can't describe events, so `x-events` refers to the schema of the JSON of each
 * event's data.
 */
export function eventStream(events: Readonly<Record<string, z.ZodType>>, example: string): z.ZodString {
  const refs = Object.entries({ ...events, end: undefined }).map(([name, schema]) => [
    name,
    { $ref: `#/components/schemas/${schema ? idOf(schema) : "ErrorAnswer"}` },
  ]);
  return z.string().meta({ "x-events": Object.fromEntries(refs), examples: [example] });
}

function idOf(schema: z.ZodType): string {
  const { id } = z.globalRegistry.get(schema) ?? {};
  if (id === undefined) throw new Error("the schema of an event's data has an id");
  return id;
}
