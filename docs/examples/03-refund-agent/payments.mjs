// Owns: a payment service as one meets them: it does what it is asked each time that it is asked, never notices that
// it was asked twice, and in three of ten cases does it and then does not say so. Everything is in its books.
//
//   node payments.mjs [--port 7301] [--troubles 0.3] [--lost 0.05] [--silent 0.2] [--hold-ms 300] [--seed 1]
import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { parseArgs } from "node:util";

const { values } = parseArgs({
  options: {
    "port": { type: "string", default: "7301" },
    // Shares of all requests: done, and then no answer; not done, and no answer either.
    "troubles": { type: "string", default: "0.3" },
    "lost": { type: "string", default: "0.05" },
    // Share of all refunds about which the service tells nobody anything.
    "silent": { type: "string", default: "0.2" },
    // Longest time that a refund takes.
    "hold-ms": { type: "string", default: "300" },
    "seed": { type: "string", default: "1" },
  },
});
const troubles = Number(values.troubles);
const lost = Number(values.lost);
const silent = Number(values.silent);
const holdMsMax = Number(values["hold-ms"]);
const BODY_MAX = 10_000;

/** By idempotency key: what was asked for, how often, and what was done. */
const books = new Map();
/** By idempotency key: what customers were told, and how often somebody wanted that. */
const notices = new Map();
/** By order: what is to happen to its first request, instead of chance. */
const wishes = new Map();
const answers = { "done": 0, "not-done": 0, "unknown": 0 };

/** From 0 to 1, the same for the same words. */
function chance(...words) {
  const digest = createHash("sha256").update([values.seed, ...words].join("/")).digest();
  return digest.readUInt32BE(0) / 2 ** 32;
}

/** `hang`, `error`, `drop`: it is done, and then nobody hears of it. `lost`: it is not done. */
function fateOf(key, order, requests) {
  const wish = wishes.get(order);
  if (wish !== undefined) return requests === 1 ? wish.fate : "fine";
  const drawn = chance(key, requests);
  if (drawn < troubles) return ["hang", "error", "drop"][Math.floor(chance(key, requests, "which") * 3)];
  // Who asks again after it was lost is to have an end.
  return drawn < troubles + lost && requests === 1 ? "lost" : "fine";
}

function isSilentAbout(key, order) {
  return wishes.get(order)?.isSilent ?? chance(key, "silent") < silent;
}

async function readBody(request) {
  let text = "";
  for await (const chunk of request) {
    text += chunk;
    if (text.length > BODY_MAX) return "";
  }
  return text;
}

function answer(response, status, body) {
  response.writeHead(status, { "content-type": "application/json" }).end(`${JSON.stringify(body)}\n`);
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** POST /refunds */
async function refund(request, response) {
  const key = request.headers["idempotency-key"] ?? "";
  const { order, cents } = JSON.parse(await readBody(request));
  const isSilent = isSilentAbout(key, order);
  const page = books.get(key) ?? { key, order, cents, isSilent, requests: 0, refunds: [], held: 0, hungUp: 0 };
  books.set(key, page);
  page.requests += 1;
  const fate = fateOf(key, order, page.requests);
  page.held += 1;
  response.on("close", () => {
    page.held -= 1;
    if (!response.writableFinished && !response.isDropped) page.hungUp += 1;
  });
  const holdMs = holdMsMax * chance(key, page.requests, "hold");
  await pause(holdMs / 2);
  if (fate !== "lost") page.refunds.push(`re-${order}-${page.refunds.length + 1}`);
  await pause(holdMs / 2);
  if (fate === "hang") return;
  if (fate === "error") return answer(response, 500, { error: "something went wrong" });
  if (fate === "fine") return answer(response, 200, { refund: page.refunds.at(-1) });
  response.isDropped = true;
  response.destroy();
}

/** GET /refunds/KEY: what somebody with the key is told. */
function find(key, response) {
  const page = books.get(key);
  const [found] = page?.refunds ?? [];
  const isSilent = page?.isSilent === true;
  answers[isSilent ? "unknown" : found === undefined ? "not-done" : "done"] += 1;
  if (isSilent) return answer(response, 503, { error: "the books are being audited" });
  if (found === undefined) return answer(response, 404, { error: "no such refund" });
  answer(response, 200, { refund: found });
}

/** PUT /notices/KEY: tells a customer something; again under the same key it is the same notice. */
async function tell(key, request, response) {
  const { order, text } = JSON.parse(await readBody(request));
  const notice = notices.get(key) ?? { key, order, text, requests: 0 };
  notices.set(key, notice);
  notice.requests += 1;
  answer(response, 200, { notice: key });
}

async function handle(request, response) {
  const [, first = "", second = ""] = (request.url ?? "").split("/");
  const what = `${request.method} /${first}`;
  if (what === "POST /refunds") return refund(request, response);
  if (what === "GET /refunds") return find(second, response);
  if (what === "PUT /notices") return tell(second, request, response);
  // What only the service's own people see.
  if (what === "GET /books") {
    return answer(response, 200, { answers, refunds: [...books.values()], notices: [...notices.values()] });
  }
  if (what === "PUT /troubles") {
    const [fate, how] = (await readBody(request)).split(" ");
    wishes.set(second, { fate, isSilent: how === "silent" });
    return answer(response, 200, { order: second, fate });
  }
  answer(response, 404, { error: "no such page" });
}

const server = createServer((request, response) => {
  handle(request, response).catch((error) => {
    if (!response.headersSent) answer(response, 400, { error: String(error) });
  });
});
// Whoever started it with a channel has ended.
process.on("disconnect", () => process.exit());
server.listen(Number(values.port), "127.0.0.1", () => {
  console.log(`payments on http://127.0.0.1:${server.address().port}`);
});
