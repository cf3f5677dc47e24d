import type { FastifyReply, FastifyRequest } from "fastify";
import { z } from "zod";
import type { Diagnosis, OnStep, StepEvent } from "#diagnose/step-runner.ts";
import { ERRORS, toBridgeError, type ErrorCode } from "#errors/error.ts";
import { requestSignal } from "./app-types.ts";
import { scrubTold, toErrorAnswer } from "./errors.ts";
import { eventStream } from "./event-schemas.ts";
import type { EventStreams, ServerEvent } from "./event-stream.ts";
import { timestamp } from "./schemas.ts";

const codes = Object.keys(ERRORS) as [ErrorCode, ...ErrorCode[]];

const stepName = z.string().meta({ description: "Never renamed: safe to depend on", examples: ["tls"] });

const step = z
  .object({
    step: stepName,
    title: z.string(),
    status: z.enum(["passed", "warning", "failed", "skipped"]),
    duration_ms: z.int(),
    code: z.enum(codes).exactOptional(),
    message: z.string().meta({ description: "The finding; for a skipped step, the reason" }),
    hint: z.string().exactOptional().meta({ description: "The remedy" }),
    details: z.record(z.string(), z.unknown()).exactOptional(),
  })
  .meta({ id: "DiagnosisStep" });

/** The fields that every diagnosis has. */
export const diagnosisFields = {
  status: z
    .enum(["passed", "warning", "failed"])
    .meta({ description: "failed when any step failed, otherwise warning when any step warns" }),
  started_at: timestamp,
  duration_ms: z.int(),
  steps: z.array(step),
};

const stepsEvent = z
  .object({ steps: z.array(z.object({ step: stepName, title: z.string() })) })
  .meta({ id: "DiagnosisStepsEvent", description: "The steps in their order, before the first one begins" });
const startedEvent = z.object({ step: stepName }).meta({ id: "DiagnosisStepStartedEvent" });

/** For the description of a route that answers by `answerDiagnosis`. */
export const DIAGNOSIS_NOTES =
  "With `Accept: text/event-stream` the steps are told as they happen: `steps`, then `step_started` and `step_finished` of each (a skipped one only finishes; some run side by side), at last `result`.";

/** The answers of status 200: JSON, or events as they happen. `diagnosis`: the schema of the whole, with an id. */
export function diagnosisContent<T extends z.ZodType>(diagnosis: T) {
  const events = {
    steps: stepsEvent,
    step_started: startedEvent,
    step_finished: step,
    result: diagnosis,
  };
  return {
    "application/json": { schema: diagnosis },
    "text/event-stream": { schema: eventStream(events, EXAMPLE) },
  };
}

const EXAMPLE = `retry: 3000

event: steps
data: {"steps":[{"step":"tls","title":"TLS"}]}

event: step_started
data: {"step":"tls"}

`;

/** Messages may quote a remote server, so they are scrubbed like every error answer. */
export function scrubDiagnosis<T extends Diagnosis>(diagnosis: T): T {
  return { ...diagnosis, steps: diagnosis.steps.map(scrubTold) };
}

function wantsEvents(request: Pick<FastifyRequest, "headers">): boolean {
  return /\btext\/event-stream\b/i.test(request.headers.accept ?? "");
}

/**
 * Answers by a diagnosis: the whole as JSON when it is done, or, if the caller accepts events, each step as it happens. What `run` throws before
 * the first step is an ordinary error answer. A client that goes away ends it.
 */
export async function answerDiagnosis<T extends Diagnosis>(
  parts: { request: FastifyRequest; reply: FastifyReply; streams: EventStreams; stopping: AbortSignal },
  run: (signal: AbortSignal, onStep?: OnStep) => Promise<T>,
): Promise<T | FastifyReply> {
  const { request, reply, streams, stopping } = parts;
  const signal = requestSignal(reply, stopping);
  reply.header("vary", "accept");
  if (!wantsEvents(request)) return scrubDiagnosis(await run(signal));
  return await streamDiagnosis(parts, streams, run, signal);
}

async function streamDiagnosis<T extends Diagnosis>(
  { request, reply }: { request: FastifyRequest; reply: FastifyReply },
  streams: EventStreams,
  run: (signal: AbortSignal, onStep: OnStep) => Promise<T>,
  signal: AbortSignal,
): Promise<FastifyReply> {
  const ended = new AbortController();
  const begun = Promise.withResolvers<void>();
  const early: StepEvent[] = [];
  let tell = (event: StepEvent): void => {
    early.push(event);
    begun.resolve();
  };
  const done = run(AbortSignal.any([signal, ended.signal]), (event) => tell(event));
  await Promise.race([begun.promise, done]);
  const stream = openStream();
  stream.signal.addEventListener("abort", () => ended.abort(stream.signal.reason), { once: true });
  tell = (event) => stream.send(toServerEvent(event));
  for (const event of early) tell(event);
  done
    .then(
      (diagnosis) => stream.send({ event: "result", data: scrubDiagnosis(diagnosis) }),
      (thrown: unknown) =>
        stream.send({ event: "end", data: toErrorAnswer(toBridgeError(thrown), request.id) }),
    )
    .finally(() => stream.end());
  return reply;

  function openStream() {
    try {
      return streams.open(request, reply);
    } catch (error) {
      ended.abort(error);
      done.catch(() => {});
      throw error;
    }
  }
}

function toServerEvent(event: StepEvent): ServerEvent {
  if (event.kind === "step_finished") return { event: event.kind, data: scrubTold(event.result) };
  const { kind, ...data } = event;
  return { event: kind, data };
}
