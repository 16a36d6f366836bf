// Owns: what every `LogPort` promises. Run on files, on ordered stores of all kinds and on the simulator's disk.
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { AppendLog, LogPort } from "../../../src/env/append-log.ts";

export interface LogUnderTest {
  readonly port: LogPort;
  /** Lets time pass until `promise` has settled, for logs on a virtual clock. */
  settle?<T>(promise: Promise<T>): Promise<T>;
  cleanUp?(): Promise<void> | void;
}

/** Registers the suite for the logs that `create` makes: each call gives an empty port. */
export function testAppendLog(name: string, create: () => LogUnderTest | Promise<LogUnderTest>): void {
  describe(`the log of ${name}`, () => {
    let subject: LogUnderTest;
    let log: AppendLog;
    const settle = <T>(promise: Promise<T>): Promise<T> => subject.settle?.(promise) ?? promise;
    const open = async (): Promise<void> => {
      log = await settle(subject.port.open("journal"));
    };
    const close = (): Promise<void> => settle(Promise.resolve(log.close()));
    const reopen = async (): Promise<void> => {
      await close();
      await open();
    };
    const append = (...words: readonly string[]): Promise<void> =>
      settle(Promise.all(words.map((word) => appendTo(log, bytes(word)))).then(() => undefined));
    const cut = (firstKept: number, base: string): Promise<void> => settle(cutFrom(log, firstKept, bytes(base)));
    const list = (): Promise<string[]> => settle(collect(log));

    beforeEach(async () => {
      subject = await create();
      await open();
    });
    afterEach(async () => {
      await close();
      await subject.cleanUp?.();
    });

    test("is empty when it is new, also after it was opened again", async () => {
      for (let round = 0; round < 2; round++) {
        expect([log.first, log.last, log.base]).toEqual([1, 0, undefined]);
        expect(log.readSync(1)).toBeUndefined();
        expect(await list()).toEqual([]);
        await reopen();
      }
    });

    test("is empty again once it was destroyed; one that is not there may be destroyed as well", async () => {
      await append("a", "b");
      await cut(2, "base");
      await close();
      for (let round = 0; round < 2; round++) await settle(subject.port.destroy("journal"));
      await open();
      expect([log.first, log.last, log.base]).toEqual([1, 0, undefined]);
      expect(await list()).toEqual([]);
      await append("c");
      await reopen();
      expect(await list()).toEqual(["1=c"]);
    });

    test("gives back what was added, by number and in order, also after it was opened again", async () => {
      await append("a", "b");
      await append("c");
      for (let round = 0; round < 2; round++) {
        expect([log.first, log.last]).toEqual([1, 3]);
        expect([0, 1, 2, 3, 4].map((number) => text(log.readSync(number)))).toEqual([
          undefined, "a", "b", "c", undefined,
        ]);
        expect(await list()).toEqual(["1=a", "2=b", "3=c"]);
        await reopen();
      }
      await append("d");
      expect(await list()).toEqual(["1=a", "2=b", "3=c", "4=d"]);
    });

    test("answers in the order of calls, never inside the call, and not before the record can be read", async () => {
      const answers: string[] = [];
      const all = ["a", "b", "c"].map(
        (word, at) =>
          new Promise<void>((resolve) => {
            log.append(bytes(word), (failure) => {
              answers.push(`${failure?.message ?? text(log.readSync(at + 1)) ?? "missing"}`);
              resolve();
            });
          }),
      );
      expect(answers).toEqual([]);
      expect(log.last).toBe(3);
      await settle(Promise.all(all));
      expect(answers).toEqual(["a", "b", "c"]);
    });

    test("keeps its own copy of what was added", async () => {
      const mine = bytes("before");
      const added = appendTo(log, mine);
      mine.fill(0x78);
      await settle(added);
      expect(text(log.readSync(1))).toBe("before");
    });

    test("takes records of any size, also all zero", async () => {
      const sizes = [1, 482, 483, 484, 485, 511, 512, 513, 4_096, 65_536, 1_000_000, 3_000_000];
      for (const size of sizes) {
        await settle(appendTo(log, Buffer.alloc(size)));
        await settle(appendTo(log, Buffer.alloc(size, size % 251)));
      }
      await reopen();
      for (const [at, size] of sizes.entries()) {
        expect(Buffer.alloc(size).equals(log.readSync(2 * at + 1) ?? bytes("missing"))).toBe(true);
        expect(Buffer.alloc(size, size % 251).equals(log.readSync(2 * at + 2) ?? bytes("missing"))).toBe(true);
      }
    });

    test("forgets what is cut off and keeps the base in its place", async () => {
      await append("a", "b", "c", "d");
      await cut(3, "a and b");
      for (let round = 0; round < 2; round++) {
        expect([log.first, log.last, text(log.base)]).toEqual([3, 4, "a and b"]);
        expect([2, 3].map((number) => text(log.readSync(number)))).toEqual([undefined, "c"]);
        expect(await list()).toEqual(["3=c", "4=d"]);
        await reopen();
      }
      await append("e");
      await cut(4, "a to c");
      await reopen();
      expect(text(log.base)).toBe("a to c");
      expect(await list()).toEqual(["4=d", "5=e"]);
    });

    test("may be cut to nothing, and goes on with the next number", async () => {
      await append("a", "b");
      await cut(3, "all");
      await reopen();
      expect([log.first, log.last, text(log.base)]).toEqual([3, 2, "all"]);
      await append("c");
      await reopen();
      expect(await list()).toEqual(["3=c"]);
    });

    test("takes records while it is cut", async () => {
      await append("a", "b");
      const done = [appendTo(log, bytes("c")), cutFrom(log, 2, bytes("a")), appendTo(log, bytes("d"))];
      await settle(Promise.all(done));
      await reopen();
      expect(await list()).toEqual(["2=b", "3=c", "4=d"]);
    });

    test("answers what is under way before close is done", async () => {
      const answers: string[] = [];
      log.append(bytes("a"), () => answers.push("a"));
      log.append(bytes("b"), () => answers.push("b"));
      await close();
      expect(answers).toEqual(["a", "b"]);
      await open();
      expect(await list()).toEqual(["1=a", "2=b"]);
    });

    test("may be closed again, also while it closes; a record after that fails", async () => {
      await settle(Promise.all([log.close(), log.close()]));
      await close();
      await expect(settle(appendTo(log, bytes("a")))).rejects.toBeInstanceOf(Error);
      await open();
      expect(log.last).toBe(0);
    });

    test("refuses to open what is open, and allows it after close", async () => {
      await expect(settle(subject.port.open("journal"))).rejects.toMatchObject({ code: "E_DATA_LOCKED" });
      const other = await settle(subject.port.open("other"));
      await settle(appendTo(other, bytes("x")));
      await settle(Promise.resolve(other.close()));
      expect(await list()).toEqual([]);
      await reopen();
    });

    test("keeps and cuts thousands of records", async () => {
      const wide = "x".repeat(700);
      for (let round = 0; round < 4; round++) {
        await append(...Array.from({ length: 1_000 }, (_, at) => `${round}.${at} ${wide}`));
        await cut(round * 1_000 + 500, `until ${round}`);
      }
      await reopen();
      expect([log.first, log.last, text(log.base)]).toEqual([3_500, 4_000, "until 3"]);
      expect(await list()).toHaveLength(501);
      expect(text(log.readSync(3_500))).toBe(`3.499 ${wide}`);
    });
  });
}

function bytes(value: string): Uint8Array {
  return new TextEncoder().encode(value);
}

function text(value: Uint8Array | undefined): string | undefined {
  return value === undefined ? undefined : new TextDecoder().decode(value);
}

function appendTo(log: AppendLog, record: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    log.append(record, (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
}

function cutFrom(log: AppendLog, firstKept: number, base: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    log.cut(firstKept, base, (failure) => (failure === undefined ? resolve() : reject(failure)));
  });
}

async function collect(log: AppendLog): Promise<string[]> {
  const found: string[] = [];
  for await (const { number, bytes: record } of log.records()) found.push(`${number}=${text(record)}`);
  return found;
}
