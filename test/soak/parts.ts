import type { SoakBridge } from "./bridge.ts";
import type { Container } from "./container.ts";
import type { Fault, Part } from "./plan.ts";
import type { Wire } from "./wire.ts";

type Heal = () => void | Promise<void>;

/** Strikes a part; returns what heals it. */
export type Strike = (fault: Pick<Fault, "part" | "action">) => Promise<Heal>;

export interface Parts {
  bridge: SoakBridge;
  /** The bridge's connections to others lead through these. */
  wires: { apiServer: Wire; collector: Wire };
  containers: Record<Exclude<Part, "bridge">, Container>;
}

export function createStrike({ bridge, wires, containers }: Parts): Strike {
  return async ({ part, action }) => {
    if (part === "bridge") {
      if (action === "kill") return await bridge.kill();
      return action === "pause" ? bridge.pause() : cut([wires.apiServer, wires.collector]);
    }
    if (action === "cut" && part === "API server") return cut([wires.apiServer]);
    if (action === "cut" && part === "Collector") return cut([wires.collector]);
    return await containers[part].strike(action);
  };
}

function cut(wires: readonly Wire[]): Heal {
  const mends = wires.map((wire) => wire.cut());
  return () => {
    for (const mend of mends) mend();
  };
}
