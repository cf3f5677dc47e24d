import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { FormTable } from "./form.ts";
import { openFormEngine } from "./judge.ts";
import { FORM_TABLES } from "./tables.ts";

// `node test/forms/prove.ts [RULE]` switches each rule off and prints the forms that then get wrong answers. It ends with 1 when a form that needs the
// rule still gets the right ones, and with 2 when a form gets wrong answers although no rule is off. With a switch's name it judges the forms in this process.

const [rule, lifted] = process.argv.slice(2);
const ON = "(nothing)";
const print = (line: string): void => void process.stdout.write(`${line}\n`);
const run = promisify(execFile);
const lift = join(import.meta.dirname, "../hostile/lift.ts");

/** What is wrong with each form that needs the switch; every form of the rule when nothing is off. */
async function judgeAll(table: FormTable, key: string): Promise<Record<string, string[]>> {
  const folder = mkdtempSync(join(tmpdir(), "forms-"));
  const engine = await openFormEngine(join(folder, "clickhouse"));
  const found: Record<string, string[]> = {};
  for (const form of table.forms.filter(({ needs }) => key === ON || needs === key)) {
    found[form.name] = await engine
      .judge(form)
      .catch((error: unknown) => [`it fails: ${String(error).split("\n")[0]}`]);
  }
  await engine.close();
  rmSync(folder, { recursive: true });
  return found;
}

/** The same in a process of its own, whose sources are without the rule. */
async function judgeLifted(table: FormTable, key: string): Promise<Record<string, string[]>> {
  const { stdout } = await run(process.execPath, ["--import", lift, import.meta.filename, table.rule, key], {
    env: { ...process.env, LIFTED_LIMITS: JSON.stringify(table.switches[key] ?? []) },
    maxBuffer: 1e8,
  });
  return JSON.parse(stdout) as Record<string, string[]>;
}

async function prove(table: FormTable): Promise<void> {
  print(`\n${table.rule}`);
  for (const [form, wrong] of Object.entries(await judgeLifted(table, ON))) {
    if (wrong.length === 0) continue;
    print(`  WRONG with every rule: ${form}: ${wrong.join("; ")}`);
    process.exitCode = 2;
  }
  for (const key of Object.keys(table.switches)) {
    print(`  without ${key}:`);
    for (const [form, wrong] of Object.entries(await judgeLifted(table, key))) {
      print(`    ${form}: ${wrong[0]?.slice(0, 160) ?? "STILL RIGHT"}`);
      if (wrong.length === 0) process.exitCode ??= 1;
    }
  }
}

const tables = FORM_TABLES.filter((table) => rule === undefined || table.rule === rule);
if (lifted === undefined) for (const table of tables) await prove(table);
else for (const table of tables) print(JSON.stringify(await judgeAll(table, lifted)));
