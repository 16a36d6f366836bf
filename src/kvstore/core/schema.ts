// Owns: the shapes of the KV store's data, commands and answers. Values are bytes to the state machine
// (canonical MessagePack, see value.ts) and plain data to everybody else.
import type { KeyText } from "./key.ts";

/** Plain data: null, boolean, number, string, Uint8Array, arrays and string-keyed objects of these. */
export type KvValue = unknown;

/** Number of a lease; never given twice. */
export type LeaseId = number;

/** Names one write of a session, so that it is applied at most once however often it is sent. */
export interface RequestRef {
  /** A lease that was granted with `requests: true`. */
  readonly session: LeaseId;
  /** The client's number of this write: 1 and upwards, each once. */
  readonly id: number;
}

export interface KvEntry {
  readonly key: KeyText;
  readonly value: KvValue;
  /** Store revision of the latest change of this key. */
  readonly modRevision: number;
  /** Store revision at which the key came into being. */
  readonly createRevision: number;
  /** 1 at creation, plus one with each put. */
  readonly version: number;
  /** The lease that the key is attached to: it is deleted when that ends. */
  readonly lease?: LeaseId;
}

export type CompareOp = "=" | "!=" | "<" | ">";

/**
 * One guard of a transaction. An absent key has version 0, modRevision 0, exists false and no value.
 * `value` with `<` or `>` orders numbers against numbers and strings (by code unit) against strings;
 * anything else does not hold.
 */
export type Compare =
  | {
      readonly key: KeyText;
      readonly target: "version" | "modRevision";
      readonly op: CompareOp;
      readonly value: number;
    }
  | { readonly key: KeyText; readonly target: "value"; readonly op: CompareOp; readonly value: KvValue }
  | { readonly key: KeyText; readonly target: "exists"; readonly op: "=" | "!="; readonly value: boolean };

export type Op =
  /** Without a lease the key is attached to none, even if it was before. */
  | { readonly kind: "put"; readonly key: KeyText; readonly value: KvValue; readonly lease?: LeaseId }
  | { readonly kind: "delete"; readonly key: KeyText }
  | { readonly kind: "get"; readonly key: KeyText };

/** Compare / then / else over several keys; all or nothing. All changes share one new revision. */
export interface Txn {
  readonly compare: readonly Compare[];
  readonly then: readonly Op[];
  readonly else: readonly Op[];
}

export type OpResult =
  | { readonly kind: "put" }
  | { readonly kind: "delete"; readonly deleted: boolean }
  | { readonly kind: "get"; readonly entry?: KvEntry };

export interface TxnResult {
  readonly succeeded: boolean;
  /** The store's revision after this transaction. */
  readonly revision: number;
  readonly results: readonly OpResult[];
}

export type KvChange =
  | { readonly kind: "put"; readonly entry: KvEntry }
  | { readonly kind: "delete"; readonly key: KeyText; readonly modRevision: number };

/** The changes of one revision that match a watch, in the order of the transaction. */
export interface KvChangeSet {
  readonly revision: number;
  readonly changes: readonly KvChange[];
}
