import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { CHART, HELM, run } from "../helm/helm.ts";

const ROOT = join(CHART, "..");

/** A command that the documentation gives, and where. */
export interface DocumentedCommand {
  file: string;
  command: string;
}

/** Every helm command with arguments, every kubectl command that changes something, and `npm run kubeconfig`. */
const CHANGES =
  /\bhelm (?:-\S+ \S+ )*[a-z]+ \S|\bkubectl (?:create|apply|delete|patch|replace)\b|\bnpm run -s kubeconfig -- /;

/** Reads them from the guides, the chart's values and notes, so that no list of them can be forgotten. */
export async function documentedCommands(env: NodeJS.ProcessEnv): Promise<DocumentedCommand[]> {
  const guides = [
    "README.md",
    "SECURITY.md",
    "CONTRIBUTING.md",
    "helm/README.md",
    "dapr/README.md",
    ...readdirSync(join(ROOT, "docs"))
      .filter((name) => name.endsWith(".md"))
      .map((name) => `docs/${name}`),
  ];
  const texts = guides.map((file) => ({ file, code: codeOf(readFileSync(join(ROOT, file), "utf8")) }));
  const values = readFileSync(join(CHART, "values.yaml"), "utf8");
  texts.push({ file: "helm/values.yaml", code: [...values.matchAll(/`([^`]+)`/g)].map(([, code]) => code!) });
  texts.push({ file: "NOTES.txt", code: (await notes(env)).split("\n") });
  return texts.flatMap(({ file, code }) =>
    code
      .map((line) => line.replace(/\s#\s.*$/, "").trim())
      .filter((line) => CHANGES.test(line))
      .map((command) => ({ file, command })),
  );
}

/** Lines of the code blocks, and what stands in backticks elsewhere. A line that ends in a backslash goes on. */
function codeOf(markdown: string): string[] {
  const blocks: string[] = [];
  const prose = markdown.replaceAll(/^```(\w*)\n([\s\S]*?)^```/gm, (_, language: string, block: string) => {
    if (language === "sh" || language === "") blocks.push(block.replaceAll(/\\\n\s*/g, ""));
    return "";
  });
  const indented = [...prose.matchAll(/^ {4}(\S.*)$/gm)].map(([, line]) => line!);
  const inline = [...prose.matchAll(/`([^`\n]+)`/g)].map(([, code]) => code!);
  return [...blocks.flatMap((block) => block.split("\n")), ...indented, ...inline];
}

async function notes(env: NodeJS.ProcessEnv): Promise<string> {
  const args = ["install", "budcluster-metrics", CHART, "--dry-run=client", "-o", "json"];
  const { stdout, stderr } = await run(HELM, [...args, "--namespace", "budcluster-metrics"], "", env);
  if (stdout === "") throw new Error(stderr);
  return (JSON.parse(stdout) as { info: { notes: string } }).info.notes;
}
