/** What can be run, and the parts of a request that every kind of task shares. */
import type { LimitsInput, ProgramInput, RequiresInput } from '../../protocol/api.ts'
import { type JobFailure, ManyhandsError } from './errors.ts'

/** A program made from files of this host. Its failures are told in terms of those files. */
export interface LoadedProgram extends ProgramInput {
  /** Translates positions in what was sent to positions in the caller's own files */
  readonly locate?: (failure: JobFailure) => JobFailure
}

/**
 * An ES module as text, whose default export is `(input, env) => result`; several modules by name; or a file: URL, which is read, and bundled when it
 * imports npm packages or other files (Node only). TypeScript is given as `{ source, filename: 'main.ts' }` or as a file.
 */
export type Program = string | LoadedProgram | URL

/** Reads a program from a file. Only under Node. */
export type ProgramLoader = (file: string | URL) => Promise<LoadedProgram>

/** What runs, maps and sessions have in common. */
export interface TaskOptions {
  /** Each absent limit takes the node's default; above the node's ceiling the task is refused. @default {} */
  readonly limits?: LimitsInput | undefined
  /** Which node may take it. @default any able node, the nearest first */
  readonly requires?: RequiresInput | undefined
  /** Shown in listings. @default none */
  readonly name?: string | undefined
  /** Aborting cancels the task; the call then rejects with the signal's reason. @default none */
  readonly signal?: AbortSignal | undefined
}

export function resolveProgram(program: Program, load: ProgramLoader): LoadedProgram | Promise<LoadedProgram> {
  if (typeof program === 'string') return { source: program }
  if (program instanceof URL) return load(program)
  return program
}

/** Only what the daemon knows. */
export function programInput(program: LoadedProgram): ProgramInput {
  const { source, filename, modules, main } = program
  return compact<ProgramInput>({ source, filename, modules, main })
}

/** Without the fields that are undefined. */
export function compact<T extends object>(fields: { readonly [K in keyof T]: T[K] | undefined }): T {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as T
}

/** @throws ManyhandsError E_BAD_REQUEST when JSON cannot hold it */
export function toJson(value: unknown, what: string): string {
  let json: string | undefined
  let cause: unknown
  try {
    json = JSON.stringify(value)
  } catch (error) {
    cause = error
  }
  if (json !== undefined) return json
  throw new ManyhandsError('E_BAD_REQUEST', `Cannot send ${what}: JSON cannot hold it`, {
    hint: 'Use plain objects, arrays, strings, numbers, booleans and null, without cycles',
    cause,
  })
}

/**
 * The idempotency key given, or one nobody else has. A header carries no other characters, and no spaces at its ends: elsewhere they would make another key.
 * @throws ManyhandsError E_BAD_REQUEST
 */
export function keyOf(given: string | undefined): string {
  if (given === undefined) return globalThis.crypto.randomUUID()
  if (/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(given)) return given
  throw new ManyhandsError('E_BAD_REQUEST', 'Cannot use the idempotency key: printable ASCII is wanted', {
    hint: 'Leave out other characters, and spaces at its beginning and end',
  })
}
