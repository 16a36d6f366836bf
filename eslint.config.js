// Owns: the house rules that a linter can check. Rules that read several files, comments or documents are in test/tidy.
import { defineConfig } from "eslint/config";
import tseslint from "typescript-eslint";

const TIMER_ADVICE = "Time enters through env.clock, so that the simulator can own it.";
const ENVIRONMENT_ADVICE = "Only src/node/config.ts, its main and src/cli read the environment.";
const WAIT_ADVICE = "Tests wait for events or for virtual time, never for time to pass.";

/** Where the outside world is allowed in: adapters, the node's roof, the command line, a worker's own main. */
const OUTSIDE_WORLD = ["src/**/*-adapter.ts", "src/node/**", "src/cli/**", "src/slices/worker/worker-main.ts"];

const noPlainErrors = {
  selector: "ThrowStatement > :matches(NewExpression, CallExpression)[callee.name=/^(Range|Type|Syntax|Eval)?Error$/]",
  message: "Throw an AetherError with a catalog code, or assert: a plain Error has no outcome and no retry advice.",
};

const noThrownLiterals = {
  selector: "ThrowStatement > :matches(Literal, TemplateLiteral, ObjectExpression)",
  message: "Throw an AetherError: a literal has no stack, code or outcome.",
};

const noModuleState = [
  {
    selector: atModuleLevel("VariableDeclaration[kind='let']"),
    message: "No module-level mutable state: two nodes of one process would share it. Let a class or a closure own it.",
  },
  {
    selector: atModuleLevel(
      "VariableDeclaration > VariableDeclarator > NewExpression[callee.name=/^(Weak)?(Map|Set)$/][arguments.length=0]",
    ),
    message: "An empty collection at module level is mutable state: let a class or a closure own it.",
  },
];

function withAdvice(names, message) {
  return names.map((name) => ({ name, message }));
}

function atModuleLevel(selector) {
  return `Program > ${selector}, Program > ExportNamedDeclaration > ${selector}`;
}

const noInheritance = {
  selector: "ClassDeclaration[superClass]:not([superClass.name=/Error$/])",
  message: "No inheritance except Error: take the other object as an argument.",
};

/** With unreachable(x) there, a variant that is added later and not handled fails to compile. */
const everyVariantHandled = {
  selector:
    "SwitchStatement[discriminant.property.name='kind'] > SwitchCase[test=null]" +
    ":not(:has(CallExpression[callee.name='unreachable']))",
  message: "The default of a switch on a union ends in unreachable(x); name the variants that share an answer.",
};

const shapeRules = [noPlainErrors, noThrownLiterals, noInheritance, everyVariantHandled, ...noModuleState];

const noWallClock = [
  { selector: "NewExpression[callee.name='Date'][arguments.length=0]", message: TIMER_ADVICE },
  { selector: "CallExpression[callee.name='Date']", message: TIMER_ADVICE },
];

const noClockOrChance = [
  { object: "Date", property: "now", message: TIMER_ADVICE },
  { object: "performance", property: "now", message: TIMER_ADVICE },
  { object: "Math", property: "random", message: "Randomness enters as a Random, so that a seed replays." },
  { object: "AbortSignal", property: "timeout", message: TIMER_ADVICE },
];

const noChanceImports = [
  {
    name: "node:crypto",
    importNames: ["randomUUID", "randomBytes", "randomInt", "getRandomValues", "webcrypto"],
    message: "Randomness enters as a Random, so that a seed replays.",
  },
  { name: "uuid", message: "Ids of the outside world are made in adapters and in src/node." },
  { name: "node:timers", message: TIMER_ADVICE },
  { name: "node:timers/promises", message: TIMER_ADVICE },
  { name: "node:process", message: "Only src/node and src/cli know the process." },
];

const onlyNamedExports = [
  "error",
  { restrictDefaultExports: { direct: true, named: true, defaultFrom: true, namedFrom: true, namespaceFrom: true } },
];

const maxLength = [
  "error",
  // URLs and regular expressions cannot be wrapped.
  { code: 120, ignoreUrls: true, ignoreRegExpLiterals: true },
];

export default defineConfig(
  { ignores: ["dist/**", "dist-test/**", "coverage/**", "data/**", ".aether/**", "test/fixtures/data-*/**"] },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  {
    name: "aether/everywhere",
    files: ["**/*.{ts,tsx,js,mjs}"],
    languageOptions: { parser: tseslint.parser },
    rules: {
      eqeqeq: "error",
      "max-len": maxLength,
      "no-debugger": "error",
      "no-restricted-exports": onlyNamedExports,
      "no-var": "error",
      "object-shorthand": "error",
      "prefer-const": "error",
    },
  },
  {
    name: "aether/typescript",
    files: ["src/**/*.{ts,tsx}", "test/**/*.ts", "docs/examples/**/*.ts"],
    plugins: { "@typescript-eslint": tseslint.plugin },
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/await-thenable": "error",
      "@typescript-eslint/ban-ts-comment": ["error", { "ts-expect-error": "allow-with-description" }],
      "@typescript-eslint/consistent-type-imports": ["error", { disallowTypeAnnotations: false }],
      "@typescript-eslint/no-base-to-string": "error",
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/no-unnecessary-type-assertion": "error",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      // A promise returned from inside `try` escapes its catch and its `await using`.
      "@typescript-eslint/return-await": ["error", "error-handling-correctness-only"],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      "no-restricted-properties": ["error", ...noClockOrChance.filter((rule) => rule.object === "Math")],
    },
  },
  {
    name: "aether/src",
    files: ["src/**/*.{ts,tsx}"],
    rules: {
      "@typescript-eslint/no-non-null-assertion": "error",
      "@typescript-eslint/no-unsafe-argument": "error",
      "@typescript-eslint/no-unsafe-assignment": "error",
      "@typescript-eslint/no-unsafe-call": "error",
      "@typescript-eslint/no-unsafe-member-access": "error",
      "@typescript-eslint/no-unsafe-return": "error",
      "no-console": "error",
      "no-restricted-globals": [
        "error",
        ...withAdvice(["setTimeout", "setInterval", "setImmediate"], TIMER_ADVICE),
        { name: "process", message: "Only src/node and src/cli know the process; everyone else gets arguments." },
        { name: "crypto", message: "Randomness enters as a Random, hashing is in base/digest.ts." },
      ],
      "no-restricted-imports": ["error", { paths: noChanceImports }],
      "no-restricted-properties": ["error", ...noClockOrChance],
      "no-restricted-syntax": ["error", ...shapeRules, ...noWallClock],
    },
  },
  {
    name: "aether/outside-world",
    files: OUTSIDE_WORLD,
    rules: {
      "no-restricted-globals": "off",
      "no-restricted-imports": "off",
      "no-restricted-properties": [
        "error",
        { object: "process", property: "env", message: ENVIRONMENT_ADVICE },
      ],
      "no-restricted-syntax": ["error", ...shapeRules],
    },
  },
  {
    name: "aether/environment-variables",
    files: ["src/node/{config,main}.ts", "src/cli/**/*.ts"],
    rules: { "no-restricted-properties": "off" },
  },
  { name: "aether/command-line", files: ["src/cli/**/*.ts"], rules: { "no-console": "off" } },
  {
    name: "aether/deterministic-tests",
    files: ["test/{unit,property,scenario,spec,compliance,sim,tidy,types}/**/*.test.ts"],
    rules: {
      "no-restricted-globals": ["error", ...withAdvice(["setTimeout", "setInterval"], WAIT_ADVICE)],
      "no-restricted-imports": ["error", { paths: withAdvice(["node:timers", "node:timers/promises"], WAIT_ADVICE) }],
    },
  },
  {
    name: "aether/entries-that-others-load",
    files: ["*.config.{js,ts}", "docs/examples/**/*.ts", "test/**/slices/**/slice.ts"],
    rules: { "no-restricted-exports": "off" },
  },
);
