import { ApiError, stream, unreachable } from "./api.ts";
import { after } from "./clock.ts";

/** The server sends a comment every 15 s: after this time without anything, the connection is a dead one. */
const SILENT_MS = 45_000;

/**
 * Reads an event stream until the server ends it, and returns. An answer that is JSON counts as one event `result`. Throws ApiError: the request
 * is refused, the connection breaks, or the server ends the stream with an error.
 */
export async function readEvents(
  method: "GET" | "POST",
  path: string,
  signal: AbortSignal,
  onEvent: (name: string, data: unknown) => void,
  body?: unknown,
): Promise<void> {
  const silent = new AbortController();
  const answer = await stream(method, path, AbortSignal.any([signal, silent.signal]), body);
  if (!answer.headers.get("content-type")?.startsWith("text/event-stream")) {
    onEvent("result", await answer.json());
    return;
  }
  const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const cancel = after(SILENT_MS, () => silent.abort());
    const part = await reader
      ?.read()
      .catch((error: unknown) => {
        if (signal.aborted) throw error;
        throw unreachable(silent.signal.aborted ? "it sends nothing any more" : error);
      })
      .finally(cancel);
    if (part?.value === undefined) return;
    const blocks = (text + part.value).split("\n\n");
    text = blocks.pop() ?? "";
    for (const block of blocks) tell(block, onEvent);
  }
}

/** The program writes each event with one line of data. */
function tell(block: string, onEvent: (name: string, data: unknown) => void): void {
  const data = /^data: (.*)$/m.exec(block)?.[1];
  if (data === undefined) return;
  const name = /^event: (.*)$/m.exec(block)?.[1] ?? "";
  const value = JSON.parse(data) as { error?: ConstructorParameters<typeof ApiError>[1] };
  if (name === "end" && value.error) throw new ApiError(0, value.error);
  onEvent(name, value);
}
