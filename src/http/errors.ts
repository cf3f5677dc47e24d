import type { FastifyError, FastifyReply, FastifyRequest, FastifySchemaValidationError } from "fastify";
import { hasZodFastifySchemaValidationErrors, validatorCompiler } from "fastify-type-provider-zod";
import { BridgeError, type ErrorBody, type ErrorCode, toBridgeError, toErrorBody } from "#errors/error.ts";
import { type PrometheusError, toPrometheusAnswer, toPromqlAnswer } from "./promql-errors.ts";
import { PromqlError } from "#promql/error.ts";
import type { Logger } from "#telemetry/logger.ts";
import { scrubText, scrubValue } from "#telemetry/scrub.ts";

declare module "fastify" {
  interface FastifyContextConfig {
    /** The form of the route's error answers; else ErrorAnswer. */
    errorsAs?: "prometheus";
  }
  interface FastifyRequest {
    /** The code of the error that was answered, for the access log. */
    errorCode: ErrorCode | null;
  }
}

/** Every error answer of the API. */
export interface ErrorAnswer {
  error: ErrorBody;
}

const FIELDS_MAX = 10;
/** Paths and problems contain names from the request, which may be as long as the whole body. */
const FIELD_CHARS_MAX = 256;
const PROBLEM_CHARS_MAX = 1024;

/** Messages for requests that Fastify itself refuses. Its own messages repeat the input. */
const FRAMEWORK_ERRORS: Record<string, { code: ErrorCode; message: string }> = {
  FST_ERR_CTP_BODY_TOO_LARGE: { code: "body_too_large", message: "the body is larger than this route takes" },
  FST_ERR_CTP_INVALID_MEDIA_TYPE: {
    code: "unsupported_media_type",
    message: "this route does not take the body's content type",
  },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: {
    code: "request_invalid",
    message: "the body is not as long as Content-Length says",
  },
  FST_ERR_CTP_INVALID_JSON_BODY: { code: "request_invalid", message: "the body is not JSON" },
  FST_ERR_BAD_URL: { code: "request_invalid", message: "the path is not a well-formed URL path" },
  FST_ERR_MAX_PARAM_LENGTH: { code: "request_invalid", message: "a part of the path is too long" },
};

/** The error answer for any thrown value. An error that is not known to be the caller's fault becomes `internal`. */
function toHttpError(error: unknown): BridgeError {
  if (error instanceof BridgeError) return error;
  if (hasZodFastifySchemaValidationErrors(error)) return toValidationError(error);
  const { code, statusCode } = (error ?? {}) as Partial<FastifyError>;
  const known = code === undefined ? undefined : FRAMEWORK_ERRORS[code];
  if (known) return new BridgeError(known.code, known.message, { cause: error });
  const framework = code?.startsWith("FST_ERR_") === true && statusCode !== undefined;
  if (framework && statusCode >= 400 && statusCode < 500) {
    return new BridgeError("request_invalid", "the request can't be understood", { cause: error });
  }
  return toBridgeError(error);
}

const PARTS: Record<string, string> = {
  querystring: "query",
  params: "path",
  body: "body",
  headers: "header",
};

/** Zod's validation, with the first errors only: Fastify builds a text of all of them. */
export const validateByZod: typeof validatorCompiler = (route) => {
  const validate = validatorCompiler(route);
  return (data) => {
    const result = validate(data) as { error?: FastifySchemaValidationError[] };
    return result.error ? { error: result.error.slice(0, FIELDS_MAX) } : result;
  };
};

interface Validation {
  validation: readonly { instancePath: string; message?: string | undefined }[];
  validationContext?: string | undefined;
}

function toValidationError(error: Validation): BridgeError {
  const part = PARTS[error.validationContext ?? ""] ?? "request";
  const fields = error.validation.slice(0, FIELDS_MAX).map(({ instancePath, message }) => ({
    in: part,
    field: instancePath.slice(0, FIELD_CHARS_MAX).replace(/^\//, "").replaceAll("/", "."),
    problem: (message ?? "is not allowed").slice(0, PROBLEM_CHARS_MAX),
  }));
  const words = fields.map(
    ({ field, problem }) => `${part}${field === "" ? "" : ` field "${field}"`}: ${problem}`,
  );
  return new BridgeError("request_invalid", words.join("; "), { details: { fields } });
}

/** What is told of a cluster, without secrets: its message and details may quote a remote server. */
export function scrubTold<T extends Pick<ErrorBody, "message" | "details">>(told: T): T {
  const { message, details } = told;
  return {
    ...told,
    message: scrubText(message),
    ...(details ? { details: scrubValue(details) as Record<string, unknown> } : {}),
  };
}

/** The body of an error answer, without secrets; `internal` names the request id, which finds the details in the log. */
export function toErrorAnswer(error: BridgeError, requestId: string): ErrorAnswer {
  const body = toErrorBody(error);
  const details = error.code === "internal" ? { request_id: requestId } : body.details;
  return {
    error: {
      code: body.code,
      message: error.code === "internal" ? "an unexpected error happened" : scrubText(body.message),
      hint: body.hint,
      ...(details ? { details: scrubValue(details) as Record<string, unknown> } : {}),
    },
  };
}

/** Answers every error in the same form and logs what the answer leaves out: all of an `internal` error, the causes of other 5xx errors. */
export function createErrorHandler(logger: Logger) {
  return async (thrown: unknown, request: FastifyRequest, reply: FastifyReply): Promise<void> => {
    if (thrown instanceof PromqlError) return await sendPrometheusError(reply, toPromqlAnswer(thrown));
    const error = toHttpError(thrown);
    request.errorCode = error.code;
    const fields = { request_id: request.id, method: request.method, err: error };
    // A request that was stopped because its client went away is no failure.
    if (reply.raw.destroyed) logger.debug(fields, "a request ended after its client went away");
    else if (error.code === "internal") logger.error(fields, "a request failed unexpectedly");
    else if (error.httpStatus >= 500 && error.code !== "shutting_down")
      logger.warn(fields, "a request failed");
    const retryAfter = error.details?.["retry_after_seconds"];
    if (typeof retryAfter === "number") reply.header("retry-after", String(retryAfter));
    if (error.code === "unauthenticated") reply.header("www-authenticate", 'Bearer realm="budcluster"');
    if (request.routeOptions.config.errorsAs === "prometheus")
      return await sendPrometheusError(
        reply,
        toPrometheusAnswer(error, toErrorAnswer(error, request.id).error),
      );
    await reply
      .code(error.httpStatus)
      .type("application/json; charset=utf-8")
      .send(toErrorAnswer(error, request.id));
  };
}

async function sendPrometheusError(reply: FastifyReply, { status, body }: PrometheusError): Promise<void> {
  await reply.code(status).type("application/json; charset=utf-8").send(JSON.stringify(body));
}
