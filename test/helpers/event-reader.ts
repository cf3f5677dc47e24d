/** An event of a stream of server-sent events; a comment has the event "comment". */
export interface ReadEvent {
  event: string;
  id: string | null;
  data: unknown;
}

export interface EventReader {
  answer: Response;
  /** The next event; undefined when the stream has ended. */
  next(): Promise<ReadEvent | undefined>;
  /** The next one of this kind; those before it are dropped. */
  nextOf(event: string): Promise<ReadEvent>;
  /** All events up to the stream's end. */
  rest(): Promise<ReadEvent[]>;
  /** The client goes away. */
  leave(): void;
}

/** Asks for an event stream. An answer that is none has to be read from `answer`. */
export async function readEvents(url: string, init: RequestInit = {}): Promise<EventReader> {
  const gone = new AbortController();
  const answer = await fetch(url, { ...init, signal: gone.signal });
  const blocks = isEventStream(answer) ? readBlocks(answer.body!) : undefined;
  const next = async (): Promise<ReadEvent | undefined> => {
    for (;;) {
      const { value } = (await blocks?.next()) ?? {};
      if (value === undefined) return undefined;
      const event = toEvent(value);
      if (event) return event;
    }
  };
  return {
    answer,
    next,
    nextOf: async (name) => {
      for (;;) {
        const found = await next();
        if (!found) throw new Error(`the stream ended without ${name}`);
        if (found.event === name) return found;
      }
    },
    rest: async () => {
      const events: ReadEvent[] = [];
      for (let event = await next(); event; event = await next()) events.push(event);
      return events;
    },
    leave: () => gone.abort(),
  };
}

async function* readBlocks(body: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  let text = "";
  for await (const chunk of body.pipeThrough(new TextDecoderStream())) {
    const parts = (text + chunk).split("\n\n");
    text = parts.pop() ?? "";
    yield* parts;
  }
  if (text !== "") throw new Error(`the stream ended within an event: ${text}`);
  return undefined;
}

/** Undefined: the block has only a field that is no event's. */
function toEvent(block: string): ReadEvent | undefined {
  if (block.startsWith(":")) return { event: "comment", id: null, data: block };
  const fields = new Map(block.split("\n").map((line) => line.split(/: (.*)/s, 2) as [string, string]));
  const data = fields.get("data");
  if (data === undefined) return undefined;
  return { event: fields.get("event") ?? "message", id: fields.get("id") ?? null, data: JSON.parse(data) };
}

/** The whole text of an answer; of an event stream, which does not end, its beginning up to the first event. */
export async function textOf(answer: Response): Promise<string> {
  if (!isEventStream(answer)) return await answer.text();
  let text = "";
  for await (const chunk of answer.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (/^data: .*\n\n/m.test(text)) break;
  }
  return text;
}

function isEventStream(answer: Response): boolean {
  return answer.headers.get("content-type")?.startsWith("text/event-stream") === true;
}
