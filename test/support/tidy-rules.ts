/**
 * The house rules that a machine can check, on one source file at a time. They work on the syntax
 * tree, so prose and strings cannot trip them.
 */
import { dirname, join } from "node:path/posix";
import ts from "typescript";

export interface Source {
  /** Path from the project's folder, with forward slashes: "src/core/call.ts". */
  readonly path: string;
  readonly text: string;
}

export const FILE_LINES_MAX = 300;
export const FUNCTION_LINES_MAX = 70;

/** The import table: imports point down this list, never up or sideways. */
const EDGE = ["base", "wire", "core", "ports.ts"];
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  wire: ["base"],
  core: ["base", "wire"],
  "ports.ts": ["base", "wire", "core"],
  engine: EDGE,
  store: EDGE,
  upstream: EDGE,
  downstream: EDGE,
  observe: EDGE,
  app: [...EDGE, "engine", "store", "upstream", "downstream", "observe"],
};

/** Parts that compute only: nothing but the project's own modules, no promises. */
const PURE = ["wire", "core", "ports.ts"];
/** Besides Node's own that do no I/O the engine uses p-queue, which only counts. */
const ENGINE_MAY_NOT =
  /^(node:(net|https?|http2|tls|dns|child_process|fs|worker_threads)\b|(?!p-queue$)[^.n])/;

const partOf = (path: string): string => path.split("/")[1] ?? "";

function parse(source: Source): ts.SourceFile {
  return ts.createSourceFile(source.path, source.text, ts.ScriptTarget.ES2023, true);
}

/** All nodes of the tree, parents first. */
function* nodesOf(node: ts.Node): Generator<ts.Node> {
  yield node;
  const children: ts.Node[] = [];
  ts.forEachChild(node, (child) => {
    children.push(child);
  });
  for (const child of children) yield* nodesOf(child);
}

function at(file: ts.SourceFile, node: ts.Node): string {
  const { line } = file.getLineAndCharacterOfPosition(node.getStart(file));
  return `${file.fileName}:${String(line + 1)}`;
}

function specifierOf(node: ts.Node): ts.Expression | ts.TypeNode | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return node.moduleSpecifier;
  if (ts.isImportTypeNode(node))
    return ts.isLiteralTypeNode(node.argument) ? node.argument : undefined;
  const isDynamic =
    ts.isCallExpression(node) && node.expression.kind === ts.SyntaxKind.ImportKeyword;
  return isDynamic ? node.arguments[0] : undefined;
}

/** The import table and the purity of what may be imported. For files in `src/`. */
export function importProblems(source: Source): string[] {
  const problems: string[] = [];
  const file = parse(source);
  const part = partOf(source.path);
  const allowed = MAY_IMPORT[part];
  if (allowed === undefined) return [`${source.path}: ${part} is no part of the house`];
  for (const node of nodesOf(file)) {
    const literal = specifierOf(node)?.getText(file);
    if (literal === undefined) continue;
    const specifier = literal.slice(1, -1);
    if (specifier.startsWith(".")) {
      const target = partOf(join(dirname(source.path), specifier));
      if (target !== part && !allowed.includes(target)) {
        problems.push(`${at(file, node)}: ${part} may not import ${target}`);
      }
    } else if (PURE.includes(part) || (part === "engine" && ENGINE_MAY_NOT.test(specifier))) {
      problems.push(`${at(file, node)}: ${part} may not import ${specifier}`);
    }
  }
  return problems;
}

export function sizeProblems(source: Source): string[] {
  const problems: string[] = [];
  const file = parse(source);
  const lines = source.text.split("\n").length - 1;
  if (lines > FILE_LINES_MAX) problems.push(`${source.path}: ${String(lines)} lines`);
  for (const node of nodesOf(file)) {
    if (!ts.isFunctionLike(node) || !("body" in node) || node.body === undefined) continue;
    const first = file.getLineAndCharacterOfPosition(node.getStart(file)).line;
    const last = file.getLineAndCharacterOfPosition(node.end).line;
    const length = last - first + 1;
    if (length > FUNCTION_LINES_MAX) {
      problems.push(`${at(file, node)}: a function of ${String(length)} lines`);
    }
  }
  return problems;
}

/** Promises in a pure part, and anything but types in the contract sheet. For files in `src/`. */
export function purityProblems(source: Source): string[] {
  const part = partOf(source.path);
  const file = parse(source);
  const problems: string[] = [];
  if (part === "ports.ts") {
    for (const statement of file.statements) {
      const isType =
        ts.isInterfaceDeclaration(statement) ||
        ts.isTypeAliasDeclaration(statement) ||
        (ts.isImportDeclaration(statement) &&
          statement.importClause?.phaseModifier === ts.SyntaxKind.TypeKeyword);
      if (!isType) problems.push(`${at(file, statement)}: ports.ts holds types only`);
    }
    return problems;
  }
  if (!PURE.includes(part)) return [];
  for (const node of nodesOf(file)) {
    const isPromise =
      ts.isAwaitExpression(node) ||
      node.kind === ts.SyntaxKind.AsyncKeyword ||
      (ts.isIdentifier(node) && node.text === "Promise");
    if (isPromise) problems.push(`${at(file, node)}: a promise in ${part}`);
  }
  return problems;
}

const TIMER_NAMES = new Set(["setTimeout", "setInterval"]);
const WORLD_NAMES = new Set([
  ...TIMER_NAMES,
  "randomUUID",
  "performance",
  "hrtime",
  "getRandomValues",
]);
const WORLD_MEMBERS = new Set(["Date.now", "Math.random", "AbortSignal.timeout"]);

const isTimerModule = (node: ts.Node): boolean =>
  ts.isStringLiteral(node) && /^node:timers|^timers(\/|$)/.test(node.text);

function isWorldly(node: ts.Node): boolean {
  if (ts.isIdentifier(node)) return WORLD_NAMES.has(node.text);
  if (ts.isNewExpression(node)) {
    const isDate = ts.isIdentifier(node.expression) && node.expression.text === "Date";
    return isDate && (node.arguments?.length ?? 0) === 0;
  }
  if (!ts.isPropertyAccessExpression(node) || !ts.isIdentifier(node.expression)) return false;
  return WORLD_MEMBERS.has(`${node.expression.text}.${node.name.text}`);
}

/** R19: clocks, timers, randomness and ids outside `base/world.ts`. For files in `src/`. */
export function worldProblems(source: Source): string[] {
  if (source.path === "src/base/world.ts") return [];
  const file = parse(source);
  return [...nodesOf(file)]
    .filter((node) => isWorldly(node) || isTimerModule(node))
    .map((node) => `${at(file, node)}: ${node.getText(file)} outside of the world`);
}

/** R33: real timers in tests that run in virtual time or in none. For files in `test/`. */
export function sleepProblems(source: Source): string[] {
  if (!/^test\/(engine|core|wire)\//.test(source.path)) return [];
  const file = parse(source);
  return [...nodesOf(file)]
    .filter((node) => (ts.isIdentifier(node) && TIMER_NAMES.has(node.text)) || isTimerModule(node))
    .map((node) => `${at(file, node)}: a real timer in a test without real time`);
}

const UNRUN =
  /^(it|test|describe|suite|bench|context|ctx)\b.*\.(only|skip|todo|skipIf|runIf|fails)$/s;

/** Tests that are not run, or that keep others from running. For files in `test/`. */
export function unrunProblems(source: Source): string[] {
  const file = parse(source);
  return [...nodesOf(file)]
    .filter((node) => ts.isPropertyAccessExpression(node) && UNRUN.test(node.getText(file)))
    .map((node) => `${at(file, node)}: ${node.getText(file)}`);
}

const LEFTOVER = new RegExp(String.raw`\b(${["TO" + "DO", "FIX" + "ME", "X" + "XX"].join("|")})\b`);

/** Marks of unfinished work. For every text file of the project. */
export function leftoverProblems(source: Source): string[] {
  return source.text
    .split("\n")
    .flatMap((line, i) =>
      LEFTOVER.test(line) ? [`${source.path}:${String(i + 1)}: ${line}`] : [],
    );
}
