import { BridgeError } from "#errors/error.ts";

/** More than any route needs: a kubeconfig of 100 clusters, given as an object, has about 1,500 values on at most seven levels. */
const BODY_SHAPE = { depthMax: 32, valuesMax: 2000 };

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * Refuses a JSON text of a shape that no route takes, before it is parsed: JSON.parse needs half a second for 1 MiB of brackets, and each
 * unknown field or wrong item costs an error message. Reads each character once; does not check the syntax. Throws `request_invalid`.
 */
export function assertBodyShape(text: string): void {
  let depth = 0;
  let values = 1;
  for (let at = 0; at < text.length; at++) {
    switch (text.charCodeAt(at)) {
      case QUOTE:
        at = endOfString(text, at);
        break;
      case COMMA:
        values++;
        break;
      case OPEN_BRACKET:
      case OPEN_BRACE:
        values++;
        depth++;
        break;
      case CLOSE_BRACKET:
      case CLOSE_BRACE:
        depth--;
        break;
      default:
    }
    if (depth > BODY_SHAPE.depthMax) throw refuse(`nests deeper than ${BODY_SHAPE.depthMax} levels`);
    if (values > BODY_SHAPE.valuesMax) throw refuse(`has more than ${BODY_SHAPE.valuesMax} values`);
  }
}

/** The index of the quote that ends the string which begins at `start`. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text.charCodeAt(at) !== QUOTE) {
    at += text.charCodeAt(at) === BACKSLASH ? 2 : 1;
  }
  return at;
}

function refuse(problem: string): BridgeError {
  return new BridgeError("request_invalid", `body: ${problem}`, {
    hint: "Send only the fields that /docs describes.",
    details: { fields: [{ in: "body", field: "", problem }] },
  });
}
